"""Work that goes on as long as its process; a process in which some of it has failed must end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from oslo_log import log

LOG = log.getLogger(__name__)


class Background:
    """What runs in a process beside its requests, each piece for ever.

    A piece that ends by an error nobody foresaw leaves a process that looks well and does half of
    its work: it says so in the log, and has the process stop, to be started again.

    Args:
        on_failure: Has the process stop; called once.
    """

    def __init__(self, on_failure: Callable[[], None] = lambda: None) -> None:
        self.on_failure = on_failure
        self._error: BaseException | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing has failed."""
        return self._error is None

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begin a piece; whoever cancels it ends it well."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    def check(self) -> None:
        """Raise what a piece of it has failed with, if any has."""
        if self._error is not None:
            raise self._error

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        LOG.critical(
            "%s has failed; this process stops, and is to be started again",
            task.get_name(),
            exc_info=error,
        )
        if self._error is None:
            self._error = error
            self.on_failure()
