"""Store and queue when a process starts: opened in turn, tried again while they are away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import tenacity
from oslo_log import log

from dedupd.errors import Unavailable
from dedupd.ports import Queue, Store

LOG = log.getLogger(__name__)


def _report(state: tenacity.RetryCallState) -> None:
    if state.outcome is not None:
        LOG.warning("Not ready yet, and tried again: %s", state.outcome.exception())


TRYING = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_exception_type(Unavailable),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
    before_sleep=_report,
)
"""Engines may start after dedupd, and take as long as they need."""


class Opening:
    """Store and queue of a process that starts without waiting for them."""

    def __init__(self, store: Store, queue: Queue) -> None:
        self._steps = {"store": store.open, "queue": queue.open}
        self._opened = asyncio.Event()
        self._failure = ""
        """Why the next of them was not opened when that was tried last."""

    async def once(self) -> None:
        """Open both, now.

        Raises:
            Unavailable: one of them is away.
            ConfigError: one of them refuses, and will go on to do so.
        """
        while self._steps:
            name, step = next(iter(self._steps.items()))
            try:
                await step()
            except Unavailable as error:
                self._failure = error.message
                raise
            del self._steps[name]
            self._failure = ""
        self._opened.set()

    async def run(self, *further: Callable[[], Awaitable[None]]) -> None:
        """Open both, and then do what else needs them, however long that takes.

        Raises:
            ConfigError: one of them refuses, and will go on to do so.
        """
        for step in (self.once, *further):
            await TRYING.copy()(step)

    async def finished(self) -> None:
        """Returns when both are open."""
        await self._opened.wait()

    def check(self) -> None:
        """Whether both are open: before that, nobody knows whether they may be used at all.

        Raises:
            Unavailable: they are not.
        """
        for missing in self._steps:
            raise Unavailable(
                f"dedupd has not reached its {missing} since it was started; nothing was "
                "stored. Repeat with the same token."
            )

    def check_part(self, name: str) -> None:
        """Whether the store, or the queue, is open; for whoever asks whether the process is ready.

        Raises:
            Unavailable: it is not; the message is that of the latest try.
        """
        if name not in self._steps:
            return
        first = next(iter(self._steps))
        if name != first:
            raise Unavailable(f"The {name} is opened when the {first} is open.")
        raise Unavailable(self._failure or f"The {name} is being opened.")


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, unless ``stop`` is set first: then it is cancelled. Whether it was done."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
