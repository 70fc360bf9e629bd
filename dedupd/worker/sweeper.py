"""The sweeper: what makes the queue a mere hint, and a dead worker's requests somebody's again.

It reads what is pending, never all records.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from oslo_log import log

from dedupd import request
from dedupd.metrics import Metrics
from dedupd.ports import Queue, QueueUnavailable, Store, StoreUnavailable
from dedupd.request import Record, State
from dedupd.worker import policies

LOG = log.getLogger(__name__)

BATCH = 1000
"""How many expired records are cleared, or queued ones published, at a time."""

PATIENCE = 16
"""So many times the pause between publications where Nova turns a request's project down."""

REMEMBERED = 2
"""For so many of these pauses a project counts as turned down when none of its requests waits."""

MAX_CLEARED = 4
"""How many batches one sweep clears; then it looks first at what is pending again."""

MAX_PENDING = 100_000
"""How many pending records one sweep looks at, the oldest first."""


@dataclass
class _Visits:
    """When the sweeper last acted on a record in one state, and how often; kept while it is so."""

    last: float
    count: int = 0


@dataclass
class Sweeper:
    """Looks after what is pending, and clears what has expired.

    Args:
        republish_seconds: After how long a record that is still queued is published again.
        adopt: Takes a SENDING record over that nobody alive works on.
        revisit: Looks again for what is UNKNOWN.
        in_hand: Whether this worker is working on an id right now.
    """

    store: Store
    queue: Queue
    metrics: Metrics
    clock: Callable[[], float]
    tombstone_seconds: float
    republish_seconds: float
    worker_id: Callable[[], str]
    in_hand: Callable[[str], bool]
    adopt: Callable[[Record], None]
    revisit: Callable[[Record], None]
    _visits: dict[tuple[str, State], _Visits] = field(default_factory=dict)
    _turned_down: dict[str, float] = field(default_factory=dict)
    """Projects that Nova turns down, and when that was seen last."""
    _departure: asyncio.Event = field(default_factory=asyncio.Event)
    _led: bool = False
    """Whether the last sweep led, and ended."""

    async def run(self, seconds: float) -> None:
        """Sweep every ``seconds``, at once the first time and when a worker has gone.

        Cancel to stop.
        """
        self._started = self.clock()
        self.store.on_departure(lambda _worker_id: self._departure.set())
        departed = False
        while True:
            departed, left = departed or self._departure.is_set(), False
            self._departure.clear()
            try:
                left = await self.sweep(departed=departed)
                departed = False
            except (StoreUnavailable, QueueUnavailable) as error:
                LOG.warning("The sweep was broken off: %s", error)
                await self.resign()
            if left:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._departure.wait()

    async def resign(self) -> None:
        """Let another worker sweep for all: this one cannot, or will not any more."""
        try:
            await self.store.resign(self.worker_id())
        except StoreUnavailable as error:
            LOG.info("Leadership was not given up and ends with the lease: %s", error)

    async def sweep(self, *, departed: bool = False) -> bool:
        """One round; a worker that has ``departed`` may have had the message of what is queued.

        Returns:
            Whether there is more to clear.
        """
        pending = await self.store.pending(MAX_PENDING)
        living = {worker.id for worker in await self.store.workers()}
        self._measure(pending)
        self._note_turned_down(pending, living)
        keys = {(record.id, record.state) for record in pending}
        self._visits = {key: visits for key, visits in self._visits.items() if key in keys}
        leads = await self.store.lead(self.worker_id())
        # Who led before may have failed to see to what a worker left that has gone.
        departed = departed or (leads and not self._led)
        ours = [record for record in pending if self._is_ours(record, leads, living)]
        self._recover(ours)
        left = leads and await self._clear()
        # Last: where the broker is away, that breaks the round off.
        queued = [record for record in ours if record.state is State.QUEUED]
        await self._publish([*filter(self._has_no_message, queued)])
        due = queued if departed else [*filter(self._is_due, queued)]
        lost = [*due, *self._left_lying(pending, ours)] if leads else due
        await self._replace(lost, pending, living)
        self._led = leads
        return left

    def _note_turned_down(self, pending: list[Record], living: set[str]) -> None:
        """Note of which projects a living worker waits to send something again, or just does.

        What they have put off is published within moments when that has ended, not at once.
        """
        now, shown = self.clock(), REMEMBERED * self.republish_seconds
        seen = self._turned_down.items()
        self._turned_down = {project: last for project, last in seen if now - last < shown}
        for record in pending:
            if record.owner in living and now < (record.retry_until or now):
                self._turned_down[record.project_id] = now

    def _left_lying(self, pending: list[Record], ours: list[Record]) -> Iterator[Record]:
        """What is queued past the time within which its living owner would send it again.

        The owner may have lost its broker, or the store at the wrong moment.
        """
        seen_to, now = {record.id for record in ours}, self.clock()
        for record in pending:
            overdue = record.retry_until is not None and record.retry_until <= now
            if record.state is not State.QUEUED or record.id in seen_to or not overdue:
                continue
            if not self.in_hand(record.id) and self._is_ripe(record, (self.republish_seconds,)):
                yield record

    def _is_ours(self, record: Record, leads: bool, living: set[str]) -> bool:
        """Whether to see to a record: it is not in hand here, and no other living worker has it."""
        if self.in_hand(record.id):
            return False
        return record.owner == self.worker_id() or (leads and record.owner not in living)

    def _recover(self, records: list[Record]) -> None:
        """Take over what was left SENDING, and look again for what is UNKNOWN and due."""
        for record in records:
            if record.state is State.SENDING:
                self.adopt(record)
            elif record.state is State.UNKNOWN and self._due(record, policies.REVISIT_SECONDS):
                self.revisit(record)

    async def _publish(self, queued: Iterable[Record]) -> None:
        """Publish anew, many at once, each as it stands: who has it by then is left alone.

        Raises:
            QueueUnavailable: the broker is away.
        """
        records = [*queued]
        for start in range(0, len(records), BATCH):
            some = records[start : start + BATCH]
            await asyncio.gather(*(self.queue.publish(record.id, record) for record in some))

    async def _replace(self, due: list[Record], pending: list[Record], living: set[str]) -> None:
        """Publish anew what the broker may have lost: as many as it has too few for all.

        Else every request of a backlog would have a further message every ``republish_seconds``,
        and new ones wait behind them all. What has none comes to its turn when those before it
        are gone, and fewer are left than are queued. What a living worker waits to send again has
        none, and needs none; nor does what is in hand here, or may be put off there.

        Raises:
            QueueUnavailable: the broker is away.
        """
        queued = (record for record in pending if record.state is State.QUEUED)
        unheld = (record for record in queued if record.owner not in living)
        waiting = (record for record in unheld if not self._may_be_put_off(record))
        needed = {record.id for record in itertools.chain(due, waiting)}
        missing = len(needed) - await self.queue.depth() if due else 0
        lost = due[: max(missing, 0)]
        for record in lost:
            self._visit(record)
        await self._publish(lost)

    def _has_no_message(self, record: Record) -> bool:
        """Whether it came back into the queue without a message: once, to be published at once.

        That is what was tried before: from an operator, or a worker that died or stopped.
        """
        tried = bool(record.attempts) or record.retry_until is not None
        if tried and (record.id, record.state) not in self._visits:
            self._visit(record)
            return True
        return False

    def _is_due(self, record: Record) -> bool:
        """Whether the broker may have lost it; at once where that was before this process began.

        Where Nova turns its project down it may be put off, and is given more time.
        """
        older = record.created_at < self._started and (record.id, record.state) not in self._visits
        was_ours = record.owner == self.worker_id()  # and nobody's, since it is not in hand
        may_wait = record.project_id in self._turned_down and not was_ours
        patience = PATIENCE if may_wait else 1
        return older or self._is_ripe(record, (self.republish_seconds * patience,))

    def _may_be_put_off(self, record: Record) -> bool:
        """Whether it may be with a worker, here or elsewhere, without a message."""
        return self.in_hand(record.id) or record.project_id in self._turned_down

    def _due(self, record: Record, pauses: tuple[float, ...]) -> bool:
        """Whether the next pause has passed; the one after that begins then."""
        ripe = self._is_ripe(record, pauses)
        if ripe:
            self._visit(record)
        return ripe

    def _is_ripe(self, record: Record, pauses: tuple[float, ...]) -> bool:
        """Whether the next pause has passed; the first runs from when it was first seen."""
        visits = self._visits.setdefault((record.id, record.state), _Visits(self.clock()))
        pause = pauses[min(visits.count, len(pauses) - 1)]
        return self.clock() - visits.last >= pause

    def _visit(self, record: Record) -> None:
        visits = self._visits.setdefault((record.id, record.state), _Visits(self.clock()))
        visits.last, visits.count = self.clock(), visits.count + 1

    async def _clear(self) -> bool:
        """Results become tombstones; tombstones and released answers vanish.

        Returns:
            Whether there is more: what is pending is looked at first.
        """
        for _ in range(MAX_CLEARED):
            batch = await self.store.overdue(self.clock(), BATCH)
            done = await asyncio.gather(*(self._expire(record) for record in batch))
            if not any(done):
                return False
        return True

    async def _expire(self, record: Record) -> bool:
        if record.state in (State.DONE, State.CANCELLED):
            buried = request.bury(record, self.clock(), keep=self.tombstone_seconds)
            return await self.store.swap(record, buried) is not None
        return await self.store.forget(record)

    def _measure(self, pending: list[Record]) -> None:
        states = [record.state for record in pending]
        for state in (State.QUEUED, State.SENDING, State.UNKNOWN):
            self.metrics.pending.labels(state.label).set(states.count(state))
        now = self.clock()
        ages = [now - record.created_at for record in pending if record.state < State.UNKNOWN]
        self.metrics.oldest.set(max(ages, default=0.0))
