"""Whose requests a worker begins: those that Nova turns down leave the others their hands.

A request that had no effect (429 with Retry-After, say) waits to be sent again, for minutes. Were
its message kept meanwhile, one project that Nova throttles would soon hold every message that a
worker may have. So its message is done with when it begins to wait: its record says enough. And
were nothing else done, the whole backlog of such a project would be sent once, wait, and be
released when ``[nova] retry_seconds`` are over. So the more of a project's requests wait, the fewer
others of it are begun, down to none. What is not begun is *put off*: untouched in the store, its
message done with as well, and published again when there is room for it.

A project of which none waits is never put off, whatever becomes of others. Nor is a request that
was turned down before, and that another worker has left: its time goes by.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from oslo_log import log
from prometheus_client import Gauge

from dedupd.ports import Delivery
from dedupd.request import Record

LOG = log.getLogger(__name__)

MAX_HELD_UP = 2_000
"""When so many requests wait to be sent again, no other is begun of any project of which one waits.

Each is in memory, with what it carries."""

MAX_PUT_OFF = 10_000
"""How many a worker puts off; it drops what comes beyond, for the sweeper to publish again.

Some 13 MB, where requests are small."""

Notices = dict[str, Record | None]
"""Messages to be published: ids, and the records as they stand, where those are known."""


@dataclass(slots=True)
class _Project:
    """What a worker has of one project; kept while it has begun anything of it."""

    id: str
    begun: int = 0
    """Requests whose turn it is."""
    held_up: int = 0
    """Those of them that wait to be sent again, or have waited."""
    put_off: Notices = field(default_factory=dict)


class Turns:
    """Gives each request of a worker its turn, or puts it off.

    Args:
        limit: So many of a project's requests wait to be sent again when no other one is begun.
        most: How many are begun at most while none waits: a worker holds no more messages.
        gauge: Shows how many are put off.
    """

    def __init__(self, limit: int, most: int, gauge: Gauge) -> None:
        self._limit = limit
        self._most = most
        self._gauge = gauge
        self._projects: dict[str, _Project] = {}
        self._held_up = 0
        self._put_off = 0
        self._stopping = False

    def begin(self, record: Record, delivery: Delivery) -> Turn | None:
        """The request's turn; None: it is put off, or dropped, and its message to be settled.

        What was turned down before, by another worker, is not put off: its time goes by.
        """
        project = self._projects.setdefault(record.project_id, _Project(record.project_id))
        tried = record.retry_until is not None
        if tried or self._stopping or not project.held_up or self._room(project) > 0:
            project.begun += 1
            return Turn(self, project, delivery.acknowledge)
        self._put_off_one(project, delivery)
        return None

    def hold_up(self, project: _Project) -> None:
        """One of the project that is begun waits to be sent again; once for each."""
        project.held_up += 1
        self._held_up += 1

    def end(self, project: _Project, *, held_up: bool) -> Notices:
        """A turn is over; what there is room for by now, to be published again.

        All of it only where nothing else is begun: else each single 429 in a backlog would have
        the rest of it go round once.
        """
        project.begun -= 1
        project.held_up -= held_up
        self._held_up -= held_up
        count = self._room(project) if project.begun else len(project.put_off)
        ids = [*itertools.islice(project.put_off, max(0, count))]
        again = {request_id: project.put_off.pop(request_id) for request_id in ids}
        self._count(-len(again))
        if not project.begun:
            del self._projects[project.id]
        return again

    def stop(self) -> Notices:
        """Put nothing off any more; what was, to be published again."""
        self._stopping = True
        again: Notices = {}
        for project in self._projects.values():
            again |= project.put_off
            project.put_off.clear()
        self._count(-len(again))
        return again

    def _put_off_one(self, project: _Project, delivery: Delivery) -> None:
        """Keep what the message says; the latest, where one came before."""
        if delivery.id not in project.put_off:
            if self._put_off >= MAX_PUT_OFF:
                return
            self._count(1)
        if not project.put_off:
            LOG.info(
                "Nova turns requests of project %s down: others are put off beyond the %d begun",
                project.id,
                project.begun,
            )
        project.put_off[delivery.id] = delivery.claimed

    def _count(self, more: int) -> None:
        self._put_off += more
        self._gauge.set(self._put_off)

    def _room(self, project: _Project) -> int:
        """How many more may be begun: the same part of ``most`` as is left of ``limit``."""
        left = max(0, min(self._limit - project.held_up, MAX_HELD_UP - self._held_up))
        return self._most * left // self._limit - (project.begun - project.held_up)


class Turn:
    """One request's turn, from ``Turns.begin`` to ``end``."""

    __slots__ = ("_done_with", "_project", "_turns", "_waits")

    def __init__(self, turns: Turns, project: _Project, done_with: Callable[[], None]) -> None:
        self._turns = turns
        self._project = project
        self._done_with = done_with
        self._waits: Record | None = None

    def hold_up(self, record: Record) -> None:
        """It had no effect, and its ``record`` says that this worker waits to send it again."""
        self._done_with()
        if self._waits is None:
            self._turns.hold_up(self._project)
        self._waits = record

    def end(self) -> Notices:
        """See ``Turns.end``; called once."""
        return self._turns.end(self._project, held_up=self._waits is not None)

    def give_up(self) -> Notices:
        """As ``end``, where it is not carried out here; if it has no message any more, with it."""
        waits = self._waits
        return self.end() | ({waits.id: waits} if waits else {})
