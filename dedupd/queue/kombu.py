"""The Queue on kombu, seen from the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dedupd.ports import Delivery, QueueUnavailable
from dedupd.queue.broker import Broker, Operation
from dedupd.queue.delivery import Message, handle
from dedupd.queue.link import CLOSED, Link
from dedupd.request import Record

LOG = logging.getLogger(__name__)

DEADLINE_SECONDS = 5.0
"""How long the broker may take to confirm a message, or to do anything else."""


class KombuQueue:
    """``dedupd.ports.Queue`` on a broker that kombu can talk to; made by ``open_queue``.

    For one event loop, from ``open`` to ``close``. ``link`` says where the broker's blocking calls
    are made; ``deadline`` in seconds is for each method. A handler that raises is logged, and its
    message stays unacknowledged until ``close``.
    """

    def __init__(
        self,
        connect: Callable[[], Broker],
        link: type[Link],
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._connect = connect
        self._make_link = link
        self._deadline = deadline
        self._link: Link | None = None
        self._handler: Callable[[Delivery], None] | None = None
        self._prefetch = 0

    async def open(self) -> None:
        """See ``Queue.open``; if it is open, nothing happens."""
        if self._link is not None:
            return
        try:
            await self._join()
        except BaseException:
            self._link = None
            raise

    async def _join(self) -> Link:
        """Connect, and consume if that is asked for.

        Raises:
            QueueUnavailable: the broker cannot be reached now.
            ConfigError: it refuses, and will go on to do so.
        """
        try:
            link = self._link = self._make_link(self._connect, self._arrive)
        except (OSError, RuntimeError) as error:  # no more descriptors, or threads
            raise QueueUnavailable(f"No connection to the broker can be begun: {error}.") from None
        try:
            await self._ask(Broker.greet, None)
            if self._handler is not None:
                await self._begin_to_consume()
        except BaseException as error:
            link.abandon("it could not be opened")
            if isinstance(error, QueueUnavailable) and link.refusal is not None:
                raise link.refusal from None
            raise
        return link

    async def close(self) -> None:
        """See ``Queue.close``; called again, or by several, it returns when it is closed."""
        link, self._handler = self._link, None
        if link is None:
            return
        try:
            async with asyncio.timeout(self._deadline):
                await link.stop()
        except TimeoutError:
            LOG.error("the queue's broker does not let go within %g s: left", self._deadline)
            link.abandon(CLOSED)
        if self._link is link:
            self._link = None

    async def publish(self, request_id: str, claimed: Record | None = None) -> None:
        """See ``Queue.publish``."""
        await self._ask(Broker.publish, (request_id, claimed))

    async def consume(self, handler: Callable[[Delivery], None], prefetch: int) -> None:
        """See ``Queue.consume``; called again, it takes the place of the first."""
        self._handler, self._prefetch = handler, prefetch
        try:
            await self._begin_to_consume()
        except BaseException:
            self._handler = None
            raise

    async def _begin_to_consume(self) -> None:
        """Let messages come.

        Raises:
            QueueUnavailable: the broker did not agree in time.
        """
        await self._ask(Broker.consume, self._prefetch)

    async def stop_consuming(self) -> None:
        """See ``Queue.stop_consuming``; harmless if nothing is consumed, or it is closed."""
        if self._handler is None:
            return
        try:
            with suppress(QueueUnavailable):  # then nothing comes either
                await self._ask(Broker.cancel, None)
        finally:
            self._handler = None

    async def depth(self) -> int:
        """See ``Queue.depth``."""
        depth: int = await self._ask(Broker.depth, None)
        return depth

    async def _ask(self, operation: Operation, argument: Any) -> Any:
        if self._link is None:
            raise QueueUnavailable("The queue is not open.")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._link.submit(operation, argument)
        except TimeoutError:
            raise QueueUnavailable(
                f"The queue's broker did not answer within {self._deadline:g} s: try again later."
            ) from None

    def _arrive(self, messages: list[Message]) -> None:
        for message in messages:
            if self._handler is None:
                message.hand_back()
            else:
                handle(self._handler, message)
        if self._handler is None and self._link is not None:
            self._link.tell(Broker.cancel, None)  # who asked for them has given up
