"""Workers' leases in real time: etcd's clock ends them for everybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from dedupd import request
from dedupd.ports import Worker
from dedupd.store.etcd import EtcdStore
from tests.contract.stores import ETCD, NOW, ORIGIN, make_record

DEADLINE = 20.0
SECONDS = 2.0
"""The shortest lease that etcd grants with its default of one second between elections."""

Join = Callable[[], Coroutine[Any, Any, EtcdStore]]


@pytest.fixture
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """One more process on the test's records."""
    stores: list[EtcdStore] = []

    async def joined() -> EtcdStore:
        prefix = f"/{request.node.name}/v1/"
        store = EtcdStore(ETCD.cluster(), prefix=prefix, origin=ORIGIN)
        await store.open()
        stores.append(store)
        return store

    yield joined
    for store in stores:
        await store.close()


def worker(seconds: float = SECONDS) -> Worker:
    return Worker("w1", "host1", 4711, time.time() + seconds)


async def gone(store: EtcdStore) -> float:
    """When no lease lives any more, in seconds of the clock."""
    async with asyncio.timeout(DEADLINE):
        while await store.workers():  # noqa: ASYNC110 # others' leases have no event
            await asyncio.sleep(0.02)
    return time.time()


async def test_a_dead_worker_s_lease_ends_for_the_others(join: Join) -> None:
    dead, other = await join(), await join()
    await dead.register(lease := worker())
    assert await other.workers() == [lease]
    assert await gone(other) >= lease.lease_until


async def test_a_dead_worker_s_lease_fences_its_writes(join: Join) -> None:
    dead, other = await join(), await join()
    await dead.register(worker())
    _, stored = await other.claim(make_record(), b"")
    sending = request.begin_send(stored.record, "w1", NOW, 120)
    await gone(other)
    assert await other.swap(stored.record, sending, worker="w1") is None
    assert await dead.swap(stored.record, sending, worker="w1") is None


async def test_another_process_s_lease_counts(join: Join) -> None:
    living, other = await join(), await join()
    await living.register(worker(60))
    _, stored = await other.claim(make_record(), b"")
    assert await other.swap(stored.record, stored.record, worker="w1") is not None


async def test_a_lease_that_is_kept_alive_outlives_its_time(join: Join) -> None:
    living, other = await join(), await join()
    await living.register(lease := worker())
    until = lease.lease_until
    while time.time() < lease.lease_until + SECONDS:
        until = time.time() + SECONDS
        assert await living.keep_alive("w1", until)
        [seen] = await other.workers()
        assert seen.lease_until == until
        await asyncio.sleep(SECONDS / 5)
    assert await gone(other) >= until


async def test_a_lease_can_be_prolonged_beyond_what_it_was_granted_for(join: Join) -> None:
    living, other = await join(), await join()
    await living.register(lease := worker())
    until = time.time() + 60
    assert await living.keep_alive("w1", until)
    await asyncio.sleep(max(0.0, lease.lease_until + SECONDS - time.time()))
    assert [seen.lease_until for seen in await other.workers()] == [until]


async def test_a_worker_that_was_paused_too_long_finds_its_lease_ended(join: Join) -> None:
    paused, other = await join(), await join()
    await paused.register(worker())
    await gone(other)
    assert not await paused.keep_alive("w1", time.time() + SECONDS)
    assert not await paused.keep_alive("w1", time.time() + SECONDS)
    assert await other.workers() == []


async def test_a_lease_that_others_ended_is_not_kept_alive(join: Join) -> None:
    living, other = await join(), await join()
    await living.register(worker(60))
    await other.retire("w1")
    assert await other.workers() == []
    assert not await living.keep_alive("w1", time.time() + 60)


async def test_whoever_finds_its_own_time_past_tells_the_others(join: Join) -> None:
    living, other = await join(), await join()
    await living.register(worker(60))
    assert await living.keep_alive("w1", time.time())
    assert not await living.keep_alive("w1", time.time() + 60)
    assert await other.workers() == []


async def test_a_dead_worker_s_end_is_heard_by_the_others(join: Join) -> None:
    dead, other = await join(), await join()
    heard: asyncio.Queue[str] = asyncio.Queue()
    other.on_departure(heard.put_nowait)
    await dead.register(lease := worker())
    async with asyncio.timeout(DEADLINE):
        assert await heard.get() == "w1"
    assert time.time() >= lease.lease_until
    assert await other.workers() == []


async def test_a_dead_leader_is_followed(join: Join) -> None:
    dead, other = await join(), await join()
    await dead.register(worker())
    await other.register(Worker("w2", "host2", 1, time.time() + 60))
    assert await dead.lead("w1")
    assert not await other.lead("w2")
    async with asyncio.timeout(DEADLINE):
        while not await other.lead("w2"):  # noqa: ASYNC110 # etcd's clock has no event
            await asyncio.sleep(0.02)
    assert not await dead.lead("w1")


async def test_only_what_a_dead_worker_had_is_taken_over(join: Join) -> None:
    first, other = await join(), await join()
    await first.register(worker())
    await other.register(Worker("w2", "host2", 1, time.time() + 60))
    _, stored = await other.claim(make_record(), b"")
    sending = request.begin_send(stored.record, "w1", NOW, 120)
    standing = await first.swap(stored.record, sending, worker="w1")
    assert standing is not None
    taken = request.take_over(standing, "w2")
    assert await other.swap(standing, taken, worker="w2", gone="w1") is None
    async with asyncio.timeout(DEADLINE):
        while any(each.id == "w1" for each in await other.workers()):  # noqa: ASYNC110 # no event
            await asyncio.sleep(0.02)
    assert await other.swap(standing, taken, worker="w2", gone="w1") is not None
