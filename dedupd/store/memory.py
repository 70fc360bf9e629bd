"""The Store in memory: for tests, the simulation and the demo; nothing survives the process.

Every method is one step without an await, so it is atomic in its event loop, and the store is
linearizable. It is the model that the other stores are compared with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import msgspec

from dedupd.errors import NotFound
from dedupd.ports import Depth, Query, Stored, Worker
from dedupd.request import Record
from dedupd.store.completion import Completions, Departures


class MemoryStore:
    """A dictionary with the promises of ``dedupd.ports.Store``; never away, never full.

    ``clock`` gives seconds since the epoch; the leases of workers are measured with it.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._version = 0
        self._requests: dict[str, Stored] = {}  # in the order of their claims
        self._places: dict[str, int] = {}  # the version of each claim
        self._pending: set[str] = set()
        self._workers: dict[str, Worker] = {}
        self._leader = ""
        self._completions = Completions()
        self._departures = Departures()

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: what it holds stays readable."""

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        """See ``Store.claim``."""
        standing = self._requests.get(record.id)
        if standing is not None and not standing.record.state.vacant:
            return False, standing
        self._remove(record.id)
        created = Stored(self._stamped(record), payload)
        self._places[record.id] = created.record.version
        self._put(created)
        return True, created

    def record(self, id_: str) -> Record | None:
        """The record as it stands now, for who looks on."""
        stored = self._requests.get(id_)
        return None if stored is None else stored.record

    async def read(self, ids: Sequence[str]) -> dict[str, Stored]:
        """See ``Store.read``."""
        return {id_: self._requests[id_] for id_ in ids if id_ in self._requests}

    async def swap(
        self,
        before: Record,
        after: Record,
        *,
        result: bytes | None = None,
        worker: str = "",
        gone: str = "",
    ) -> Record | None:
        """See ``Store.swap``."""
        standing = self._standing(before)
        if standing is None or (worker and not self._alive(worker)) or self._alive(gone):
            return None
        written = Stored(
            self._stamped(after),
            standing.payload if after.state.pending else None,
            _or(result, standing.result) if after.state.answered else None,
        )
        self._put(written)
        self._completions.swapped(before, written.record, result)
        return written.record

    async def begin(self, claimed: Record, sending: Record, worker: str) -> Stored | None:
        """See ``Store.begin``."""
        before = msgspec.structs.replace(claimed, version=self._places.get(claimed.id, 0))
        standing = self._requests.get(claimed.id)
        if standing is None or standing.payload is None or standing.record != before:
            return None
        written = await self.swap(before, sending, worker=worker)
        return None if written is None else Stored(written, standing.payload)

    async def forget(self, record: Record) -> bool:
        """See ``Store.forget``."""
        if self._standing(record) is None:
            return False
        self._remove(record.id)
        return True

    async def pending(self, limit: int) -> list[Record]:
        """See ``Store.pending``."""
        oldest_first = sorted(self._pending, key=self._places.__getitem__)
        return [self._requests[id_].record for id_ in oldest_first[:limit]]

    async def overdue(self, now: float, limit: int) -> list[Record]:
        """See ``Store.overdue``."""
        past = [record for record in self._records() if _expiry(record) <= now]
        return sorted(past, key=_expiry)[:limit]

    async def find(self, query: Query) -> list[Record]:
        """See ``Store.find``."""
        newest_first = reversed(self._requests.values())
        found: Iterable[Record] = (stored.record for stored in newest_first)
        if query.project_id is not None:
            found = (record for record in found if record.project_id == query.project_id)
        if query.marker is not None:
            found = _behind(found, query.marker)
        if query.states:
            found = (record for record in found if record.state in query.states)
        return list(islice(found, query.limit))

    async def depth(self) -> Depth:
        """See ``Store.depth``."""
        projects = Counter(self._requests[id_].record.project_id for id_ in self._pending)
        return Depth(projects.total(), dict(projects))

    def on_completion(self, listener: Callable[[Stored], None]) -> None:
        """See ``Store.on_completion``; each event comes once."""
        self._completions.listen(listener)

    async def register(self, worker: Worker) -> None:
        """See ``Store.register``."""
        self._workers[worker.id] = worker

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """See ``Store.keep_alive``."""
        if not self._alive(worker_id):
            return False
        lease = self._workers[worker_id]
        self._workers[worker_id] = msgspec.structs.replace(lease, lease_until=until)
        return True

    async def retire(self, worker_id: str) -> None:
        """See ``Store.retire``."""
        if self._workers.pop(worker_id, None) is not None:
            self._departures.departed(worker_id)

    async def workers(self) -> list[Worker]:
        """See ``Store.workers``; in the order of their ids."""
        return [self._workers[id_] for id_ in sorted(self._workers) if self._alive(id_)]

    async def lead(self, worker_id: str) -> bool:
        """See ``Store.lead``."""
        if not self._alive(worker_id):
            return False
        if not self._alive(self._leader):
            self._leader = worker_id
        return self._leader == worker_id

    async def resign(self, worker_id: str) -> None:
        """See ``Store.resign``."""
        if self._leader == worker_id:
            self._leader = ""

    def on_departure(self, listener: Callable[[str], None]) -> None:
        """See ``Store.on_departure``; a lease that runs out is not heard of."""
        self._departures.listen(listener)

    def _records(self) -> Iterable[Record]:
        return (stored.record for stored in self._requests.values())

    def _stamped(self, record: Record) -> Record:
        self._version += 1
        return msgspec.structs.replace(record, version=self._version)

    def _standing(self, record: Record) -> Stored | None:
        """What stands in the record's place, if it is still this very version of it."""
        standing = self._requests.get(record.id)
        if standing is None or standing.record.version != record.version:
            return None
        return standing if standing.record.birth == record.birth else None

    def _put(self, stored: Stored) -> None:
        self._requests[stored.record.id] = stored
        if stored.record.state.pending:
            self._pending.add(stored.record.id)
        else:
            self._pending.discard(stored.record.id)

    def _remove(self, id_: str) -> None:
        self._requests.pop(id_, None)
        self._places.pop(id_, None)
        self._pending.discard(id_)

    def _alive(self, worker_id: str) -> bool:
        lease = self._workers.get(worker_id)
        return lease is not None and lease.lease_until > self._clock()


def _or(value: bytes | None, other: bytes | None) -> bytes | None:
    return other if value is None else value


def _expiry(record: Record) -> float:
    return float("inf") if record.expires_at is None else record.expires_at


def _behind(records: Iterable[Record], marker: str) -> Iterable[Record]:
    """The records after the one with the marker's id.

    Raises:
        NotFound: none has it.
    """
    rest = iter(records)
    if not any(record.id == marker for record in rest):
        raise NotFound(f"The marker {marker} names no record; list again without a marker.")
    return rest
