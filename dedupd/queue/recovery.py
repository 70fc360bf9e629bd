"""A queue that outlives its broker's connections."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from dedupd.background import Background
from dedupd.errors import ConfigError
from dedupd.ports import QueueUnavailable
from dedupd.queue import policies
from dedupd.queue.broker import Broker, Silent
from dedupd.queue.kombu import KombuQueue
from dedupd.queue.link import Link

LOG = logging.getLogger(__name__)


class RecoveringQueue(KombuQueue):
    """A ``KombuQueue`` that connects again whenever the connection has ended, until ``close``.

    What is missing is declared again, and who consumed goes on to consume. What was published and
    not confirmed has failed by then; messages that came by an old connection come again, and
    settling the old ones does nothing.

    Where the broker accepts no consumer, or confirms nothing, ``heal`` is called in a thread of its
    own, by one at a time: it may block, and does what can be done about it.
    """

    def __init__(
        self,
        connect: Callable[[], Broker],
        link: type[Link],
        deadline: float,
        heal: Callable[[], None],
        background: Background,
    ) -> None:
        super().__init__(connect, link, deadline)
        self._background = background
        self._keeper: asyncio.Task[None] | None = None
        self._heal = heal
        self._healer: threading.Thread | None = None

    async def open(self) -> None:
        """See ``Queue.open``; if it is open, nothing happens."""
        await super().open()
        if self._keeper is None and self._link is not None:
            keeping = self._keep_connected(self._link)
            self._keeper = self._background.run(keeping, "What keeps the queue connected")

    async def close(self) -> None:
        """See ``Queue.close``; called again, or by several, it returns when it is closed."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await super().close()

    async def _begin_to_consume(self) -> None:
        try:
            await super()._begin_to_consume()
        except QueueUnavailable:
            self._look_after_it()
            raise

    def _look_after_it(self) -> None:
        """Have the queue healed, unless somebody is at it."""
        if self._healer is None or not self._healer.is_alive():
            healer = threading.Thread(target=self._heal, name="healer", daemon=True)
            try:
                healer.start()
            except RuntimeError as error:
                LOG.warning("the queue cannot be looked at: %s", error)
            else:
                self._healer = healer

    async def _keep_connected(self, link: Link) -> None:
        await self._until_ended(link)
        while True:
            async for attempt in policies.reconnecting():
                with attempt:
                    await self._connect_again()

    async def _connect_again(self) -> None:
        """Connect, and return when that has ended after a good while.

        Raises:
            QueueUnavailable: it did not come about, or ended early.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            link = await self._join()
        except (QueueUnavailable, ConfigError) as error:
            LOG.warning("the queue is not connected, and tried again: %s", error)
            raise QueueUnavailable(error.message, operators=str(error)) from None
        LOG.info("the queue is connected again")
        await self._until_ended(link)
        if loop.time() - begun < policies.STEADY_SECONDS:
            raise QueueUnavailable("The queue's connection did not last.")

    async def _until_ended(self, link: Link) -> None:
        await link.until_ended()
        LOG.warning("the queue's connection has ended: %s", link.reason)
        if isinstance(link.failure, Silent):
            self._look_after_it()
