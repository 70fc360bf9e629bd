"""The worker's lease: proof to the others, and to itself, that it may send."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable

from oslo_log import log

from dedupd.ports import Store, StoreUnavailable, Worker

LOG = log.getLogger(__name__)

SEND_MARGIN = 0.3
"""The share of the lease that must be left when a send begins."""


def worker_name() -> str:
    """A fresh identity: where the worker runs, and what no other has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Lease:
    """Keeps one worker registered; a lost lease is never revived: a new identity is taken.

    Args:
        store: Where the lease stands.
        seconds: How long it lives without being kept alive.
        clock: Seconds since the epoch.
        name: Gives a fresh identity each time.
    """

    def __init__(
        self,
        store: Store,
        seconds: float,
        clock: Callable[[], float],
        name: Callable[[], str] = worker_name,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._name = name
        self._until = 0.0
        self._prolonged = asyncio.Event()
        self.worker_id = ""

    async def take(self) -> None:
        """Register under a fresh identity.

        Raises:
            StoreUnavailable: not registered.
        """
        until = self._clock() + self._seconds
        worker_id = self._name()
        await self._store.register(Worker(worker_id, socket.gethostname(), os.getpid(), until))
        self.worker_id, self._until = worker_id, until
        self._prolonged.set()

    async def keep(self) -> None:
        """Keep it alive for ever, at a third of its length; cancel to stop."""
        while True:
            await asyncio.sleep(self._seconds / 3)
            try:
                await self._prolong()
            except StoreUnavailable as error:
                LOG.warning("The lease of %s was not kept alive: %s", self.worker_id, error)

    async def give_up(self) -> None:
        """End the lease, so that others take over at once."""
        self._until = 0.0
        await self._store.retire(self.worker_id)

    def may_send(self) -> bool:
        """Whether enough of the lease is left to begin a send."""
        return self._until - self._clock() >= SEND_MARGIN * self._seconds

    def has_ended(self) -> bool:
        """Whether nothing is left of it, as far as is known here."""
        return self._clock() >= self._until

    async def renewed(self) -> bool:
        """Wait until enough of the lease is left to begin a send, at most for half of its length.

        It runs short for a moment where the process was paused, or is very busy.
        """
        if not self.may_send():
            self._prolonged.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds / 2):
                    await self._prolonged.wait()
        return self.may_send()

    async def _prolong(self) -> None:
        until = self._clock() + self._seconds
        if await self._store.keep_alive(self.worker_id, until):
            self._until = until
            self._prolonged.set()
            return
        LOG.error(
            "The lease of %s ended (the process was paused, or the store away, for longer than "
            "%g s); going on under a new identity.",
            self.worker_id,
            self._seconds,
        )
        await self.take()
