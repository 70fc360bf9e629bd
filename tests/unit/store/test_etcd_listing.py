"""Listings that take several pages, and many projects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from dedupd.ports import Query
from dedupd.request import Record, State
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_listing import FIRST_PAGE
from tests.contract.stores import NOW, Clock, etcd_store, make_record

PROJECTS = ["p1", "p10", "p/1", "p%2F1", "é", " "]


@pytest.fixture
async def store() -> AsyncIterator[EtcdStore]:
    store = etcd_store(Clock())
    await store.open()
    yield store
    await store.close()


async def claimed(store: EtcdStore, number: int, project: str, created_at: float) -> Record:
    record = msgspec.structs.replace(make_record(number, project=project), created_at=created_at)
    new, stored = await store.claim(record, b"")
    assert new
    return stored.record


async def many(store: EtcdStore, count: int) -> list[Record]:
    """Claimed one after another, the newest first; a hundred seconds apart in all."""
    return [
        await claimed(store, n, PROJECTS[n % len(PROJECTS)], NOW + 100 * n / count)
        for n in range(count)
    ][::-1]


async def test_all_are_there_in_their_order(store: EtcdStore) -> None:
    records = await many(store, 20 * FIRST_PAGE)
    assert await store.find(Query(limit=1000)) == records
    for project in PROJECTS:
        theirs = [record for record in records if record.project_id == project]
        assert await store.find(Query(project_id=project, limit=1000)) == theirs
        assert await store.find(Query(project_id=project, limit=5)) == theirs[:5]


@pytest.mark.parametrize("project", [None, "p/1"])
@pytest.mark.parametrize("states", [frozenset[State](), frozenset({State.QUEUED})])
async def test_pages_make_the_whole(
    store: EtcdStore, project: str | None, states: frozenset[State]
) -> None:
    records = await many(store, 12 * FIRST_PAGE)
    expected = [record for record in records if project in (None, record.project_id)]
    paged: list[Record] = []
    while page := await store.find(Query(project, states, paged[-1].id if paged else None, 7)):
        paged += page
    assert paged == expected


async def test_what_was_claimed_together_is_paged_completely(store: EtcdStore) -> None:
    count = 10 * FIRST_PAGE
    await asyncio.gather(*(claimed(store, n, "p1", NOW) for n in range(count)))
    paged: list[Record] = []
    while page := await store.find(Query("p1", marker=paged[-1].id if paged else None, limit=9)):
        paged += page
    assert len(paged) == len({record.id for record in paged}) == count


async def test_rare_states_are_found_among_many(store: EtcdStore) -> None:
    records = await many(store, 12 * FIRST_PAGE)
    done = [
        await store.swap(one, msgspec.structs.replace(one, state=State.DONE))
        for one in records[::50]
    ]
    assert await store.find(Query(states=frozenset({State.DONE}))) == done
    assert await store.find(Query(states=frozenset({State.DONE}), limit=2)) == done[:2]
