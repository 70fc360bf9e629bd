"""Callers that wait for a request to finish: held cheaply, woken together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from oslo_log import log

from dedupd.errors import Unavailable
from dedupd.metrics import Metrics
from dedupd.ports import Store, Stored, StoreUnavailable, Unreadable

LOG = log.getLogger(__name__)

POLL_SECONDS = 5.0
"""How often the latch reads what it waits for, in case a completion was lost."""

_READ_AT_ONCE = 500

Waiter = asyncio.Future[Stored | None]
"""A request's end; None where nobody is held any longer, or nothing was stored when it was read."""


class Latch:
    """Wakes the callers of a request when it ends.

    Completions are hints from the store; whatever they miss is found by a slow poll.
    """

    def __init__(self, store: Store, max_waiters: int, metrics: Metrics) -> None:
        self._store = store
        self._max_waiters = max_waiters
        self._gauge = metrics.waiting
        self._waiters: dict[str, dict[Waiter, None]] = {}  # woken in the order of their coming
        self._count = 0
        self._is_holding = True
        store.on_completion(self.complete)

    @property
    def is_holding(self) -> bool:
        """Whether callers are held at all."""
        return self._is_holding

    @contextmanager
    def watch(self, request_id: str) -> Iterator[Waiter]:
        """A future for the request's end: taken before the claim, so that no end is missed."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(request_id, {})[waiter] = None
        self._count += 1
        self._gauge.set(self._count)
        if not self._is_holding:
            waiter.set_result(None)
        try:
            yield waiter
        finally:
            self._remove(request_id, waiter)

    def check(self) -> None:
        """Whether one more caller may wait; those that are in ``watch`` already count.

        Raises:
            Unavailable: ``[api] max_waiters`` callers wait already.
        """
        if self._count > self._max_waiters:
            raise Unavailable(
                f"{self._max_waiters} callers wait already ([api] max_waiters); nothing was "
                "stored. Repeat with the same token.",
                headers={"Retry-After": "1"},
            )

    def complete(self, stored: Stored) -> None:
        """Wake everyone who waits for this request."""
        self._wake(stored.record.id, stored)

    def let_go(self) -> None:
        """Hold nobody any longer: who waits, or still comes to wait, is told so at once."""
        self._is_holding = False
        for id_ in self._waiters:
            self._wake(id_, None)

    async def poll(self) -> None:
        """Read what is waited for, now and then, for ever; cancel to stop.

        Each is read once in POLL_SECONDS; what has been waited for less than half of that is passed
        over, since most of it is about to end, and its news is on its way.
        """
        seen: set[str] = set()
        while True:
            await asyncio.sleep(POLL_SECONDS / 2)
            waited = [id_ for id_ in self._waiters if id_ in seen]
            seen = self._waiters.keys() - waited
            try:
                for start in range(0, len(waited), _READ_AT_ONCE):
                    await self._look(waited[start : start + _READ_AT_ONCE])
            except StoreUnavailable as error:
                LOG.warning("Waiting callers were not looked after: %s", error)

    async def _look(self, ids: list[str]) -> None:
        """Wake those whose request has ended, or is gone: nobody tells of a withdrawal.

        One that cannot be read is passed over, and only that one.
        """
        try:
            standing = await self._store.read(ids)
        except Unreadable as error:
            await self._look_apart(ids, error)
            return
        for id_ in ids:
            stored = standing.get(id_)
            if stored is None or not stored.record.state.awaited:
                self._wake(id_, stored)

    async def _look_apart(self, ids: list[str], error: Unreadable) -> None:
        middle = len(ids) // 2
        if not middle:
            LOG.warning("%s: whoever waits for it is not looked after: %s", ids[0], error)
            return
        await self._look(ids[:middle])
        await self._look(ids[middle:])

    def _wake(self, request_id: str, end: Stored | None) -> None:
        for waiter in self._waiters.get(request_id, ()):
            if not waiter.done():
                waiter.set_result(end)

    def _remove(self, request_id: str, waiter: Waiter) -> None:
        waiters = self._waiters[request_id]
        del waiters[waiter]
        if not waiters:
            del self._waiters[request_id]
        self._count -= 1
        self._gauge.set(self._count)
