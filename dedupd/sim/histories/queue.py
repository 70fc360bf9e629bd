"""The Queue port of one process, on the broker that all share."""

from __future__ import annotations

from collections.abc import Callable

from dedupd.ports import Delivery, QueueUnavailable
from dedupd.queue.delivery import Notice
from dedupd.queue.memory import MemoryQueue
from dedupd.request import Record
from dedupd.sim.histories.faults import Fault, Operation
from dedupd.sim.histories.stage import Node, at_once
from dedupd.sim.histories.wire import LATENCY, Manners, Wire

_MANNERS = Manners(
    slow=Fault.PUBLISH_SLOW,
    refused=Fault.PUBLISH_REFUSED,
    unanswered=Fault.PUBLISH_UNCONFIRMED,
    late=Fault.PUBLISH_LATE,
    failure=lambda how: QueueUnavailable(f"The broker failed: {how}."),
)

REORDER_SECONDS = 4.0
"""The longest time by which a message comes later than those behind it."""


class HostileQueue:
    """``dedupd.ports.Queue`` as a process sees it: messages get lost, come twice, or late."""

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._process = node.process
        self._broker = node.stage.broker
        self._inner = MemoryQueue(self._broker)
        self._wire = Wire(node, operation, _MANNERS)
        node.lost.append(self._inner.drop)

    async def open(self) -> None:
        """See ``Queue.open``."""
        await self._inner.open()

    async def close(self) -> None:
        """See ``Queue.close``."""
        await self._inner.close()

    async def publish(self, request_id: str, claimed: Record | None = None) -> None:
        """See ``Queue.publish``."""

        def effect() -> None:
            self._again((request_id, claimed))
            self._node.stage.chronicle.note(self._node.name, "published", request_id[:8])

        await self._wire.exchange(request_id, effect)

    async def consume(self, handler: Callable[[Delivery], None], prefetch: int) -> None:
        """See ``Queue.consume``."""
        self._handler = handler

        def effect() -> None:
            at_once(self._inner.consume(self._take, prefetch))

        await self._wire.exchange("", effect)

    async def stop_consuming(self) -> None:
        """See ``Queue.stop_consuming``."""
        await self._inner.stop_consuming()

    async def depth(self) -> int:
        """See ``Queue.depth``."""
        return await self._wire.exchange("", lambda: len(self._broker.waiting))

    def _take(self, delivery: Delivery) -> None:
        """The broker sends a message to the process; it is under way for a while."""
        node, stage = self._node, self._node.stage
        draw = stage.torment.draw(node.stream, Operation.MESSAGE, delivery.id)
        fault, size = draw.fault, draw.size
        if fault is Fault.MESSAGE_LOST:
            delivery.acknowledge()
            return
        if fault is Fault.MESSAGE_REPEATED:
            stage.later(REORDER_SECONDS * size, self._again, (delivery.id, delivery.claimed))
        delay = REORDER_SECONDS * size if fault is Fault.MESSAGE_SLOW else LATENCY * size
        message = _Message(delivery, node)
        stage.loop.call_later(delay, self._handler, message, context=self._process.context)

    def _again(self, notice: Notice) -> None:
        self._broker.waiting.append(notice)
        self._broker.stir()


class _Message:
    """A delivery whose settling is the broker's doing, not the process's."""

    __slots__ = ("_inner", "_node", "_process", "claimed", "id")

    def __init__(self, inner: Delivery, node: Node) -> None:
        self.id = inner.id
        self.claimed = inner.claimed
        self._inner = inner
        self._node = node
        self._process = node.process

    def acknowledge(self) -> None:
        """See ``Delivery.acknowledge``."""
        self._settle(self._inner.acknowledge)

    def hand_back(self) -> None:
        """See ``Delivery.hand_back``."""
        self._settle(self._inner.hand_back)

    def _settle(self, settle: Callable[[], None]) -> None:
        """Outside of the process, which may end before it is done; a dead one settles nothing."""
        if self._process.running:
            self._node.stage.loop.call_soon(settle, context=self._node.stage.context)
