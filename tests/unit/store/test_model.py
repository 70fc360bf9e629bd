"""Random operations, one after another, on SQLite and in memory: they give the same answers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from dedupd import request
from dedupd.errors import NotFound
from dedupd.ports import Query, Store, Stored, Worker
from dedupd.request import Record, State
from dedupd.store.memory import MemoryStore
from dedupd.store.sqlite import SqliteStore
from tests.contract.stores import NOW, ORIGIN, Clock, make_record

SETTLE_SECONDS = 10.0

T = TypeVar("T")
Twins = tuple[Record, Record]
"""One record as each of the two stores wrote it; only the versions differ."""

NUMBERS = st.integers(0, 5)
PROJECTS = st.sampled_from(["p1", "p2"])
STATES = st.sampled_from(State)
WORKERS = st.sampled_from(["w1", "w2"])
BLOBS = st.binary(max_size=20)
SECONDS = st.integers(0, 20)


class BothStores(RuleBasedStateMachine):
    """Each rule does the same to both stores, the subject and its model, and compares."""

    SCALE = 1
    """How many seconds of leases and of the clock stand for one."""

    REVIVES = True
    """Whether what has ended may be pending again, which no transition of ``request`` does."""

    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="dedupd-test-"))
        self.clock = Clock()
        self.subject = self.make_subject()
        self.memory = MemoryStore(self.clock)
        self.heard: dict[Store, list[Stored]] = {self.subject: [], self.memory: []}
        for store, events in self.heard.items():
            store.on_completion(events.append)
        self.runner.run(self.subject.open())
        self.births = 0

    def make_subject(self) -> Store:
        return SqliteStore(self.directory / "records.db", origin=ORIGIN, clock=self.clock)

    def teardown(self) -> None:
        self.runner.run(self.subject.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def both(self, one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, T]) -> tuple[T, T]:
        return self.runner.run(one), self.runner.run(other)

    @rule(target=records, number=NUMBERS, project=PROJECTS, payload=BLOBS)
    def claim(self, number: int, project: str, payload: bytes) -> Twins:
        self.births += 1
        record = make_record(number, project=project, birth=f"b{self.births}")
        (new, one), (also_new, other) = self.both(
            self.subject.claim(record, payload), self.memory.claim(record, payload)
        )
        assert new == also_new
        assert_same(one, other)
        return one.record, other.record

    @rule(
        target=records,
        twins=records,
        state=STATES,
        expiry=st.none() | SECONDS,
        result=st.none() | BLOBS,
        worker=st.just("") | WORKERS,
        gone=st.just("") | WORKERS,
    )
    def swap(
        self,
        twins: Twins,
        state: State,
        expiry: int | None,
        result: bytes | None,
        worker: str,
        gone: str,
    ) -> Twins:
        if state.pending and not (twins[0].state.pending or self.REVIVES):
            return twins
        expires_at = None if expiry is None else NOW + expiry
        named: Any = {"result": result, "worker": worker, "gone": gone}
        one, other = self.both(
            self.subject.swap(twins[0], changed(twins[0], state, expires_at), **named),
            self.memory.swap(twins[1], changed(twins[1], state, expires_at), **named),
        )
        if one is None or other is None:
            assert one is other
            return twins
        assert plain(one) == plain(other)
        assert one.version > twins[0].version
        return one, other

    @rule(target=records, twins=records, worker=WORKERS)
    def begin(self, twins: Twins, worker: str) -> Twins:
        claimed = plain(twins[0])
        sending = request.begin_send(claimed, worker, NOW, 120)
        one, other = self.both(
            self.subject.begin(claimed, sending, worker),
            self.memory.begin(claimed, sending, worker),
        )
        if one is None or other is None:
            assert one is other
            return twins
        assert_same(one, other)
        return one.record, other.record

    @rule(twins=consumes(records))
    def forget(self, twins: Twins) -> None:
        one, other = self.both(self.subject.forget(twins[0]), self.memory.forget(twins[1]))
        assert one == other

    @rule(worker=WORKERS, seconds=SECONDS)
    def register(self, worker: str, seconds: int) -> None:
        lease = Worker(worker, "host", 1, self.clock.now + seconds * self.SCALE)
        self.both(self.subject.register(lease), self.memory.register(lease))

    @rule(worker=WORKERS, seconds=SECONDS)
    def keep_alive(self, worker: str, seconds: int) -> None:
        until = self.clock.now + seconds * self.SCALE
        one, other = self.both(
            self.subject.keep_alive(worker, until), self.memory.keep_alive(worker, until)
        )
        assert one == other

    @rule(worker=WORKERS)
    def retire(self, worker: str) -> None:
        self.both(self.subject.retire(worker), self.memory.retire(worker))

    @rule(worker=WORKERS)
    def lead(self, worker: str) -> None:
        one, other = self.both(self.subject.lead(worker), self.memory.lead(worker))
        assert one == other

    @rule(worker=WORKERS)
    def resign(self, worker: str) -> None:
        self.both(self.subject.resign(worker), self.memory.resign(worker))

    @rule(seconds=SECONDS)
    def elapse(self, seconds: int) -> None:
        self.clock.now += seconds * self.SCALE

    @rule(
        project=st.none() | PROJECTS,
        states=st.frozensets(STATES),
        marker=st.none() | NUMBERS,
        limit=st.integers(0, 4),
    )
    def find(
        self, project: str | None, states: frozenset[State], marker: int | None, limit: int
    ) -> None:
        behind = None if marker is None else make_record(marker).id
        query = Query(project, states, behind, limit)
        assert self.found(self.subject, query) == self.found(self.memory, query)

    def found(self, store: Store, query: Query) -> list[Record] | str:
        try:
            return [plain(record) for record in self.runner.run(store.find(query))]
        except NotFound as error:
            return error.message

    @rule(limit=st.integers(0, 4))
    def limited(self, limit: int) -> None:
        one, other = self.both(self.subject.pending(limit), self.memory.pending(limit))
        assert list(map(plain, one)) == list(map(plain, other))
        one, other = self.both(
            self.subject.overdue(self.clock.now, limit), self.memory.overdue(self.clock.now, limit)
        )
        assert [record.expires_at for record in one] == [record.expires_at for record in other]

    @invariant()
    def hold_the_same(self) -> None:
        ids = [make_record(number).id for number in range(6)]
        found, expected = self.both(self.subject.read(ids), self.memory.read(ids))
        assert found.keys() == expected.keys()
        for id_, stored in found.items():
            assert_same(stored, expected[id_])

    @invariant()
    def say_the_same(self) -> None:
        for one, other in (
            self.both(self.subject.pending(100), self.memory.pending(100)),
            self.both(self.subject.find(Query()), self.memory.find(Query())),
            self.both(overdue(self.subject, self.clock.now), overdue(self.memory, self.clock.now)),
        ):
            assert list(map(plain, one)) == list(map(plain, other))
        depths = self.both(self.subject.depth(), self.memory.depth())
        assert depths[0] == depths[1]
        leases = self.both(self.subject.workers(), self.memory.workers())
        assert leases[0] == leases[1]

    @invariant()
    def publish_the_same(self) -> None:
        self.runner.run(asyncio.sleep(0))
        events = list(self.heard.values())
        assert list(map(bare, events[0])) == list(map(bare, events[1]))


async def overdue(store: Store, now: float) -> list[Record]:
    """All that are overdue; which of two that expire at once comes first, nobody promises."""
    return sorted(await store.overdue(now, 100), key=lambda each: (each.expires_at or 0, each.id))


def changed(record: Record, state: State, expires_at: float | None) -> Record:
    return msgspec.structs.replace(record, state=state, expires_at=expires_at)


def plain(record: Record) -> Record:
    return msgspec.structs.replace(record, version=0)


def bare(stored: Stored) -> Stored:
    return Stored(plain(stored.record), None, stored.result)


def assert_same(one: Stored, other: Stored) -> None:
    assert (plain(one.record), one.payload, one.result) == (
        plain(other.record),
        other.payload,
        other.result,
    )


TestBothStores = BothStores.TestCase
TestBothStores.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
