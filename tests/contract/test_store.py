"""What every Store promises (``dedupd.ports.Store``), run unchanged against each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dedupd import request
from dedupd.errors import NotFound
from dedupd.ports import Depth, Query, Store, Stored, Worker
from dedupd.request import Attempt, Record, Resource, State, Verdict
from tests.contract.stores import NOW, STORES, Clock, make_record, request_id

DEADLINE = 10.0
PENDING = [State.QUEUED, State.SENDING, State.UNKNOWN]
ENDED = [State.DONE, State.CANCELLED, State.RELEASED, State.TOMBSTONE]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=STORES)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Store]:
    async with STORES[request.param](tmp_path, clock) as opened:
        yield opened


class Events:
    """A listener that can be waited for."""

    def __init__(self) -> None:
        self.heard: list[Stored] = []
        self._news = asyncio.Event()

    def hear(self, event: Stored) -> None:
        self.heard.append(event)
        self._news.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while len(self.heard) < number:
                self._news.clear()
                await self._news.wait()


def in_state(record: Record, state: State, **changes: Any) -> Record:
    return msgspec.structs.replace(record, state=state, **changes)


def versionless(record: Record) -> Record:
    return msgspec.structs.replace(record, version=0)


async def claimed(store: Store, number: int = 1, **changes: Any) -> Record:
    new, stored = await store.claim(make_record(number, **changes), b"payload")
    assert new
    return stored.record


async def swapped(store: Store, before: Record, after: Record, **more: Any) -> Record:
    written = await store.swap(before, after, **more)
    assert written is not None
    return written


async def brought(store: Store, number: int, state: State, **changes: Any) -> Record:
    """A record in this state, with an answer where the state has one."""
    record = await claimed(store, number)
    result = None if state.pending else b"answer"
    return await swapped(store, record, in_state(record, state, **changes), result=result)


async def stored(store: Store, record: Record) -> Stored | None:
    return (await store.read([record.id])).get(record.id)


class TestClaim:
    async def test_creates_the_record_with_its_payload(self, store: Store) -> None:
        new, created = await store.claim(make_record(), b"\x00payload\xff")
        assert new
        assert created.record.version > 0
        assert versionless(created.record) == make_record()
        assert (created.payload, created.result) == (b"\x00payload\xff", None)
        assert await stored(store, created.record) == created

    @pytest.mark.parametrize("state", [*PENDING, State.DONE, State.CANCELLED, State.TOMBSTONE])
    async def test_says_what_stands_there(self, store: Store, state: State) -> None:
        standing = await brought(store, 1, state)
        new, found = await store.claim(make_record(birth="b2"), b"other")
        assert not new
        assert found.record == standing
        assert found == await stored(store, standing)

    async def test_gives_the_result_in_the_same_operation(self, store: Store) -> None:
        await brought(store, 1, State.DONE)
        _, found = await store.claim(make_record(), b"other")
        assert (found.payload, found.result) == (None, b"answer")

    async def test_takes_the_place_of_a_released_one(self, store: Store) -> None:
        released = await brought(store, 1, State.RELEASED, expires_at=NOW)
        new, created = await store.claim(make_record(birth="b2", project="p2"), b"other")
        assert new
        assert created.record.version > released.version
        assert versionless(created.record) == make_record(birth="b2", project="p2")
        assert (created.payload, created.result) == (b"other", None)
        assert await stored(store, released) == created
        assert await store.pending(10) == [created.record]
        assert await store.overdue(NOW, 10) == []

    async def test_one_of_many_at_once_wins(self, store: Store) -> None:
        births = [f"b{number}" for number in range(50)]
        answers = await asyncio.gather(
            *(store.claim(make_record(birth=birth), birth.encode()) for birth in births)
        )
        [winner] = [found for new, found in answers if new]
        assert all(found == winner for _, found in answers)
        assert winner.payload == winner.record.birth.encode()

    async def test_one_of_many_at_once_replaces_a_released_one(self, store: Store) -> None:
        await brought(store, 1, State.RELEASED)
        births = [f"b{number}" for number in range(2, 50)]
        answers = await asyncio.gather(
            *(store.claim(make_record(birth=birth), b"") for birth in births)
        )
        [winner] = [found for new, found in answers if new]
        assert all(found == winner for _, found in answers)

    async def test_carries_what_is_large(self, store: Store) -> None:
        payload = bytes(range(256)) * 4096
        _, created = await store.claim(make_record(), payload)
        assert created.payload == payload
        assert await stored(store, created.record) == created


class TestRead:
    async def test_leaves_out_what_is_not_there(self, store: Store) -> None:
        one, two = await claimed(store, 1), await claimed(store, 2)
        found = await store.read([one.id, request_id(3), two.id])
        assert {id_: each.record for id_, each in found.items()} == {one.id: one, two.id: two}

    @pytest.mark.parametrize("ids", [[], ["no such id"], ["\x00"], ["é" * 40]])
    async def test_finds_nothing(self, store: Store, ids: list[str]) -> None:
        await claimed(store)
        assert await store.read(ids) == {}

    async def test_an_id_twice_is_one_record(self, store: Store) -> None:
        record = await claimed(store)
        assert list(await store.read([record.id, record.id])) == [record.id]

    async def test_sees_what_was_acknowledged(self, store: Store) -> None:
        record = await claimed(store)
        for _ in range(20):
            record = await swapped(store, record, record)
            found = await stored(store, record)
            assert found is not None
            assert found.record == record


class TestSwap:
    async def test_writes_every_field(self, store: Store) -> None:
        before = await claimed(store)
        first = Attempt("w1", NOW, NOW + 120, Verdict.NO_EFFECT, 429, "slow down", NOW + 1)
        after = msgspec.structs.replace(
            before,
            state=State.DONE,
            owner="w1",
            attempts=(first, Attempt("w2", NOW + 2, NOW + 122)),
            existed=False,
            retry_until=NOW + 60.5,
            status=202,
            resource=Resource("server", "s1", "vm", "http://nova/servers/s1"),
            detail="d\u00e9tail",
            completed_at=NOW + 3,
            expires_at=NOW + 86400,
        )
        written = await swapped(store, before, after, result=b"\x00\xff")
        assert versionless(written) == versionless(after)
        assert await stored(store, before) == Stored(written, None, b"\x00\xff")

    async def test_versions_only_grow(self, store: Store) -> None:
        records = [await claimed(store, number) for number in range(3)]
        records += [await swapped(store, record, record) for record in records]
        versions = [record.version for record in records]
        assert versions == sorted(set(versions))

    async def test_writes_nothing_over_a_newer_version(self, store: Store) -> None:
        old = await claimed(store)
        new = await swapped(store, old, in_state(old, State.SENDING, owner="w1"))
        assert await store.swap(old, in_state(old, State.DONE), result=b"late") is None
        assert await stored(store, new) == Stored(new, b"payload")

    async def test_writes_nothing_where_nothing_is(self, store: Store) -> None:
        record = await claimed(store)
        assert await store.forget(record)
        assert await store.swap(record, record) is None
        assert await stored(store, record) is None

    async def test_writes_nothing_over_another_life(self, store: Store) -> None:
        old = await claimed(store, birth="b1")
        assert await store.forget(old)
        new = await claimed(store, birth="b2")
        assert new.version > old.version
        assert await store.swap(old, in_state(old, State.DONE)) is None
        as_if = msgspec.structs.replace(old, version=new.version)
        assert await store.swap(as_if, in_state(old, State.DONE)) is None
        assert await stored(store, new) == Stored(new, b"payload")

    async def test_one_of_many_at_once_wins(self, store: Store) -> None:
        before = await claimed(store)
        answers = await asyncio.gather(
            *(store.swap(before, request.take_over(before, f"w{n}")) for n in range(50))
        )
        [winner] = [written for written in answers if written is not None]
        assert await stored(store, before) == Stored(winner, b"payload")

    @pytest.mark.parametrize("state", PENDING)
    async def test_a_pending_record_keeps_its_payload(self, store: Store, state: State) -> None:
        record = await brought(store, 1, state)
        assert await stored(store, record) == Stored(record, b"payload")

    @pytest.mark.parametrize("state", ENDED)
    async def test_an_ended_record_loses_its_payload(self, store: Store, state: State) -> None:
        record = await brought(store, 1, state)
        found = await stored(store, record)
        assert found is not None
        assert found.payload is None

    async def test_without_a_result_the_stored_one_stays(self, store: Store) -> None:
        record = await brought(store, 1, State.DONE)
        record = await swapped(store, record, msgspec.structs.replace(record, detail="resolved"))
        assert await stored(store, record) == Stored(record, None, b"answer")

    async def test_an_empty_result_is_one(self, store: Store) -> None:
        record = await brought(store, 1, State.DONE)
        record = await swapped(store, record, record, result=b"")
        assert await stored(store, record) == Stored(record, None, b"")

    async def test_a_tombstone_loses_its_result(self, store: Store) -> None:
        done = await brought(store, 1, State.DONE)
        record = await swapped(store, done, request.bury(done, NOW, keep=60))
        assert await stored(store, record) == Stored(record)

    async def test_independent_ones_succeed_and_fail_each_by_itself(self, store: Store) -> None:
        records = [await claimed(store, number) for number in range(20)]
        for stale in records[::2]:
            await swapped(store, stale, stale)
        answers = await asyncio.gather(*(store.swap(record, record) for record in records))
        assert [written is not None for written in answers] == [False, True] * 10


class TestBegin:
    """A first send begins from what the claim was heard to be, without a look."""

    LEASE_SECONDS = 600.0
    """Longer than any test takes: etcd's own clock counts, too."""
    WORKER = Worker("w1", "host", 1, NOW + LEASE_SECONDS)

    async def begun(self, store: Store, claimed: Record, worker: str = "w1") -> Stored | None:
        return await store.begin(claimed, request.begin_send(claimed, worker, NOW, 120), worker)

    @pytest.fixture(autouse=True)
    async def worker(self, store: Store) -> AsyncIterator[None]:
        """It ends with the test: when it did so later, that would be a write in another's time."""
        await store.register(self.WORKER)
        yield
        await store.retire("w1")

    async def test_writes_and_gives_what_it_carries(self, store: Store) -> None:
        claim = await claimed(store)
        written = await self.begun(store, versionless(claim))
        assert written is not None
        assert versionless(written.record) == versionless(request.begin_send(claim, "w1", NOW, 120))
        assert (written.payload, written.result) == (b"payload", None)
        assert written.record.version > claim.version
        assert await stored(store, claim) == written
        assert await store.pending(10) == [written.record]

    @pytest.mark.parametrize("payload", [b"", bytes(range(256)) * 4096])
    async def test_gives_any_payload(self, store: Store, payload: bytes) -> None:
        _, created = await store.claim(make_record(), payload)
        written = await self.begun(store, created.record)
        assert written is not None
        assert written.payload == payload

    async def test_what_it_wrote_moves_on(self, store: Store) -> None:
        written = await self.begun(store, await claimed(store))
        assert written is not None
        done = request.finish(written.record, NOW, status=202, resource=None, keep=60)
        assert await store.swap(written.record, done, result=b"answer") is not None

    @pytest.mark.parametrize(
        "change",
        [
            {"birth": "b2"},
            {"project_id": "p2"},
            {"user_id": "u2"},
            {"route": "other"},
            {"path": "/v2.1/servers/"},
            {"fingerprint": b"other"},
            {"parts": {"server.name": b"\xff", "path": b"\x00"}, "created_at": NOW},
            {"parts": {"path": b"\x00"}},
            {"created_at": NOW},
            {"state": State.SENDING},
            {"owner": "w1"},
            {"existed": False},
            {"id": request_id(2)},
        ],
    )
    async def test_writes_nothing_where_any_field_differs(
        self, store: Store, change: dict[str, Any]
    ) -> None:
        claim = await claimed(store)
        assert await self.begun(store, msgspec.structs.replace(claim, **change)) is None
        assert await stored(store, claim) == Stored(claim, b"payload")

    async def test_a_second_one_writes_nothing(self, store: Store) -> None:
        claim = await claimed(store)
        first = await self.begun(store, claim)
        assert first is not None
        assert await self.begun(store, claim) is None
        assert await stored(store, claim) == first

    async def test_one_of_many_at_once_wins(self, store: Store) -> None:
        claim = await claimed(store)
        answers = await asyncio.gather(*(self.begun(store, claim) for _ in range(50)))
        [winner] = [written for written in answers if written is not None]
        assert await stored(store, claim) == winner

    @pytest.mark.parametrize("state", list(State))
    async def test_writes_nothing_over_what_has_moved(self, store: Store, state: State) -> None:
        moved = await brought(store, 1, state)
        assert await self.begun(store, make_record()) is None
        found = await stored(store, moved)
        assert found is not None
        assert found.record == moved

    async def test_nor_over_what_came_back_as_it_was(self, store: Store) -> None:
        claim = await claimed(store)
        sending = await swapped(store, claim, request.begin_send(claim, "w1", NOW, 120))
        back = await swapped(store, sending, claim)
        assert await self.begun(store, claim) is None
        assert await stored(store, back) == Stored(back, b"payload")

    async def test_nor_where_nothing_is(self, store: Store) -> None:
        claim = await claimed(store)
        assert await store.forget(claim)
        assert await self.begun(store, claim) is None
        assert await stored(store, claim) is None

    async def test_nor_over_another_life(self, store: Store) -> None:
        claim = await claimed(store)
        assert await store.forget(claim)
        other = await claimed(store, birth="b2")
        assert await self.begun(store, claim) is None
        assert await stored(store, other) == Stored(other, b"payload")

    @pytest.mark.parametrize("worker", ["w1", "w2"])
    async def test_nor_without_a_living_lease(
        self, store: Store, clock: Clock, worker: str
    ) -> None:
        claim = await claimed(store)
        await clock.elapse(self.LEASE_SECONDS + 1)
        assert await self.begun(store, claim, worker) is None
        assert await stored(store, claim) == Stored(claim, b"payload")

    async def test_nor_for_a_retired_worker(self, store: Store) -> None:
        claim = await claimed(store)
        await store.retire("w1")
        assert await self.begun(store, claim) is None
        assert await stored(store, claim) == Stored(claim, b"payload")

    async def test_independent_ones_succeed_and_fail_each_by_itself(self, store: Store) -> None:
        claims = [await claimed(store, number) for number in range(120)]
        for stale in claims[::2]:
            await swapped(store, stale, stale)
        answers = await asyncio.gather(*(self.begun(store, claim) for claim in claims))
        assert [written is not None for written in answers] == [False, True] * 60
        assert all(written.payload == b"payload" for written in answers if written is not None)

    async def test_is_no_completion(self, store: Store) -> None:
        events = Events()
        store.on_completion(events.hear)
        await self.begun(store, await claimed(store, 1))
        other = await claimed(store, 2)
        await swapped(store, other, request.give_up(other, "why"))
        await events.until(1)
        assert [event.record.id for event in events.heard] == [other.id]


class TestForget:
    @pytest.mark.parametrize("state", list(State))
    async def test_deletes_whatever_the_state(self, store: Store, state: State) -> None:
        record = await brought(store, 1, state, expires_at=NOW)
        assert await store.forget(record)
        assert await stored(store, record) is None
        assert await store.pending(10) == []
        assert await store.overdue(NOW, 10) == []
        assert await store.find(Query()) == []
        assert await store.depth() == Depth(0, {})

    async def test_deletes_nothing_that_has_changed(self, store: Store) -> None:
        old = await claimed(store)
        new = await swapped(store, old, old)
        assert not await store.forget(old)
        assert not await store.forget(msgspec.structs.replace(new, birth="b2"))
        assert await stored(store, new) == Stored(new, b"payload")

    async def test_the_token_counts_as_never_used(self, store: Store) -> None:
        record = await brought(store, 1, State.DONE)
        assert await store.forget(record)
        again = await claimed(store, birth="b2")
        assert again.version > record.version
        assert await stored(store, again) == Stored(again, b"payload")


class TestPending:
    async def test_gives_the_oldest_first(self, store: Store) -> None:
        records = [await claimed(store, number) for number in range(1, 6)]
        assert await store.pending(3) == records[:3]
        assert await store.pending(10) == records

    async def test_gives_those_that_have_not_ended(self, store: Store) -> None:
        records = [await brought(store, number, state) for number, state in enumerate(State)]
        assert await store.pending(100) == [each for each in records if each.state.pending]

    async def test_depth_counts_them(self, store: Store) -> None:
        assert await store.depth() == Depth(0, {})
        for number, project in enumerate(["p1", "p2", "p2"]):
            await claimed(store, number, project=project)
        await brought(store, 10, State.DONE)
        assert await store.depth() == Depth(3, {"p1": 1, "p2": 2})


class TestOverdue:
    async def test_gives_what_is_past_the_earliest_first(self, store: Store) -> None:
        states = [State.DONE, State.TOMBSTONE, State.RELEASED, State.CANCELLED]
        records = [
            await brought(store, number, state, expires_at=NOW - number)
            for number, state in enumerate(states)
        ]
        assert await store.overdue(NOW, 10) == records[::-1]
        assert await store.overdue(NOW, 2) == records[:1:-1]
        assert await store.overdue(NOW - 1.5, 10) == records[:1:-1]

    async def test_leaves_the_rest_alone(self, store: Store) -> None:
        await claimed(store, 1)
        await brought(store, 2, State.DONE, expires_at=NOW + 0.5)
        assert await store.overdue(NOW, 10) == []

    async def test_finds_an_expiry_that_was_moved(self, store: Store) -> None:
        record = await brought(store, 1, State.DONE, expires_at=NOW)
        moved = await swapped(store, record, request.bury(record, NOW, keep=60))
        assert await store.overdue(NOW + 59, 10) == []
        assert await store.overdue(NOW + 60, 10) == [moved]


class TestFind:
    async def test_gives_the_newest_first(self, store: Store) -> None:
        records = [await claimed(store, number) for number in range(1, 6)]
        assert await store.find(Query()) == records[::-1]
        assert await store.find(Query(limit=2)) == records[:2:-1]

    async def test_a_claim_anew_is_the_newest(self, store: Store) -> None:
        await brought(store, 1, State.RELEASED)
        second = await claimed(store, 2)
        again = await claimed(store, 1, birth="b2")
        assert await store.find(Query()) == [again, second]

    async def test_gives_one_project(self, store: Store) -> None:
        records = [await claimed(store, n, project=f"p{n % 2}") for n in range(6)]
        assert await store.find(Query(project_id="p1")) == records[5::-2]
        assert await store.find(Query(project_id="p3")) == []

    async def test_gives_some_states(self, store: Store) -> None:
        records = {state: await brought(store, state + 1, state) for state in State}
        for state, record in records.items():
            assert await store.find(Query(states=frozenset({state}))) == [record]
        wanted = frozenset({State.UNKNOWN, State.CANCELLED})
        expected = [records[State.CANCELLED], records[State.UNKNOWN]]
        assert await store.find(Query(project_id="p1", states=wanted)) == expected
        pending = [records[state] for state in reversed(PENDING)]
        assert await store.find(Query(states=frozenset(PENDING))) == pending

    @pytest.mark.parametrize("project", [None, "p1"])
    @pytest.mark.parametrize("states", [frozenset[State](), frozenset({State.QUEUED})])
    async def test_pages_by_marker(
        self, store: Store, project: str | None, states: frozenset[State]
    ) -> None:
        for number in range(7):
            await claimed(store, number)
            await claimed(store, 100 + number, project="p2")
        whole = await store.find(Query(project, states))
        paged: list[Record] = []
        while page := await store.find(Query(project, states, paged[-1].id if paged else None, 3)):
            paged += page
        assert paged == whole
        assert len(whole) == (7 if project else 14)

    async def test_a_marker_need_not_have_the_states(self, store: Store) -> None:
        record = await claimed(store, 1)
        marker = await brought(store, 2, State.DONE)
        queued = frozenset({State.QUEUED})
        assert await store.find(Query(states=queued, marker=marker.id)) == [record]

    @pytest.mark.parametrize("marker", [request_id(2), request_id(3), ""])
    async def test_refuses_a_marker_that_is_not_in_the_project(
        self, store: Store, marker: str
    ) -> None:
        await claimed(store, 1)
        await claimed(store, 2, project="p2")
        with pytest.raises(NotFound, match="names no record"):
            await store.find(Query(project_id="p1", marker=marker))


class TestCompletions:
    @pytest.fixture
    def events(self, store: Store) -> Events:
        events = Events()
        store.on_completion(events.hear)
        return events

    @pytest.mark.parametrize("state", [State.UNKNOWN, *ENDED])
    async def test_publishes_once_what_is_no_longer_awaited(
        self, store: Store, events: Events, state: State
    ) -> None:
        record = await brought(store, 1, state)
        await events.until(1)
        await settled(store)
        assert [event.record for event in events.heard] == [record]

    async def test_brings_the_result(self, store: Store, events: Events) -> None:
        record = await brought(store, 1, State.DONE)
        await events.until(1)
        assert events.heard == [Stored(record, None, b"answer")]

    async def test_publishes_no_end_of_what_nobody_awaits(
        self, store: Store, events: Events
    ) -> None:
        unknown = await brought(store, 1, State.UNKNOWN)
        await swapped(store, unknown, in_state(unknown, State.DONE), result=b"answer")
        await events.until(1)
        await settled(store)
        assert [event.record for event in events.heard] == [unknown]

    async def test_publishes_nothing_else(self, store: Store, events: Events) -> None:
        first = await claimed(store, 1)
        second = await swapped(store, first, in_state(first, State.SENDING))
        assert await store.swap(first, in_state(first, State.DONE)) is None
        done = await swapped(store, second, in_state(second, State.DONE))
        await swapped(store, done, request.bury(done, NOW, keep=60))
        await events.until(1)
        await settled(store)
        assert [event.record for event in events.heard] == [done]

    async def test_one_listener_does_not_disturb_another(
        self, store: Store, events: Events
    ) -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: failures.append(context)
        )

        def fail(event: Stored) -> None:
            raise ValueError(event.record.id)

        store.on_completion(fail)
        also = Events()
        store.on_completion(also.hear)
        await brought(store, 1, State.DONE)
        await events.until(1)
        await also.until(1)
        assert [str(failure["exception"]) for failure in failures] == [request_id(1)]

    async def test_publishes_though_the_caller_went_away(
        self, store: Store, events: Events
    ) -> None:
        record = await claimed(store)
        caller = asyncio.create_task(swapped(store, record, in_state(record, State.DONE)))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        found = await stored(store, record)
        assert found is not None
        if found.record.state is State.DONE:
            await events.until(1)
        else:
            await swapped(store, record, in_state(record, State.DONE))
            await events.until(1)


class TestLeases:
    WORKER = Worker("w1", "host1", 4711, NOW + 10)

    async def test_the_living_are_listed(self, store: Store, clock: Clock) -> None:
        other = Worker("w0", "host2", 1, NOW + 30)
        await store.register(self.WORKER)
        await store.register(other)
        assert await store.workers() == [other, self.WORKER]
        await clock.elapse(10)
        assert await store.workers() == [other]

    async def test_a_living_worker_writes(self, store: Store, clock: Clock) -> None:
        await store.register(self.WORKER)
        record = await claimed(store)
        await clock.elapse(9)
        after = request.begin_send(record, "w1", NOW, 120)
        written = await swapped(store, record, after, worker="w1")
        assert versionless(written) == versionless(after)

    @pytest.mark.parametrize("worker", ["w1", "w2"])
    async def test_another_one_writes_nothing(
        self, store: Store, clock: Clock, worker: str
    ) -> None:
        await store.register(self.WORKER)
        record = await claimed(store)
        await clock.elapse(10)
        assert await store.swap(record, in_state(record, State.SENDING), worker=worker) is None
        assert await stored(store, record) == Stored(record, b"payload")

    async def test_a_lease_is_prolonged(self, store: Store, clock: Clock) -> None:
        await store.register(self.WORKER)
        await clock.elapse(9)
        assert await store.keep_alive("w1", NOW + 19)
        await clock.elapse(9)
        assert [worker.lease_until for worker in await store.workers()] == [NOW + 19]
        record = await claimed(store)
        assert await store.swap(record, record, worker="w1") is not None

    async def test_an_ended_lease_stays_ended(self, store: Store, clock: Clock) -> None:
        await store.register(self.WORKER)
        await clock.elapse(10)
        assert not await store.keep_alive("w1", NOW + 20)
        assert not await store.keep_alive("w1", NOW + 20)
        assert await store.workers() == []
        record = await claimed(store)
        assert await store.swap(record, record, worker="w1") is None

    async def test_a_retired_worker_is_gone(self, store: Store) -> None:
        await store.register(self.WORKER)
        await store.retire("w1")
        await store.retire("w1")
        assert await store.workers() == []
        assert not await store.keep_alive("w1", NOW + 20)

    async def test_a_worker_never_seen_has_no_lease(self, store: Store) -> None:
        assert not await store.keep_alive("w1", NOW + 20)

    async def test_a_worker_registers_again(self, store: Store, clock: Clock) -> None:
        await store.register(self.WORKER)
        await clock.elapse(10)
        again = msgspec.structs.replace(self.WORKER, lease_until=NOW + 20)
        await store.register(again)
        assert await store.workers() == [again]


class TestDeadWorkers:
    """What is done in the place of a worker that has gone."""

    WORKER = Worker("w1", "host1", 4711, NOW + 10)

    async def test_nothing_while_it_lives(self, store: Store, clock: Clock) -> None:
        await store.register(self.WORKER)
        record = await claimed(store)
        await clock.elapse(9)
        assert await store.swap(record, in_state(record, State.SENDING), gone="w1") is None
        assert await stored(store, record) == Stored(record, b"payload")

    async def test_once_its_time_has_passed(self, store: Store, clock: Clock) -> None:
        await store.register(self.WORKER)
        record = await claimed(store)
        await clock.elapse(10)
        assert await store.swap(record, in_state(record, State.SENDING), gone="w1") is not None

    async def test_once_it_has_retired(self, store: Store) -> None:
        await store.register(self.WORKER)
        record = await claimed(store)
        await store.retire("w1")
        assert await store.swap(record, in_state(record, State.SENDING), gone="w1") is not None

    async def test_only_by_one_that_lives(self, store: Store) -> None:
        await store.register(self.WORKER)
        record = await claimed(store)
        after = in_state(record, State.SENDING)
        assert await store.swap(record, after, worker="w2", gone="w0") is None
        assert await store.swap(record, after, worker="w1", gone="w0") is not None

    async def test_its_retirement_is_heard(self, store: Store) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()
        store.on_departure(heard.put_nowait)
        await store.register(self.WORKER)
        await store.retire("w1")
        async with asyncio.timeout(DEADLINE):
            assert await heard.get() == "w1"


class TestLeadership:
    @pytest.fixture(autouse=True)
    async def _two_workers(self, store: Store) -> None:
        for name, seconds in (("w1", 10), ("w2", 30)):
            await store.register(Worker(name, "host", 1, NOW + seconds))

    async def test_the_first_leads_and_goes_on_to(self, store: Store) -> None:
        assert await store.lead("w2")
        assert not await store.lead("w1")
        assert await store.lead("w2")

    async def test_of_many_at_once_exactly_one_leads(self, store: Store) -> None:
        names = [f"w{number}" for number in range(20)]
        for name in names:
            await store.register(Worker(name, "host", 1, NOW + 10))
        assert sum(await asyncio.gather(*map(store.lead, names))) == 1

    async def test_who_does_not_live_does_not_lead(self, store: Store, clock: Clock) -> None:
        await clock.elapse(10)
        assert not await store.lead("w1")
        assert not await store.lead("w3")
        assert await store.lead("w2")

    async def test_another_follows_when_the_leader_s_time_has_passed(
        self, store: Store, clock: Clock
    ) -> None:
        assert await store.lead("w1")
        await clock.elapse(10)
        assert await store.lead("w2")
        assert not await store.lead("w1")

    async def test_a_leader_leads_as_long_as_it_is_kept_alive(
        self, store: Store, clock: Clock
    ) -> None:
        assert await store.lead("w1")
        await clock.elapse(9)
        assert await store.keep_alive("w1", NOW + 19)
        await clock.elapse(9)
        assert not await store.lead("w2")
        assert await store.lead("w1")

    @pytest.mark.parametrize("way", ["retire", "resign"])
    async def test_another_follows_at_once_when_the_leader_goes(
        self, store: Store, way: str
    ) -> None:
        assert await store.lead("w1")
        await getattr(store, way)("w1")
        assert await store.lead("w2")
        assert not await store.lead("w1")

    async def test_nobody_resigns_for_another(self, store: Store) -> None:
        assert await store.lead("w1")
        await store.resign("w2")
        assert not await store.lead("w2")
        assert await store.lead("w1")


class TestCancellation:
    async def test_of_some_callers_does_not_disturb_others(self, store: Store) -> None:
        calls = [
            asyncio.create_task(store.claim(make_record(number), b"")) for number in range(100)
        ]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.wait(calls, timeout=DEADLINE)
        assert all(call.result()[0] for call in calls[1::2])
        again = [await store.claim(make_record(number), b"") for number in range(100)]
        for number, (new, found) in enumerate(again):
            assert versionless(found.record) == make_record(number)
            assert not (new and number % 2)

    @pytest.mark.parametrize("rounds", [0, 1, 2, 3, 5, 8])
    async def test_at_any_point_leaves_all_or_nothing(self, store: Store, rounds: int) -> None:
        record = await claimed(store)
        after = in_state(record, State.DONE, expires_at=NOW)
        call = asyncio.create_task(store.swap(record, after, result=b"answer"))
        for _ in range(rounds):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call], timeout=DEADLINE)
        await settled(store)
        found = await stored(store, record)
        assert found is not None
        if found.record.version == record.version:
            assert found == Stored(record, b"payload")
        else:
            assert versionless(found.record) == versionless(after)
            assert (found.payload, found.result) == (None, b"answer")


async def settled(store: Store) -> None:
    """Whatever the store had begun before is finished, and its events are delivered."""
    record = await claimed(store, 999_999, project="settled")
    assert await store.forget(record)
    for _ in range(3):
        await asyncio.sleep(0)
