"""Whose requests a worker begins: those that Nova turns down leave the others their hands.

A request that had no effect (429 with Retry-After, say) waits to be sent again, for minutes. Were
its message kept meanwhile, one project that Nova throttles would soon hold every message that a
worker may have. So its message is done with when it begins to wait: its record says enough. And
were nothing else done, the whole backlog of such a project would be sent once, wait, and be
released when ``[nova] retry_seconds`` are over. So as long as any of a project's requests waits,
only some of them are begun; the rest is *put off*: untouched in the store, in its order here.

A project of which none waits is never put off, however many others are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from oslo_log import log
from prometheus_client import Gauge

LOG = log.getLogger(__name__)

MAX_PUT_OFF = 10_000
"""How many a worker puts off; it drops what comes beyond, for the sweeper to publish again.

Some 30 MB, where requests are small."""

Waiter = asyncio.Future[None]


@dataclass(slots=True)
class _Project:
    """What a worker has of one project; kept while it has begun anything of it."""

    id: str
    begun: int = 0
    """Requests whose turn it is."""
    held_up: int = 0
    """Those of them that wait to be sent again, or have waited."""
    put_off: dict[Waiter, None] = field(default_factory=dict)


class Turns:
    """Gives each request of a worker its turn.

    Args:
        limit: How many of a project's requests may be begun while Nova turns any of them down;
            those that were begun before it did are not counted back.
        gauge: Shows how many are put off.
    """

    def __init__(self, limit: int, gauge: Gauge) -> None:
        self._limit = limit
        self._gauge = gauge
        self._put_off = 0
        self._projects: dict[str, _Project] = {}

    async def begin(self, project_id: str, done_with: Callable[[], None]) -> Turn | None:
        """Wait for a turn; safe to cancel.

        Args:
            project_id: Whose request it is.
            done_with: Settles its message, which is not kept while a request waits for anything
                but a slot. May be called twice.

        Returns:
            The turn, to be entered at once; None where too many are put off already.
        """
        project = self._projects.setdefault(project_id, _Project(project_id))
        if project.put_off or (project.held_up and project.begun >= self._limit):
            if self._put_off >= MAX_PUT_OFF:
                return None
            done_with()
            await self._wait(project)
        else:
            project.begun += 1
        return Turn(self, project, done_with)

    def end(self, project: _Project, *, held_up: bool) -> None:
        """A turn is over; those that are put off have theirs, as far as the limit lets them."""
        project.begun -= 1
        project.held_up -= held_up
        while project.put_off and project.begun < self._limit:
            waiter = next(iter(project.put_off))
            self._withdraw(project, waiter)
            if not waiter.done():
                project.begun += 1
                waiter.set_result(None)
        if not project.begun:
            del self._projects[project.id]

    async def _wait(self, project: _Project) -> None:
        """Until another one of the project passes its turn on, which counts as begun then."""
        if not project.put_off:
            LOG.info(
                "Nova turns requests of project %s down: beyond the %d begun they are put off",
                project.id,
                project.begun,
            )
        waiter: Waiter = asyncio.get_running_loop().create_future()
        project.put_off[waiter] = None
        self._count(1)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._withdraw(project, waiter)
            else:
                self.end(project, held_up=False)
            raise

    def _withdraw(self, project: _Project, waiter: Waiter) -> None:
        if waiter in project.put_off:
            del project.put_off[waiter]
            self._count(-1)

    def _count(self, more: int) -> None:
        self._put_off += more
        self._gauge.set(self._put_off)


class Turn:
    """One request's turn; it is passed on at the end of the ``with`` block."""

    __slots__ = ("_done_with", "_held_up", "_project", "_turns")

    def __init__(self, turns: Turns, project: _Project, done_with: Callable[[], None]) -> None:
        self._turns = turns
        self._project = project
        self._done_with = done_with
        self._held_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.end(self._project, held_up=self._held_up)

    def hold_up(self) -> None:
        """It had no effect, and its record says that this worker waits to send it again."""
        self._done_with()
        if not self._held_up:
            self._held_up = True
            self._project.held_up += 1
