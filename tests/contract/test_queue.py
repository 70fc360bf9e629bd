"""What every queue promises (``dedupd.ports.Queue``)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from dedupd.ports import Delivery, Queue, QueueUnavailable
from tests.contract.queues import DEADLINE, QUEUES, Inbox, request_id, settled, until_depth
from tests.contract.stores import make_record


@pytest.fixture(params=QUEUES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def queue(kind: str) -> AsyncIterator[Queue]:
    queue = QUEUES[kind]()
    await queue.open()
    yield queue
    await queue.close()


async def reopen(queue: Queue) -> None:
    await queue.close()
    await queue.open()


async def publish_all(queue: Queue, count: int) -> list[str]:
    ids = [request_id(number) for number in range(count)]
    await asyncio.gather(*map(queue.publish, ids))
    return ids


async def test_a_message_comes_to_the_handler(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    assert await inbox.until(1) == [request_id(1)]


async def test_a_claim_comes_with_its_id(queue: Queue) -> None:
    record = make_record(1)
    inbox = Inbox()
    await queue.consume(inbox, 2)
    await queue.publish(record.id, msgspec.structs.replace(record, version=7))
    await queue.publish(record.id)
    await inbox.until(2)
    with_it, without = inbox.deliveries
    assert with_it.claimed is not None
    assert msgspec.structs.replace(with_it.claimed, version=0) == record
    assert (with_it.id, without.claimed) == (record.id, None)


async def test_what_was_published_before_anyone_consumes_is_kept(queue: Queue) -> None:
    ids = await publish_all(queue, 100)
    assert await queue.depth() == 100
    inbox = Inbox()
    await queue.consume(inbox, 100)
    assert sorted(await inbox.until(100)) == ids
    assert await queue.depth() == 0


async def test_every_message_comes_exactly_once_while_all_is_well(queue: Queue) -> None:
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 16)
    ids = await publish_all(queue, 1000)
    await inbox.until(1000)
    await settled(queue)
    assert sorted(inbox.ids) == ids


async def test_one_id_may_wait_twice(queue: Queue) -> None:
    inbox = Inbox(acknowledge=True)
    await queue.publish(request_id(1))
    await queue.publish(request_id(1))
    await queue.consume(inbox, 1)
    assert await inbox.until(2) == [request_id(1)] * 2


async def test_acknowledged_messages_do_not_come_again(queue: Queue) -> None:
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 10)
    await publish_all(queue, 10)
    await inbox.until(10)
    await reopen(queue)
    assert await queue.depth() == 0


async def test_unacknowledged_messages_go_back_at_close(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 3)
    await publish_all(queue, 5)
    await inbox.until(3)
    inbox.deliveries[1].acknowledge()
    await inbox.until(4)
    await reopen(queue)
    assert await queue.depth() == 4
    again = Inbox(acknowledge=True)
    await queue.consume(again, 10)
    kept = {request_id(number) for number in range(5)} - {inbox.deliveries[1].id}
    assert set(await again.until(4)) == kept


async def test_at_most_prefetch_messages_are_unacknowledged(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 3)
    await publish_all(queue, 10)
    for settled_before in range(7):
        await inbox.until(settled_before + 3)
        await settled(queue)
        assert len(inbox.deliveries) == settled_before + 3
        assert await queue.depth() == 7 - settled_before
        inbox.deliveries[settled_before].acknowledge()


async def test_a_message_handed_back_comes_again(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    await inbox.until(1)
    inbox.deliveries[0].hand_back()
    assert await inbox.until(2) == [request_id(1)] * 2
    inbox.deliveries[1].acknowledge()
    await reopen(queue)
    assert await queue.depth() == 0


async def test_a_message_handed_back_after_the_end_of_consuming_waits(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    await inbox.until(1)
    await queue.stop_consuming()
    inbox.deliveries[0].hand_back()
    await until_depth(queue, 1)
    assert len(inbox.deliveries) == 1


async def test_only_the_first_settling_counts(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 2)
    await queue.publish(request_id(1))
    await inbox.until(1)
    delivery = inbox.deliveries[0]
    delivery.hand_back()
    await inbox.until(2)
    delivery.acknowledge()
    delivery.hand_back()
    await settled(queue)
    assert len(inbox.deliveries) == 2
    await reopen(queue)
    assert await queue.depth() == 1


@pytest.mark.parametrize("settle", ["acknowledge", "hand_back"])
async def test_settling_after_close_is_harmless(queue: Queue, settle: str) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    await inbox.until(1)
    await queue.close()
    getattr(inbox.deliveries[0], settle)()
    await queue.open()
    await queue.consume(inbox, 1)
    await inbox.until(2)
    await settled(queue)
    assert await queue.depth() == 0


async def test_no_handler_is_called_once_consuming_has_stopped(queue: Queue) -> None:
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 8)
    publishing = [asyncio.ensure_future(queue.publish(request_id(number))) for number in range(200)]
    await inbox.until(1)
    await queue.stop_consuming()
    seen = len(inbox.deliveries)
    await asyncio.gather(*publishing)
    await settled(queue)
    assert len(inbox.deliveries) == seen
    await until_depth(queue, 200 - seen)


async def test_what_came_before_the_end_of_consuming_can_be_acknowledged(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 2)
    await publish_all(queue, 2)
    await inbox.until(2)
    await queue.stop_consuming()
    inbox.deliveries[0].acknowledge()
    await reopen(queue)
    assert await queue.depth() == 1


async def test_consuming_can_begin_again(queue: Queue) -> None:
    first, second = Inbox(acknowledge=True), Inbox(acknowledge=True)
    await queue.consume(first, 4)
    await queue.publish(request_id(1))
    await first.until(1)
    await queue.stop_consuming()
    await queue.publish(request_id(2))
    await queue.consume(second, 4)
    assert await second.until(1) == [request_id(2)]
    assert first.ids == [request_id(1)]


async def test_a_second_consumer_takes_the_place_of_the_first(queue: Queue) -> None:
    first, second = Inbox(acknowledge=True), Inbox(acknowledge=True)
    await queue.consume(first, 1)
    await queue.consume(second, 1)
    await publish_all(queue, 10)
    await second.until(10)
    assert not first.deliveries


async def test_one_stop_ends_a_consumer_that_was_replaced(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.consume(inbox, 1)
    await queue.stop_consuming()
    await queue.publish(request_id(1))
    await settled(queue)
    assert await queue.depth() == 1
    assert not inbox.deliveries


async def test_opening_an_open_queue_changes_nothing(queue: Queue) -> None:
    inbox = Inbox()
    await queue.consume(inbox, 1)
    await queue.open()
    await queue.publish(request_id(1))
    assert await inbox.until(1) == [request_id(1)]


async def test_a_handler_that_fails_does_not_keep_others_from_their_messages(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox(acknowledge=True)

    def handler(delivery: Delivery) -> None:
        if delivery.id == request_id(1):
            raise LookupError("as a test has it")
        inbox(delivery)

    await queue.consume(handler, 8)
    await publish_all(queue, 5)
    await inbox.until(4)
    assert f"a queue's handler failed with {request_id(1)}" in caplog.text
    await reopen(queue)
    assert await queue.depth() == 1


async def test_a_handler_may_use_the_queue(queue: Queue) -> None:
    inbox = Inbox(acknowledge=True)
    tasks: list[asyncio.Task[None]] = []

    def handler(delivery: Delivery) -> None:
        inbox(delivery)
        if len(inbox.deliveries) < 20:
            tasks.append(asyncio.create_task(queue.publish(request_id(len(inbox.deliveries)))))

    await queue.consume(handler, 1)
    await queue.publish(request_id(0))
    assert await inbox.until(20) == [request_id(number) for number in range(20)]
    await asyncio.gather(*tasks)


async def test_a_cancelled_publish_disturbs_nobody(queue: Queue) -> None:
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 4)
    tasks = [asyncio.create_task(queue.publish(request_id(number))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks, timeout=DEADLINE)
    assert all(task.done() for task in tasks)
    await queue.publish(request_id(99))
    await inbox.until(11)
    await settled(queue)
    counts = Counter(inbox.ids)
    assert set(counts) >= {request_id(number) for number in (*range(1, 20, 2), 99)}
    assert set(counts.values()) == {1}


async def test_a_confirmed_message_survives_a_close_at_once(queue: Queue) -> None:
    ids = await publish_all(queue, 50)
    await reopen(queue)
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 64)
    assert sorted(await inbox.until(50)) == ids


async def test_a_publish_overtaken_by_close_ends(queue: Queue) -> None:
    tasks = [asyncio.create_task(queue.publish(request_id(number))) for number in range(50)]
    await asyncio.sleep(0)
    await queue.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    confirmed = sum(result is None for result in results)
    assert all(result is None or isinstance(result, QueueUnavailable) for result in results)
    await queue.open()
    assert await queue.depth() >= confirmed


async def test_close_may_be_called_again_and_at_the_same_time(queue: Queue) -> None:
    await queue.consume(Inbox(), 1)
    await asyncio.gather(queue.close(), queue.close(), queue.close())
    await queue.close()


async def test_a_cancelled_close_can_be_repeated(queue: Queue) -> None:
    await queue.publish(request_id(1))
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing], timeout=DEADLINE)
    await reopen(queue)
    assert await queue.depth() == 1


@pytest.mark.parametrize("closed_before", [False, True])
async def test_a_closed_queue_is_unavailable(kind: str, closed_before: bool) -> None:
    queue = QUEUES[kind]()
    if closed_before:
        await queue.open()
    await queue.close()
    with pytest.raises(QueueUnavailable, match="not open"):
        await queue.publish(request_id(1))
    with pytest.raises(QueueUnavailable, match="not open"):
        await queue.depth()
    with pytest.raises(QueueUnavailable, match="not open"):
        await queue.consume(Inbox(), 1)
    await queue.stop_consuming()


async def test_two_queues_of_one_process_do_not_see_each_other(kind: str, queue: Queue) -> None:
    other = QUEUES[kind]()
    await other.open()
    inbox = Inbox()
    await other.consume(inbox, 4)
    await publish_all(queue, 4)
    await settled(other)
    assert await queue.depth() == 4
    assert await other.depth() == 0
    await other.close()
    assert await queue.depth() == 4
    assert not inbox.deliveries
