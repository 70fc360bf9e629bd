"""A broker that never blocks, used in the event loop itself: kombu's memory transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dedupd.ports import QueueUnavailable
from dedupd.queue.broker import Broker, Reply
from dedupd.queue.thread import Arrived, Operation


class BrokerInline:
    """What ``BrokerThread`` does, without a thread; messages arrive in the loop's next round."""

    def __init__(
        self, connect: Callable[[], Broker], on_arrival: Callable[[Arrived], None]
    ) -> None:
        self._connect = connect
        self._on_arrival = on_arrival
        self._loop = asyncio.get_running_loop()
        self._broker: Broker | None = None
        self._scheduled = False

    async def start(self) -> None:
        self._broker = self._connect()

    def submit(self, operation: Operation, argument: Any) -> Reply:
        reply = self._loop.create_future()
        if self._broker is None: raise QueueUnavailable("closed")
        operation(self._broker, reply, argument)
        for future, value in self._broker.replies: future.set_result(value)
        self._broker.replies.clear()
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deliver)
        return reply

    def tell(self, operation: Operation, argument: Any) -> None:
        if self._broker is not None:
            operation(self._broker, None, argument)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._deliver)

    def _deliver(self):
        self._scheduled = False
        if self._broker is not None:
            self._broker.drain()
            arrived, self._broker.arrived = self._broker.arrived, []
            if arrived: self._on_arrival(arrived)

    async def stop(self) -> None:
        if self._broker is not None:
            self._broker.close(); self._broker = None
