from __future__ import annotations

from dedupd.queue.memory import MemoryBroker, MemoryQueue
from tests.contract.queues import Inbox, request_id, settled


async def opened(broker: MemoryBroker) -> MemoryQueue:
    queue = MemoryQueue(broker)
    await queue.open()
    return queue


async def test_queues_of_one_broker_share_its_messages() -> None:
    broker = MemoryBroker()
    front, worker = await opened(broker), await opened(broker)
    inbox = Inbox()
    await worker.consume(inbox, 1)
    await front.publish(request_id(1))
    assert await inbox.until(1) == [request_id(1)]


async def test_consumers_take_turns_as_far_as_they_have_room() -> None:
    broker = MemoryBroker()
    small, large = await opened(broker), await opened(broker)
    few, many = Inbox(), Inbox()
    await small.consume(few, 2)
    await large.consume(many, 10)
    for number in range(8):
        await small.publish(request_id(number))
    await settled(small)
    assert few.ids == [request_id(0), request_id(2)]
    assert many.ids == [request_id(number) for number in (1, 3, 4, 5, 6, 7)]


async def test_what_a_dead_consumer_had_goes_to_another() -> None:
    broker = MemoryBroker()
    dead, alive = await opened(broker), await opened(broker)
    lost, taken = Inbox(), Inbox()
    await dead.consume(lost, 4)
    for number in range(2):
        await dead.publish(request_id(number))
    await lost.until(2)
    lost.deliveries[0].acknowledge()
    await alive.consume(taken, 4)
    dead.drop()
    lost.deliveries[1].acknowledge()
    assert await taken.until(1) == [request_id(1)]
    await settled(alive)
    assert taken.ids == [request_id(1)]


async def test_the_same_calls_make_the_same_history() -> None:
    async def history() -> list[list[str]]:
        broker = MemoryBroker()
        queues = [await opened(broker) for _ in range(3)]
        inboxes = [Inbox(acknowledge=number % 2 == 0) for number in range(3)]
        for queue, inbox in zip(queues, inboxes, strict=True):
            await queue.consume(inbox, 5)
        for number in range(30):
            await queues[number % 3].publish(request_id(number))
        queues[1].drop()
        await settled(queues[0])
        return [inbox.ids for inbox in inboxes]

    first = await history()
    assert sum(map(len, first)) > 30
    assert await history() == first
