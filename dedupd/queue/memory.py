"""The Queue in pure asyncio, for the simulation: no thread, no clock, no chance.

Several queues share one ``MemoryBroker``, as fronts and workers share a real one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from dedupd.ports import Delivery, QueueUnavailable
from dedupd.queue.delivery import Message, Notice, handle
from dedupd.request import Record


class MemoryBroker:
    """The messages that wait, and the queues that consume them in turn, as far as there is room."""

    def __init__(self) -> None:
        self.waiting: deque[Notice] = deque()
        self.consumers: deque[MemoryQueue] = deque()
        self._stirred = False

    def stir(self) -> None:
        """Hand out what can be handed out, in the loop's next round."""
        if not self._stirred:
            self._stirred = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def _hand_out(self) -> None:
        self._stirred = False
        while self.waiting:
            consumer = next((one for one in self.consumers if one.has_room), None)
            if consumer is None:
                return
            self.consumers.remove(consumer)
            self.consumers.append(consumer)
            consumer.take(self.waiting.popleft())


class MemoryQueue:
    """``dedupd.ports.Queue`` on a ``MemoryBroker``: a private one, unless it is given."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self._broker = broker or MemoryBroker()
        self._is_open = False
        self._handler: Callable[[Delivery], None] = Delivery.hand_back
        self._prefetch = 0
        self._tags = 0
        self._unacknowledged: dict[int, Notice] = {}

    @property
    def has_room(self) -> bool:
        """Whether the prefetch allows one more message."""
        return len(self._unacknowledged) < self._prefetch

    async def open(self) -> None:
        """See ``Queue.open``."""
        self._is_open = True

    async def close(self) -> None:
        """See ``Queue.close``."""
        self.drop()

    def drop(self) -> None:
        """What the broker sees when the process dies: its messages go back, at once."""
        self._is_open = False
        self._stop()
        self._broker.waiting.extend(self._unacknowledged.values())
        self._unacknowledged.clear()
        self._broker.stir()

    async def publish(self, request_id: str, claimed: Record | None = None) -> None:
        """See ``Queue.publish``."""
        self._check()
        self._broker.waiting.append((request_id, claimed))
        self._broker.stir()
        await asyncio.sleep(0)

    async def consume(self, handler: Callable[[Delivery], None], prefetch: int) -> None:
        """See ``Queue.consume``."""
        self._check()
        self._stop()
        self._handler, self._prefetch = handler, prefetch
        self._broker.consumers.append(self)
        self._broker.stir()

    async def stop_consuming(self) -> None:
        """See ``Queue.stop_consuming``."""
        self._stop()

    async def depth(self) -> int:
        """See ``Queue.depth``."""
        self._check()
        return len(self._broker.waiting)

    def take(self, notice: Notice) -> None:
        """Have a message handled, on the broker's word."""
        self._tags += 1
        self._unacknowledged[self._tags] = notice
        request_id, claimed = notice
        handle(self._handler, Message(request_id, self._settle, self._tags, claimed))

    def _settle(self, tag: int, hand_back: bool) -> None:
        notice = self._unacknowledged.pop(tag, None)
        if notice is not None and hand_back:
            self._broker.waiting.append(notice)
        self._broker.stir()

    def _stop(self) -> None:
        if self in self._broker.consumers:
            self._broker.consumers.remove(self)

    def _check(self) -> None:
        if not self._is_open:
            raise QueueUnavailable("The queue is not open.")
