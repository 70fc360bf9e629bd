"""The Queue on kombu, seen from the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from dedupd.ports import Delivery, QueueUnavailable
from dedupd.queue.broker import CONNECT_SECONDS, Broker, private_memory
from dedupd.queue.thread import Arrived, BrokerThread, Operation

LOG = logging.getLogger(__name__)

DEADLINE_SECONDS = 5.0
"""How long the broker may take to confirm a message, or anything else that it is asked."""


class KombuDelivery:
    """One message; bound to the connection that it came by: after its end, nothing happens."""

    __slots__ = ("_tag", "_thread", "id")

    def __init__(self, request_id: str, thread: BrokerThread, tag: Any) -> None:
        self.id = request_id
        self._thread: BrokerThread | None = thread
        self._tag = tag

    def acknowledge(self) -> None:
        """See ``Delivery.acknowledge``; after the first of both calls, nothing happens."""
        self._settle(Broker.acknowledge)

    def hand_back(self) -> None:
        """See ``Delivery.hand_back``; after the first of both calls, nothing happens."""
        self._settle(Broker.hand_back)

    def _settle(self, operation: Operation) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.tell(operation, self._tag)


class KombuQueue:
    """``dedupd.ports.Queue`` on a broker that kombu can talk to; see ``open_queue``.

    Methods are for one event loop. ``deadline`` in seconds is for each call.
    """

    def __init__(self, url: str, name: str, deadline: float = DEADLINE_SECONDS) -> None:
        transport = private_memory()
        self._connect = lambda: Broker(url, name, transport)
        self._name = name
        self._deadline = deadline
        self._thread: BrokerThread | None = None
        self._handler: Callable[[Delivery], None] | None = None

    async def open(self) -> None:
        """See ``Queue.open``; nothing happens if it is open."""
        if self._thread is None:
            thread = self._thread = BrokerThread(self._connect, self._arrive)
            async with asyncio.timeout(CONNECT_SECONDS):
                await thread.start()

    async def close(self) -> None:
        """See ``Queue.close``; again or at the same time: returns when it is closed."""
        thread, self._handler = self._thread, None
        if thread is not None:
            await thread.stop()
            self._thread = None

    async def publish(self, request_id: str) -> None:
        """See ``Queue.publish``."""
        await self._ask(Broker.publish, request_id)

    async def consume(self, handler: Callable[[Delivery], None], prefetch: int) -> None:
        """See ``Queue.consume``."""
        self._handler = handler
        await self._ask(Broker.consume, prefetch)

    async def stop_consuming(self) -> None:
        """See ``Queue.stop_consuming``."""
        await self._ask(Broker.cancel, None)
        self._handler = None

    async def depth(self) -> int:
        """See ``Queue.depth``."""
        depth: int = await self._ask(Broker.depth, None)
        return depth

    async def _ask(self, operation: Operation, argument: Any) -> Any:
        if self._thread is None:
            raise QueueUnavailable(f"The queue {self._name} is not open.")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._thread.submit(operation, argument)
        except TimeoutError:
            raise QueueUnavailable(
                f"The queue {self._name} did not answer within {self._deadline:g} s."
            ) from None

    def _arrive(self, arrived: Arrived) -> None:
        for request_id, tag in arrived:
            delivery = KombuDelivery(request_id, self._thread, tag)
            self._handler(delivery)
