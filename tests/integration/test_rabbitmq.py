"""The queue on RabbitMQ, while the broker is killed, wiped or stopped, or says no."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection

from dedupd import conf
from dedupd.cmd.check import local
from dedupd.cmd.check.line import Result
from dedupd.conf import Settings
from dedupd.errors import ConfigError
from dedupd.ports import Queue, QueueUnavailable
from dedupd.queue import amqp
from dedupd.queue.amqp import AmqpBroker
from dedupd.queue.broker import Broker
from dedupd.queue.cluster import Cluster
from dedupd.queue.kombu import KombuQueue
from dedupd.queue.link import ThreadLink
from tests.contract.queues import Inbox, queue_at, queue_settings, request_id, until_depth
from tests.engines.ports import free_port
from tests.engines.rabbitmq import PASSWORD, USER, RabbitMQ
from tests.integration.certificates import Authority

ANSWER_SECONDS = 5.0
"""Within this a caller must hear that it cannot be done."""

RECOVERY_SECONDS = 60.0
THREAD = "dedupd-queue"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture
def name(broker: RabbitMQ) -> str:
    """A queue that nobody else uses."""
    return queue_settings(broker.url).name


@asynccontextmanager
async def opened(url: str, name: str, **settings: Any) -> AsyncIterator[Queue]:
    queue = queue_at(url, name=name, **settings)
    await queue.open()
    try:
        yield queue
    finally:
        await queue.close()


@contextmanager
def channel_of(broker: RabbitMQ) -> Iterator[Any]:
    """A way to do something behind everybody's back."""
    connect: Callable[[str], Any] = Connection  # kombu has no types
    with connect(broker.url) as connection, connection.channel() as channel:
        yield channel


async def until_published(queue: Queue, number: int) -> None:
    """Publish until it is confirmed, as it is once the queue has recovered."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            with suppress(QueueUnavailable):
                return await queue.publish(request_id(number))
            await asyncio.sleep(0.02)


async def publish_until_lost(queue: Queue, confirmed: set[str]) -> None:
    """Publish, 100 at a time, until that fails; ``confirmed`` takes what the broker has."""
    for first in range(20_000, 10_000_000, 100):
        ids = [request_id(number) for number in range(first, first + 100)]
        results = await asyncio.gather(*map(queue.publish, ids), return_exceptions=True)
        confirmed |= {id_ for id_, result in zip(ids, results, strict=True) if result is None}
        if any(isinstance(result, QueueUnavailable) for result in results):
            return


class Counted:
    """A method, and how often it was called."""

    def __init__(self, method: Callable[[AmqpBroker, float], None]) -> None:
        self._method = method
        self.number = 0

    def __get__(self, broker: AmqpBroker, _: type) -> Callable[[float], None]:
        return lambda now: self._call(broker, now)

    def _call(self, broker: AmqpBroker, now: float) -> None:
        self._method(broker, now)
        self.consumers = {*broker._channel.callbacks}
        self.number += 1


async def until_arrived(inbox: Inbox, ids: set[str]) -> None:
    missing, seen = set(ids), 0
    async with asyncio.timeout(RECOVERY_SECONDS):
        while missing:
            await asyncio.sleep(0.01)
            arrived = inbox.deliveries[seen:]
            seen += len(arrived)
            missing -= {delivery.id for delivery in arrived}


async def until_got(channel: Any, name: str) -> object:
    """The next message's body, once there is one."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (message := channel.basic_get(name)) is None:  # noqa: ASYNC110 - a queue has no event
            await asyncio.sleep(0.01)
    body: object = message.body
    return body


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while not condition():  # noqa: ASYNC110 - a thread's end wakes nobody
            await asyncio.sleep(0.01)


async def test_after_a_kill_what_was_confirmed_is_there_and_consumers_go_on(
    broker: RabbitMQ, name: str
) -> None:
    async with opened(broker.url, name) as front, opened(broker.url, name) as worker:
        inbox = Inbox(acknowledge=True)
        await worker.consume(inbox, 16)
        # What was declared an instant before a kill, RabbitMQ 3.10 itself would lose.
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await until_published(front, 10_000)
        confirmed: set[str] = set()
        publishing = asyncio.create_task(publish_until_lost(front, confirmed))
        await until(lambda: len(inbox.deliveries) > 300)
        await asyncio.to_thread(broker.kill)
        await publishing
        await asyncio.to_thread(broker.start)
        await until_published(front, 10_001)
        await until_arrived(inbox, {*confirmed, request_id(10_001)})


async def test_settling_what_came_before_a_restart_disturbs_nobody(
    broker: RabbitMQ, name: str
) -> None:
    async with opened(broker.url, name) as queue:
        inbox = Inbox()
        await queue.consume(inbox, 2)
        await queue.publish(request_id(1))
        await queue.publish(request_id(2))
        await inbox.until(2)
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await until(lambda: len(inbox.deliveries) == 4)
        inbox.deliveries[0].acknowledge()
        inbox.deliveries[1].hand_back()
        inbox.deliveries[2].acknowledge()
        inbox.deliveries[3].acknowledge()
        await queue.publish(request_id(3))
        assert await inbox.until(5) == [*map(request_id, (1, 2, 1, 2, 3))]


async def test_a_wiped_broker_is_furnished_again(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as front, opened(broker.url, name) as worker:
        inbox = Inbox(acknowledge=True)
        await worker.consume(inbox, 4)
        await front.publish(request_id(1))
        await inbox.until(1)
        await asyncio.to_thread(broker.wipe)
        await until_published(front, 2)
        await until_arrived(inbox, {request_id(2)})
        assert await front.depth() == 0


async def test_a_deleted_queue_is_made_again_and_consumed(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as queue:
        inbox = Inbox(acknowledge=True)
        await queue.consume(inbox, 4)
        for number in range(3):
            with channel_of(broker) as channel:
                channel.queue_delete(name)
            await until_published(queue, number)
            await until_arrived(inbox, {request_id(number)})


async def test_a_queue_of_which_only_the_name_is_left_is_made_anew(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RabbitMQ 3.10 leaves that of a queue that was declared right before a kill."""
    async with opened(broker.url, name) as front, opened(broker.url, name) as worker:
        inbox = Inbox(acknowledge=True)
        await worker.consume(inbox, 4)
        await asyncio.to_thread(broker.restart)
        await until_published(front, 1)
        await until_arrived(inbox, {request_id(1)})
        assert f"The queue {name} on 127.0.0.1:{broker.port} is there but serves" in caplog.text
        caplog.clear()
        await asyncio.to_thread(broker.restart)
        await until_published(front, 2)
        await until_arrived(inbox, {request_id(2)})


async def test_of_several_who_would_delete_a_mute_queue_one_does(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one would delete what was declared anew in the meantime."""
    async with opened(broker.url, name):
        await asyncio.to_thread(broker.mute, name)
        settings = queue_settings(broker.url, name=name)
        healers = [asyncio.to_thread(Cluster(settings).heal) for _ in range(3)]
        await asyncio.gather(*healers)
    assert caplog.text.count("is there but serves nobody") == 1


async def test_a_consumer_of_a_queue_that_was_deleted_has_a_successor(
    broker: RabbitMQ, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """RabbitMQ does not say so, and who has full hands does not ask."""
    monkeypatch.setattr(amqp, "IDLE_SECONDS", 0.0)
    more = range(2, 200)
    async with opened(broker.url, name) as worker:
        inbox = Inbox()
        await worker.publish(request_id(1))
        await worker.consume(inbox, 1)
        await inbox.until(1)
        await asyncio.to_thread(broker.mute, name)
        with channel_of(broker) as channel:
            await asyncio.to_thread(channel.queue_delete, name)
        async with opened(broker.url, name) as front:
            await asyncio.gather(*(front.publish(request_id(number)) for number in more))
        inbox.acknowledge_all()
        await until_arrived(inbox, {*map(request_id, more)})
    assert "the queue's connection has ended" not in caplog.text


async def test_a_queue_that_becomes_mute_under_its_consumer_is_made_anew(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection stands, its broker beats and counts its messages; nobody publishes or asks."""
    async with opened(broker.url, name) as worker:
        inbox = Inbox(acknowledge=True)
        await worker.consume(inbox, 4)
        await worker.publish(request_id(1))
        await inbox.until(1)
        await asyncio.to_thread(broker.mute, name)
        await until(lambda: f"The queue {name} on 127.0.0.1" in caplog.text)
        await until_published(worker, 2)
        await until_arrived(inbox, {request_id(2)})


async def test_a_front_that_is_not_confirmed_has_a_mute_queue_made_anew(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(broker.url, name) as front:
        await front.publish(request_id(1))
        await asyncio.to_thread(broker.mute, name)
        await until_published(front, 2)
        assert await front.depth() == 1
    assert "is there, but has not confirmed a message for 10 s" in caplog.text


async def test_a_consumer_whose_hands_are_full_is_given_no_more(
    broker: RabbitMQ, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at whether a queue serves brings a message: not beyond what is wanted."""
    monkeypatch.setattr(amqp, "IDLE_SECONDS", 0.0)
    async with opened(broker.url, name) as queue, opened(broker.url, name) as other:
        inbox = Inbox()
        await queue.consume(inbox, 2)
        for number in range(4):
            await queue.publish(request_id(number))
        await inbox.until(2)
        looks = Counted(AmqpBroker._check_served)
        monkeypatch.setattr(AmqpBroker, "_check_served", looks)
        await until(lambda: looks.number >= 4)
        assert len(inbox.deliveries) == 2
        assert await other.depth() == 2


async def test_looks_at_a_queue_that_serves_leave_nothing_behind(
    broker: RabbitMQ, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "IDLE_SECONDS", 0.0)
    looks = Counted(AmqpBroker._check_served)
    monkeypatch.setattr(AmqpBroker, "_check_served", looks)
    async with opened(broker.url, name) as queue:
        inbox = Inbox(acknowledge=True)
        await queue.consume(inbox, 2)
        seen = looks.number
        await until(lambda: looks.number >= seen + 3)
        assert len(looks.consumers) == 1
        await queue.publish(request_id(1))
        await inbox.until(1)


async def test_an_alarm_is_told_at_once_and_ends_no_connection(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    alarm = "takes no messages: it is short of memory or disk space"
    async with opened(broker.url, name) as queue:
        inbox = Inbox(acknowledge=True)
        await queue.consume(inbox, 4)
        await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "absolute", "1000")
        try:
            with suppress(QueueUnavailable):  # RabbitMQ says so to who publishes
                await queue.publish(request_id(1))
            for refused in (queue.publish(request_id(2)), queue.depth()):
                with pytest.raises(QueueUnavailable, match=alarm):
                    await refused
        finally:
            await asyncio.to_thread(broker.control, "set_vm_memory_high_watermark", "0.4")
        await until_published(queue, 3)
        await until_arrived(inbox, {request_id(3)})
    assert "the queue's connection has ended" not in caplog.text


def configured(url: str, name: str, directory: Path) -> Settings:
    """What `dedupd check` is given."""
    queue = {"queue.url": url, "queue.name": name, "queue.delivery_limit": "1"}
    common = {"auth.strategy": "noauth", "state_path": str(directory)}
    return conf.load([], overrides=common | queue)


async def test_check_says_of_which_queue_only_the_name_is_left(
    broker: RabbitMQ, name: str, tmp_path: Path
) -> None:
    settings = configured(broker.url, name, tmp_path)
    assert await local.queue(settings) == (Result.OK, f"{settings.queue.url}, 0 waiting")
    await asyncio.to_thread(broker.mute, name)
    result, detail = await local.queue(settings)
    assert result is Result.FAILED
    assert f"the queue {name} is there, but takes no consumer" in detail
    command = detail.partition("rabbitmqctl ")[2].partition(".")[0]
    await asyncio.to_thread(broker.control, *command.split())
    assert (await local.queue(settings))[0] is Result.OK


async def test_check_warns_of_a_permission_that_only_healing_needs(
    broker: RabbitMQ, name: str, tmp_path: Path
) -> None:
    settings = configured(broker.url, name, tmp_path)
    permit = ("set_permissions", "--vhost", "/", USER)
    without = (rf"^{name}(\.dead)?$", ".*", ".*")
    await asyncio.to_thread(broker.control, *permit, *without)
    try:
        result, detail = await local.queue(settings)
    finally:
        await asyncio.to_thread(broker.control, *permit, ".*", ".*", ".*")
    assert result is Result.WARNING
    assert f"{name}.healer" in detail
    assert "grant the permission" in detail


async def test_check_passes_over_a_broker_that_is_away(
    broker: RabbitMQ, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is tried first."""
    monkeypatch.setattr(random, "sample", lambda brokers, _: list(brokers))
    url = broker.url.replace("127.0.0.1", f"127.0.0.1:{free_port()},127.0.0.1")
    result, detail = await local.queue(configured(url, name, tmp_path))
    assert result is Result.OK, detail


async def test_check_leaves_what_waits_as_it_is(
    broker: RabbitMQ, name: str, tmp_path: Path
) -> None:
    """RabbitMQ counts a message as delivered in vain if one leaves with it; once is allowed."""
    settings = configured(broker.url, name, tmp_path)
    async with opened(broker.url, name, delivery_limit=1) as queue:
        await queue.publish(request_id(1))
        for _ in range(4):
            assert (await local.queue(settings))[1].endswith(", 1 waiting")
            await until_depth(queue, 1)


async def test_a_queue_that_serves_is_left_alone(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(broker.url, name, delivery_limit=1) as queue:
        await queue.publish(request_id(1))
        await asyncio.to_thread(Cluster(queue_settings(broker.url, name=name)).heal)
        await until_depth(queue, 1)
    assert "serves nobody" not in caplog.text


async def test_nothing_is_confirmed_that_no_queue_has_taken(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as queue:
        with channel_of(broker) as channel:
            channel.queue_delete(name)
        with pytest.raises(QueueUnavailable, match="NO_ROUTE"):
            await queue.publish(request_id(1))
        await until_published(queue, 2)
        assert await queue.depth() == 1


async def test_a_permission_that_is_missing_is_named_and_once_granted_used(
    broker: RabbitMQ, name: str
) -> None:
    """To publish through the default exchange, amq.default must be writable."""
    everything, own = (".*", ".*", ".*"), (name, name, name)
    permit = ("set_permissions", "--vhost", "/", USER)
    # Before a channel is there: what one was permitted once, RabbitMQ remembers while it is busy.
    await asyncio.to_thread(broker.control, *permit, *(f"^{part}" for part in own))
    try:
        async with opened(broker.url, name) as queue:
            with pytest.raises(QueueUnavailable, match=r"'amq.default'.* or grant the permission"):
                await queue.publish(request_id(1))
            await asyncio.to_thread(broker.control, *permit, *everything)
            await until_published(queue, 2)
            await queue.publish(request_id(3))
    finally:
        await asyncio.to_thread(broker.control, *permit, *everything)


async def test_without_a_broker_publishing_fails_in_time(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as queue:
        await asyncio.to_thread(broker.stop)
        try:
            for number in range(20):
                async with asyncio.timeout(ANSWER_SECONDS):
                    with pytest.raises(QueueUnavailable):
                        await queue.publish(request_id(number))
        finally:
            await asyncio.to_thread(broker.start)
        await until_published(queue, 21)


async def test_with_a_stuck_broker_publishing_fails_in_time(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as queue:
        broker.pause()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                tasks = [queue.publish(request_id(number)) for number in range(100)]
                results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            broker.resume()
        assert [type(result) for result in results] == [QueueUnavailable] * 100
        await until_published(queue, 101)


async def test_a_broker_that_has_fallen_silent_is_given_up(broker: RabbitMQ, name: str) -> None:
    login = {"userid": USER, "password": PASSWORD, "virtual_host": "/", "heartbeat": 1}
    queue = KombuQueue(lambda: AmqpBroker("127.0.0.1", broker.port, name, 20, login), ThreadLink)
    await queue.open()
    assert queue._link is not None
    broker.pause()
    try:
        async with asyncio.timeout(RECOVERY_SECONDS):
            await queue._link.until_ended()
    finally:
        broker.resume()
    assert "heartbeats missed" in queue._link.reason
    await queue.close()


async def test_a_broker_short_of_memory_confirms_nothing(
    broker: RabbitMQ, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    limit = "set_vm_memory_high_watermark"
    async with opened(broker.url, name) as queue:
        await asyncio.to_thread(broker.control, limit, "absolute", "1")
        try:
            with pytest.raises(QueueUnavailable, match="did not answer"):
                await queue.publish(request_id(1))
            assert "takes no messages: it is short of memory" in caplog.text
        finally:
            await asyncio.to_thread(broker.control, limit, "0.4")
        await until_published(queue, 2)


async def test_what_the_broker_rejects_is_not_published(broker: RabbitMQ, name: str) -> None:
    policy = [name, f"^{name}$", '{"max-length": 1}', "--apply-to", "queues"]
    await asyncio.to_thread(broker.control, "set_policy", *policy)
    async with opened(broker.url, name) as queue:
        results: list[BaseException | None] = []
        while not any(results):
            results += await asyncio.gather(queue.publish(request_id(1)), return_exceptions=True)
        *confirmed, rejected = results
        assert isinstance(rejected, QueueUnavailable)
        assert "did not take the message" in rejected.message
        assert await queue.depth() == len(confirmed) > 0


async def test_a_connection_of_which_everything_is_rejected_is_replaced(
    broker: RabbitMQ, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "REJECTING_SECONDS", 0.1)
    policy = [name, f"^{name}$", '{"max-length": 1}', "--apply-to", "queues"]
    await asyncio.to_thread(broker.control, "set_policy", *policy)
    async with opened(broker.url, name) as queue:
        told = ""
        async with asyncio.timeout(RECOVERY_SECONDS):
            while "rejects everything" not in told:
                try:
                    await queue.publish(request_id(1))
                except QueueUnavailable as error:
                    told = str(error)
        await asyncio.to_thread(broker.control, "clear_policy", name)
        await until_published(queue, 2)


async def test_more_than_may_be_unconfirmed_is_refused(
    broker: RabbitMQ, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "MAX_UNCONFIRMED", 10)
    async with opened(broker.url, name) as queue:
        tasks = [queue.publish(request_id(number)) for number in range(50)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = [result for result in results if isinstance(result, QueueUnavailable)]
        assert refused
        assert all("10 messages to confirm already" in error.message for error in refused)
        assert await queue.depth() == 50 - len(refused)


async def test_a_message_that_kills_its_consumers_ends_among_the_dead_letters(
    broker: RabbitMQ, name: str
) -> None:
    async with opened(broker.url, name, delivery_limit=2) as queue:
        await queue.publish(request_id(1))
        for _ in range(3):
            with channel_of(broker) as channel:
                await until_got(channel, name)
        with channel_of(broker) as channel:
            assert await until_got(channel, f"{name}.dead") == request_id(1).encode()
        assert await queue.depth() == 0


async def test_what_is_declared_bears_the_loss_of_nodes_and_of_no_dead_letter(
    broker: RabbitMQ, name: str
) -> None:
    """RabbitMQ refuses to declare again what differs in anything."""
    quorum = {"x-queue-type": "quorum"}
    own = {
        "x-delivery-limit": 7,
        "x-dead-letter-exchange": f"{name}.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    declared = {name: quorum | own, f"{name}.dead": quorum | {"x-max-length": 100_000}}
    async with opened(broker.url, name, delivery_limit=7):
        for queue, arguments in declared.items():
            with channel_of(broker) as channel:
                channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)


async def test_what_is_no_id_goes_to_the_dead_letters(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as queue:
        inbox = Inbox(acknowledge=True)
        await queue.consume(inbox, 4)
        with channel_of(broker) as channel:
            channel.basic_publish(channel.prepare_message(b"drop table"), "", name)
            assert await until_got(channel, f"{name}.dead") == b"drop table"
        await queue.publish(request_id(1))
        assert await inbox.until(1) == [request_id(1)]


async def test_handing_back_never_counts_as_delivered_in_vain(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name, delivery_limit=1) as queue:
        inbox = Inbox()
        await queue.consume(inbox, 1)
        await queue.publish(request_id(1))
        for times in range(1, 10):
            await inbox.until(times)
            if times % 2:
                inbox.deliveries[-1].hand_back()
            else:
                await queue.close()
                await queue.open()
                await queue.consume(inbox, 1)
        assert inbox.ids == [request_id(1)] * 9


async def test_what_a_killed_consumer_had_goes_to_another(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name) as queue:
        for number in range(20):
            await queue.publish(request_id(number))
        command = [sys.executable, "-m", "tests.engines.consumer", broker.url, name]
        victim = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert victim.stdout is not None
        async with asyncio.timeout(RECOVERY_SECONDS):
            seen = {await victim.stdout.readline() for _ in range(10)}
        victim.kill()
        await victim.wait()
        assert len(seen) == 10
        inbox = Inbox(acknowledge=True)
        await queue.consume(inbox, 100)
        await until_arrived(inbox, set(map(request_id, range(20))))
        await until_depth(queue, 0)
        assert len(inbox.ids) == 20


async def test_another_address_is_used_when_one_does_not_answer(
    broker: RabbitMQ, name: str
) -> None:
    nobody = free_port()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        hosts = [f"127.0.0.1:{port}" for port in (nobody, mute.getsockname()[1], broker.port)]
        url = f"amqp://{USER}:{PASSWORD}@{','.join(hosts)}//"
        async with opened(url, name) as queue:
            await queue.publish(request_id(1))
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
            await until_published(queue, 2)


async def test_a_server_that_says_nothing_is_unavailable(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"amqp://127.0.0.1:{mute.getsockname()[1]}"
        async with asyncio.timeout(ANSWER_SECONDS):
            with pytest.raises(QueueUnavailable, match="is away: timed out"):
                await queue_at(url, name=name).open()


async def refusal(url: str, **settings: Any) -> str:
    """Why the queue does not open; the password is in no message."""
    queue = queue_at(url, **settings)
    with pytest.raises(ConfigError) as caught:
        await queue.open()
    with pytest.raises(QueueUnavailable, match="not open"):
        await queue.publish(request_id(1))
    assert PASSWORD not in caught.value.message
    return caught.value.message


async def test_credentials_that_are_refused(broker: RabbitMQ) -> None:
    message = await refusal(f"amqp://{USER}:{PASSWORD}x@127.0.0.1:{broker.port}//")
    assert f"The broker 127.0.0.1:{broker.port}: ACCESS_REFUSED" in message
    assert "correct user and password in [queue] url" in message


async def test_a_virtual_host_that_is_not_there(broker: RabbitMQ) -> None:
    message = await refusal(broker.url.removesuffix("/") + "elsewhere")
    assert "vhost elsewhere not found" in message
    assert "correct the virtual host in [queue] url" in message


async def test_a_queue_that_is_of_another_kind(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name, delivery_limit=5):
        message = await refusal(broker.url, name=name, delivery_limit=6)
    assert f"inequivalent arg 'x-delivery-limit' for queue '{name}'" in message
    assert "delete that queue" in message


def certificates(broker: RabbitMQ) -> dict[str, Path]:
    """What a client needs that the broker may trust, and that trusts it."""
    own = broker.client
    return {"cafile": broker.cafile, "certfile": own.certfile, "keyfile": own.keyfile}


async def test_with_tls(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.tls_url, name, **certificates(broker)) as queue:
        inbox = Inbox(acknowledge=True)
        await queue.consume(inbox, 100)
        await asyncio.gather(*(queue.publish(request_id(number)) for number in range(1000)))
        await until(lambda: len(inbox.deliveries) == 1000)
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await until_published(queue, 1000)
        await until_arrived(inbox, {request_id(1000)})


async def test_a_certificate_of_an_unknown_authority(broker: RabbitMQ, tmp_path: Path) -> None:
    trusted = certificates(broker) | {"cafile": Authority(tmp_path).cafile}
    message = await refusal(broker.tls_url, **trusted)
    assert "its certificate is refused" in message
    assert "correct [queue] cafile" in message


async def test_a_certificate_for_another_host(broker: RabbitMQ) -> None:
    url = broker.tls_url.replace("127.0.0.1", "localhost")
    message = await refusal(url, **certificates(broker))
    assert "its certificate is refused" in message


async def test_a_broker_that_asks_for_a_certificate(broker: RabbitMQ, tmp_path: Path) -> None:
    message = await refusal(broker.tls_url, cafile=broker.cafile)
    assert "certfile and keyfile" in message
    stranger = Authority(tmp_path).sign("client")
    pair = {"certfile": stranger.certfile, "keyfile": stranger.keyfile}
    message = await refusal(broker.tls_url, cafile=broker.cafile, **pair)
    assert "certfile and keyfile" in message


async def test_tls_where_there_is_none(broker: RabbitMQ) -> None:
    message = await refusal(broker.url.replace("amqp:", "amqps:"))
    assert "a port for TLS" in message


def held() -> set[tuple[str, str]]:
    """What this process holds: the queue's threads, and its open files by number and identity."""
    found = {("thread", str(one.ident)) for one in threading.enumerate() if one.name == THREAD}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found.add((descriptor.name, str(descriptor.readlink())))
    return found


async def test_nothing_is_left_behind(broker: RabbitMQ, name: str) -> None:
    before = held()
    for _ in range(3):
        async with opened(broker.url, name) as queue:
            with channel_of(broker) as channel:
                channel.queue_delete(name)
            await until_published(queue, 1)
        await refusal(f"amqp://{USER}:x@127.0.0.1:{broker.port}//")
    # What others left in this process may vanish meanwhile, so numbers alone would say nothing.
    await until(lambda: held() <= before)


def test_commands_that_come_after_the_end_do_nothing(broker: RabbitMQ, name: str) -> None:
    login = {"userid": USER, "password": PASSWORD, "virtual_host": "/"}
    one = AmqpBroker("127.0.0.1", broker.port, name, 20, login)
    asking = (Broker.publish, (request_id(1), None), None), (Broker.consume, 1, None)
    arrived = one.perform(asking)[1]
    while not arrived:
        arrived = one.perform([])[1]
    [(_, _, tag)] = arrived
    settling = (Broker.stop, None, None), (Broker.acknowledge, tag, None)
    one.perform([*settling, (Broker.hand_back, tag, None)])
    one.close()
    other = AmqpBroker("127.0.0.1", broker.port, name, 20, login)
    assert other._channel.basic_get(name).body == request_id(1).encode()
    other.close()
