"""The sweeper: what makes the queue a mere hint, and a dead worker's requests somebody's again.

It reads what is pending, never all records.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from oslo_log import log

from dedupd import request
from dedupd.metrics import Metrics
from dedupd.ports import Queue, QueueUnavailable, Store, StoreUnavailable
from dedupd.request import Record, State
from dedupd.worker import policies

LOG = log.getLogger(__name__)

BATCH = 1000
"""How many expired records are cleared at a time."""

MAX_PENDING = 100_000
"""How many pending records one sweep looks at, the oldest first."""

REPUBLISH_SECONDS = 15.0
"""Seconds after which a record that is still queued is published again."""


@dataclass
class _Visits:
    """When the sweeper last acted on a record in one state, and how often; kept while it is so."""

    last: float
    count: int = 0


@dataclass
class Sweeper:
    """Looks after what is pending, and clears what has expired.

    Args:
        adopt: Takes a SENDING record over that nobody alive works on.
        revisit: Looks again for what is UNKNOWN.
        in_hand: Whether this worker is working on an id right now.
    """

    store: Store
    queue: Queue
    metrics: Metrics
    clock: Callable[[], float]
    tombstone_seconds: float
    worker_id: Callable[[], str]
    in_hand: Callable[[str], bool]
    adopt: Callable[[Record], None]
    revisit: Callable[[Record], None]
    _visits: dict[tuple[str, State], _Visits] = field(default_factory=dict)

    async def run(self, seconds: float) -> None:
        """Sweep every ``seconds``, the first time at once; cancel to stop."""
        self._started = self.clock()
        while True:
            try:
                await self.sweep()
            except (StoreUnavailable, QueueUnavailable) as error:
                LOG.warning("The sweep was broken off: %s", error)
            await asyncio.sleep(seconds)

    async def sweep(self) -> None:
        """One round."""
        pending = await self.store.pending(MAX_PENDING)
        living = {worker.id for worker in await self.store.workers()}
        self._measure(pending)
        keys = {(record.id, record.state) for record in pending}
        self._visits = {key: visits for key, visits in self._visits.items() if key in keys}
        leads = self._leads(living)
        if leads:
            await self._clear()
        # What is queued comes last: where the broker is away, that breaks the round off.
        for record in sorted(pending, key=lambda record: record.state is State.QUEUED):
            ours = leads or record.owner == self.worker_id()
            if ours and not self.in_hand(record.id):
                await self._act(record, living)

    def _leads(self, living: set[str]) -> bool:
        """Whether this worker sweeps for all: no living one's id sorts before its own.

        No election: every action is a compare-and-swap or a repeated hint, so that two leaders
        for a moment do no harm, and none for a moment only delays.
        """
        return all(self.worker_id() <= other for other in living)

    async def _act(self, record: Record, living: set[str]) -> None:
        """See to a record that is not in hand here, unless another worker has it and lives."""
        if record.owner in living and record.owner != self.worker_id():
            return
        if record.state is State.QUEUED:
            await self._republish(record)
        elif record.state is State.SENDING:
            self.adopt(record)
        elif self._due(record, policies.REVISIT_SECONDS):
            self.revisit(record)

    async def _republish(self, record: Record) -> None:
        """Publish what was never published, or what the broker may have lost.

        At once: what is older than this process, and what was sent before. That came back into
        the queue without a message, from an operator or a worker that died.
        """
        returned = record.created_at < self._started or bool(record.attempts)
        known = (record.id, record.state) in self._visits
        if (returned and not known) or self._due(record, (REPUBLISH_SECONDS,)):
            self._visit(record)
            await self.queue.publish(record.id)

    def _due(self, record: Record, pauses: tuple[float, ...]) -> bool:
        """Whether the next pause has passed; the first runs from when it was first seen."""
        visits = self._visits.setdefault((record.id, record.state), _Visits(self.clock()))
        pause = pauses[min(visits.count, len(pauses) - 1)]
        if self.clock() - visits.last < pause:
            return False
        self._visit(record)
        return True

    def _visit(self, record: Record) -> None:
        visits = self._visits.setdefault((record.id, record.state), _Visits(self.clock()))
        visits.last, visits.count = self.clock(), visits.count + 1

    async def _clear(self) -> None:
        """Results become tombstones; tombstones and released answers vanish."""
        while batch := await self.store.overdue(self.clock(), BATCH):
            done = await asyncio.gather(*(self._expire(record) for record in batch))
            if not any(done):
                return

    async def _expire(self, record: Record) -> bool:
        if record.state in (State.DONE, State.CANCELLED):
            buried = request.bury(record, self.clock(), keep=self.tombstone_seconds)
            return await self.store.swap(record, buried) is not None
        return await self.store.forget(record)

    def _measure(self, pending: list[Record]) -> None:
        states = Counter(record.state for record in pending)
        for state in (State.QUEUED, State.SENDING, State.UNKNOWN):
            self.metrics.pending.labels(state.label).set(states[state])
        now = self.clock()
        ages = [now - record.created_at for record in pending if record.state < State.UNKNOWN]
        self.metrics.oldest.set(max(ages, default=0.0))
