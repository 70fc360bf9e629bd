from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from dedupd.ports import QueueUnavailable
from dedupd.queue.broker import Answers, Arrived, Broker, Command, Reply, private_memory
from dedupd.queue.kombu import KombuQueue
from dedupd.queue.link import BATCH, InlineLink, Link, ThreadLink
from tests.contract.queues import DEADLINE, Inbox, kombu_memory, request_id, settled

both = pytest.mark.parametrize("link", [InlineLink, ThreadLink])


class Hold:
    """An operation that comes back when it is let go."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.let_go = self._event.set
        self.entered = threading.Event()

    def __call__(self, _broker: Broker, _argument: Any, _reply: Reply | None) -> None:
        self.wait()

    def after_publishing(self, broker: Broker, argument: Any, _reply: Reply | None) -> None:
        broker.publish(argument, None)
        self.wait()

    def wait(self) -> None:
        self.entered.set()
        self._event.wait(DEADLINE)


@pytest.fixture
def held() -> Iterator[Hold]:
    hold = Hold()
    yield hold
    hold.let_go()


def fail(_broker: Broker, _argument: Any, _reply: Reply | None) -> None:
    raise LookupError("as a test has it")


def is_consuming(broker: Broker, _argument: None, reply: Reply | None) -> None:
    broker._answer(reply, bool(broker._consumer))


def link_of(queue: KombuQueue) -> Link:
    assert queue._link is not None
    return queue._link


def queue_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "dedupd-queue"}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - a thread's end wakes nobody
            await asyncio.sleep(0.001)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@both
async def test_without_a_broker_the_queue_does_not_open(
    link: type[Link], refusing_port: int
) -> None:
    queue = KombuQueue(lambda: Broker(f"amqp://127.0.0.1:{refusing_port}//", "dedupd"), link)
    for _ in range(2):
        with pytest.raises(QueueUnavailable, match="refused"):
            await queue.open()
        with pytest.raises(QueueUnavailable, match="not open"):
            await queue.publish(request_id(1))
    await queue.close()


@both
async def test_all_who_wait_hear_of_the_end(
    link: type[Link], caplog: pytest.LogCaptureFixture
) -> None:
    queue = kombu_memory(link)
    await queue.open()
    publishing = [queue.publish(request_id(number)) for number in range(10)]
    tasks = [asyncio.create_task(one) for one in publishing]
    link_of(queue).tell(fail, None)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [QueueUnavailable] * 10
    assert "LookupError: as a test has it" in str(results[0])
    assert "has failed" in caplog.text
    await queue.close()


@both
async def test_after_the_end_all_is_unavailable_until_it_is_opened_again(link: type[Link]) -> None:
    queue = kombu_memory(link)
    await queue.open()
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    await inbox.until(1)
    with pytest.raises(QueueUnavailable):
        await link_of(queue).submit(fail, None)
    with pytest.raises(QueueUnavailable, match="has ended: LookupError"):
        await queue.publish(request_id(2))
    inbox.deliveries[0].acknowledge()
    await queue.stop_consuming()
    await queue.close()
    await queue.open()
    assert await queue.depth() == 1
    await queue.close()


@both
async def test_what_was_commanded_before_the_stop_is_done(link: type[Link]) -> None:
    queue = kombu_memory(link)
    await queue.open()
    replies = [
        link_of(queue).submit(Broker.publish, (request_id(number), None))
        for number in range(3 * BATCH)
    ]
    await queue.close()
    assert all(reply.result() is None for reply in replies)
    await queue.open()
    assert await queue.depth() == 3 * BATCH
    await queue.close()


@both
async def test_what_has_gathered_is_carried_out_at_once(link: type[Link]) -> None:
    rounds = 0

    class Counting(Broker):
        def perform(self, commands: Iterable[Command]) -> tuple[Answers, Arrived]:
            nonlocal rounds
            rounds += 1
            return super().perform(commands)

    queue = KombuQueue(lambda: Counting("memory://", "dedupd", private_memory()), link)
    await queue.open()
    held = Hold()
    if link is ThreadLink:
        link_of(queue).tell(held, None)
    rounds = 0
    replies = [
        link_of(queue).submit(Broker.publish, (request_id(n), None)) for n in range(BATCH - 1)
    ]
    held.let_go()
    await asyncio.gather(*replies)
    assert rounds <= 2
    await queue.close()


class Impassive(Broker):
    """Answers all at once, and shows nothing to the outside: RabbitMQ's during an alarm."""

    patience = DEADLINE

    def _publish(self, _notice: Any, reply: Reply | None) -> None:
        self._answer(reply)


@pytest.mark.parametrize("number", [BATCH, BATCH + 1, 2 * BATCH - 1, 3 * BATCH + 10])
async def test_however_many_are_commanded_at_once_none_waits_for_the_next(number: int) -> None:
    link = ThreadLink(lambda: Impassive("memory://", "x", private_memory()), lambda _: None)
    await link.submit(Broker.greet, None)
    replies = [link.submit(Broker.publish, (request_id(one), None)) for one in range(number)]
    async with asyncio.timeout(DEADLINE / 2):
        await asyncio.gather(*replies)
    await link.stop()


async def test_inline_does_not_connect_again_for_what_comes_after_the_end() -> None:
    transport = private_memory()
    brokers: list[Broker] = []

    def connect() -> Broker:
        brokers.append(Broker("memory://", "dedupd", transport))
        return brokers[-1]

    queue = KombuQueue(connect, InlineLink)
    await queue.open()
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 1)
    published = link_of(queue).submit(Broker.publish, (request_id(1), None))
    link_of(queue).tell(Broker.stop, None)
    await published
    await queue.close()
    assert inbox.ids == [request_id(1)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(brokers) == 1
    await queue.open()
    assert await queue.depth() == 1
    await queue.close()


@both
async def test_nothing_is_kept_of_what_was_answered(link: type[Link]) -> None:
    queue = kombu_memory(link)
    await queue.open()
    await asyncio.gather(*(queue.publish(request_id(number)) for number in range(10)))
    assert not link_of(queue)._waiting
    await queue.close()


async def test_the_thread_ends_with_the_queue() -> None:
    before = queue_threads()
    queue = kombu_memory(ThreadLink)
    await queue.open()
    await queue.open()
    assert len(queue_threads() - before) == 1
    await queue.close()
    await until(lambda: queue_threads() <= before)


async def test_inline_needs_no_thread() -> None:
    before = queue_threads()
    queue = kombu_memory(InlineLink)
    await queue.open()
    await queue.publish(request_id(1))
    assert queue_threads() <= before
    await queue.close()


async def test_a_thread_outlives_its_loop_no_longer_than_its_next_command(held: Hold) -> None:
    async def leave_open() -> None:
        queue = kombu_memory(ThreadLink)
        await queue.open()
        link_of(queue).tell(held, None)
        reply = link_of(queue).submit(Broker.depth, None)
        assert not reply.done()

    before = queue_threads()
    await asyncio.to_thread(asyncio.run, leave_open())
    held.let_go()
    await until(lambda: queue_threads() <= before)


async def test_a_stuck_broker_is_unavailable_and_left_behind(
    held: Hold, caplog: pytest.LogCaptureFixture
) -> None:
    queue = kombu_memory(ThreadLink)
    await queue.open()
    await queue.consume(Inbox(), 1)
    link_of(queue).tell(held, None)
    waiting = link_of(queue).submit(Broker.depth, None)
    queue._deadline = 0.05
    with pytest.raises(QueueUnavailable, match=r"did not answer within 0\.05 s"):
        await queue.publish(request_id(1))
    await queue.stop_consuming()
    await asyncio.gather(queue.close(), queue.close())
    assert "does not let go" in caplog.text
    with pytest.raises(QueueUnavailable, match="has ended: it was closed") as caught:
        await waiting
    assert caught.value.message == "The queue's connection has ended."


async def test_a_broker_that_is_stuck_while_connecting_is_left_behind(held: Hold) -> None:
    transport = private_memory()

    def connect() -> Broker:
        held.wait()
        return Broker("memory://", "dedupd", transport)

    before = queue_threads()
    queue = KombuQueue(connect, ThreadLink, deadline=0.05)
    with pytest.raises(QueueUnavailable, match="did not answer"):
        await queue.open()
    held.let_go()
    await until(lambda: queue_threads() <= before)
    queue._deadline = DEADLINE
    await queue.open()
    assert await queue.depth() == 0
    await queue.close()


async def test_messages_for_a_consumer_that_has_given_up_go_back(held: Hold) -> None:
    queue = kombu_memory(ThreadLink)
    await queue.open()
    await queue.publish(request_id(1))
    link_of(queue).tell(held, None)
    inbox = Inbox()
    consuming = asyncio.create_task(queue.consume(inbox, 1))
    await until(held.entered.is_set)
    consuming.cancel()
    await asyncio.wait([consuming])
    held.let_go()
    await settled(queue)
    assert not await link_of(queue).submit(is_consuming, None)
    assert await queue.depth() == 1
    assert not inbox.deliveries
    await queue.consume(inbox, 1)
    assert await inbox.until(1) == [request_id(1)]
    await queue.close()


async def test_a_consumer_that_has_stopped_is_left_alone_even_by_a_stuck_broker(held: Hold) -> None:
    queue = kombu_memory(ThreadLink)
    await queue.open()
    inbox = Inbox()
    await queue.consume(inbox, 1)
    link_of(queue).tell(held.after_publishing, (request_id(1), None))
    await until(held.entered.is_set)
    queue._deadline = 0.05
    await queue.stop_consuming()
    held.let_go()
    queue._deadline = DEADLINE
    await settled(queue)
    assert await queue.depth() == 1
    assert not inbox.deliveries
    await queue.close()


async def test_an_abandoned_link_brings_nothing_any_more(held: Hold) -> None:
    arrived: list[object] = []
    before = queue_threads()
    link = ThreadLink(lambda: Broker("memory://", "dedupd", private_memory()), arrived.extend)
    await link.submit(Broker.consume, 1)
    link.tell(held.after_publishing, (request_id(1), None))
    link.abandon("as a test has it")
    with pytest.raises(QueueUnavailable, match="as a test has it"):
        await link.submit(Broker.depth, None)
    held.let_go()
    await until(lambda: queue_threads() <= before)
    await asyncio.sleep(0)
    assert not arrived
