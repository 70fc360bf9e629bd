from __future__ import annotations

from tests.contract.queues import Inbox, queue_at, request_id


async def test_memory_is_a_queue() -> None:
    queue = queue_at("memory://")
    await queue.open()
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    assert await inbox.until(1) == [request_id(1)]
    await queue.close()


async def test_two_of_the_same_name_are_two_queues() -> None:
    one, two = (queue_at("memory://", name="dedupd") for _ in range(2))
    await one.open()
    await two.open()
    await one.publish(request_id(1))
    assert (await one.depth(), await two.depth()) == (1, 0)
    await one.close()
    await two.close()
