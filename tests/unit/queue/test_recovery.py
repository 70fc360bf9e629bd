from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dedupd.background import Background
from dedupd.errors import ConfigError
from dedupd.ports import QueueUnavailable
from dedupd.queue.broker import Broker, Reply, private_memory
from dedupd.queue.link import ThreadLink
from dedupd.queue.recovery import RecoveringQueue
from tests.contract.queues import DEADLINE, Inbox, request_id


def turn_away(**_: Any) -> None:
    raise QueueUnavailable("it takes no consumer")


class Site:
    """A broker whose connections can be broken and refused."""

    def __init__(self) -> None:
        self.attempts = 0
        self.answer: Callable[[], None] = lambda: None
        self.accepts_consumers = True
        self.healed = threading.Event()
        self.heals = 0
        self._transport = private_memory()

    def connect(self) -> Broker:
        self.attempts += 1
        self.answer()
        made = Broker("memory://", "dedupd", self._transport)
        if not self.accepts_consumers:
            made._channel.basic_consume = turn_away
        return made

    def heal(self) -> None:
        self.heals += 1
        self.healed.wait(DEADLINE)
        self.accepts_consumers = True

    def refuse(self, error: Exception) -> None:
        def answer() -> None:
            raise error

        self.answer = answer

    def admit(self) -> None:
        self.answer = lambda: None


def fail(_broker: Broker, _argument: Any, _reply: Reply | None) -> None:
    raise QueueUnavailable("as a test has it")


async def lose(queue: RecoveringQueue) -> None:
    """Break the connection, and return once that is known."""
    link = queue._link
    assert link is not None
    link.tell(fail, None)
    await link.until_ended()


async def until_published(queue: RecoveringQueue, number: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await queue.publish(request_id(number))
            except QueueUnavailable:
                await asyncio.sleep(0.001)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - a thread's work wakes nobody
            await asyncio.sleep(0.001)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def queue(site: Site) -> AsyncIterator[RecoveringQueue]:
    queue = RecoveringQueue(site.connect, ThreadLink, DEADLINE, site.heal, Background())
    await queue.open()
    yield queue
    await queue.close()


async def test_a_consumer_goes_on_with_what_it_had_not_acknowledged(queue: RecoveringQueue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 2)
    await queue.publish(request_id(1))
    await inbox.until(1)
    await lose(queue)
    assert await inbox.until(2) == [request_id(1)] * 2
    inbox.deliveries[0].acknowledge()
    inbox.deliveries[1].acknowledge()
    await until_published(queue, 2)
    assert await inbox.until(3) == [request_id(1), request_id(1), request_id(2)]


async def test_who_has_stopped_consuming_does_not_go_on(queue: RecoveringQueue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 2)
    await queue.stop_consuming()
    await lose(queue)
    await until_published(queue, 1)
    assert await queue.depth() == 1


async def test_it_connects_as_often_as_it_takes(queue: RecoveringQueue, site: Site) -> None:
    site.refuse(QueueUnavailable("nobody is there"))
    before = site.attempts
    await lose(queue)
    await until(lambda: site.attempts >= before + 3)
    with pytest.raises(QueueUnavailable):
        await queue.publish(request_id(1))
    site.admit()
    await until_published(queue, 1)


async def test_a_refusal_is_an_error_of_configuration_only_at_the_start(
    queue: RecoveringQueue, site: Site
) -> None:
    site.refuse(ConfigError("not with this password"))
    other = RecoveringQueue(site.connect, ThreadLink, DEADLINE, site.heal, Background())
    with pytest.raises(ConfigError, match="not with this password"):
        await other.open()
    await lose(queue)
    before = site.attempts
    await until(lambda: site.attempts >= before + 2)
    with pytest.raises(QueueUnavailable):
        await queue.publish(request_id(1))
    site.admit()
    await until_published(queue, 1)
    await other.open()
    await other.close()


async def test_where_it_takes_no_consumer_it_is_healed_by_one_at_a_time(
    queue: RecoveringQueue, site: Site
) -> None:
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 2)
    site.accepts_consumers = False
    before = site.attempts
    await lose(queue)
    await until(lambda: site.attempts >= before + 3)
    assert site.heals == 1
    site.healed.set()
    await until_published(queue, 1)
    assert await inbox.until(1) == [request_id(1)]


async def test_close_ends_the_attempts(queue: RecoveringQueue, site: Site) -> None:
    hold, entered = threading.Event(), threading.Event()

    def answer() -> None:
        entered.set()
        hold.wait(DEADLINE)
        raise ConfigError("not with this password")

    site.answer = answer
    await lose(queue)
    await until(entered.is_set)
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    hold.set()
    async with asyncio.timeout(DEADLINE):
        await closing
    attempts = site.attempts
    with pytest.raises(QueueUnavailable, match="not open"):
        await queue.publish(request_id(1))
    assert not [task for task in asyncio.all_tasks() if "the queue" in task.get_name()]
    assert site.attempts == attempts


async def test_what_nobody_foresaw_while_connecting_again_ends_the_process(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    background = Background(failed.set)
    queue = RecoveringQueue(site.connect, ThreadLink, DEADLINE, site.heal, background)
    await queue.open()
    monkeypatch.setattr(queue, "_make_link", None)
    await lose(queue)
    async with asyncio.timeout(DEADLINE):
        await failed.wait()
    assert not background.is_well
    await queue.close()
