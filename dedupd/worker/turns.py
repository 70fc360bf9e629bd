"""Whose requests a worker begins: those that Nova turns down leave room for the others.

A request that had no effect (429 with Retry-After, say) waits to be sent again, for minutes. Were
its message kept meanwhile, one project that Nova throttles would soon hold every message that a
worker may have. So its message is done with when it begins to wait: its record says enough. And
were nothing else done, the whole backlog of such a project would be sent once, wait, and be
released when ``[nova] retry_seconds`` are over. So only some of a project's requests are begun
while others wait; the rest is *put off*: untouched in the store, in its order here.

How many, is what a switch gives one port of its shared memory (Choudhury and Hahne, 1998): as many
as would still be free. One such project has half of the room, two have a third each, and however
many there are, another project that has begun none begins one at once.
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
"""Of how many that are put off the messages are done with; beyond it they stay with the broker.

Some 30 MB."""

Waiter = asyncio.Future[None]


@dataclass(slots=True)
class _Project:
    """What a worker has of one project; kept while it has anything."""

    begun: int = 0
    """Requests whose turn it is, those that wait to be sent again among them."""
    put_off: dict[Waiter, None] = field(default_factory=dict)


class Turns:
    """Gives each request of a worker its turn.

    Args:
        room: For how many requests that wait to be sent again there is room, all projects together.
        gauge: Shows how many are put off.
    """

    def __init__(self, room: int, gauge: Gauge) -> None:
        self._room = room
        self._gauge = gauge
        self._held_up = 0
        self._put_off = 0
        self._projects: dict[str, _Project] = {}

    def turn(self, project_id: str, done_with: Callable[[], None]) -> Turn:
        """One request's turn: ``async with`` waits for it, and passes it on at the end.

        Args:
            project_id: Whose request it is.
            done_with: Settles its message, if that is to be kept no longer; may be called twice.
        """
        return Turn(self, project_id, done_with)

    async def begin(self, project_id: str, done_with: Callable[[], None]) -> None:
        """Wait for a turn; safe to cancel."""
        project = self._projects.setdefault(project_id, _Project())
        if not project.put_off and self._fits(project):
            project.begun += 1
            return
        if not project.put_off:
            LOG.info(
                "Nova turns requests down; those of project %s are put off, beyond the %d begun",
                project_id,
                project.begun,
            )
        waiter: Waiter = asyncio.get_running_loop().create_future()
        project.put_off[waiter] = None
        self._count(1)
        if self._put_off <= MAX_PUT_OFF:
            done_with()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._withdraw(project, waiter)
            else:
                self.end(project_id, held_up=False)
            raise

    def hold_up(self) -> None:
        """One whose turn it is waits to be sent again."""
        self._held_up += 1

    def end(self, project_id: str, *, held_up: bool) -> None:
        """A turn is over; the next of the project have theirs, as far as they fit."""
        project = self._projects[project_id]
        project.begun -= 1
        self._held_up -= held_up
        while project.put_off and self._fits(project):
            waiter = next(iter(project.put_off))
            self._withdraw(project, waiter)
            if not waiter.done():
                project.begun += 1
                waiter.set_result(None)
        if not project.begun:
            del self._projects[project_id]

    def _fits(self, project: _Project) -> bool:
        """Whether one more of the project may be begun; one always may, lest all stand still."""
        return project.begun < max(1, self._room - self._held_up)

    def _withdraw(self, project: _Project, waiter: Waiter) -> None:
        if waiter in project.put_off:
            del project.put_off[waiter]
            self._count(-1)

    def _count(self, more: int) -> None:
        self._put_off += more
        self._gauge.set(self._put_off)


class Turn:
    """One request's turn, from ``async with`` to the end of its block."""

    __slots__ = ("_done_with", "_held_up", "_project_id", "_turns")

    def __init__(self, turns: Turns, project_id: str, done_with: Callable[[], None]) -> None:
        self._turns = turns
        self._project_id = project_id
        self._done_with = done_with
        self._held_up = False

    async def __aenter__(self) -> Self:
        await self._turns.begin(self._project_id, self._done_with)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.end(self._project_id, held_up=self._held_up)

    def hold_up(self) -> None:
        """It had no effect, and its record says that this worker waits to send it again."""
        self._done_with()
        if not self._held_up:
            self._held_up = True
            self._turns.hold_up()
