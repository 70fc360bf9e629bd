"""Workers and fronts are killed or paused under load: nothing is made twice, lost, or differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupd.request import Record, Verdict
from dedupd.store.etcd import EtcdStore
from tests.integration.fleet import Fleet
from tests.integration.load import SLOW, USER
from tests.integration.proxy import proxy_before
from tests.integration.scene import LEASE_SECONDS, SETTINGS, Scene, found, opened, progress, until
from tests.integration.simulated import Simulated
from tests.integration.site import Engines, Service, Site
from tests.integration.verdict import Effects

RECONCILED_SECONDS = LEASE_SECONDS + 5
"""Within this, after a worker's death, what it had sent has been looked up."""

WAKES = 10
POLL_SECONDS = 5.0
"""How often a front reads what is waited for, where nothing wakes it."""


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with Engines(tmp_path_factory.mktemp("engines")) as started:
        yield started


@pytest.fixture(scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("site")
    with (
        Simulated(7) as nova,
        Site(directory, engines, nova.url, SETTINGS, measured=False) as site,
    ):
        site.start(fronts=2, workers=2)
        yield Scene(site, nova)


@pytest.fixture
def scene(_scene: Scene) -> Iterator[Scene]:
    """All of it runs, before and after."""
    yield _scene
    _scene.site.restore()


async def id_of(store: EtcdStore, worker: Service) -> str:
    """The worker's present identity, once it has one."""

    async def look() -> str:
        return next((one.id for one in await store.workers() if one.pid == worker.pid), "")

    return await found(look)


async def until_gone(store: EtcdStore, worker_id: str) -> None:
    async def look() -> bool:
        return worker_id not in {living.id for living in await store.workers()}

    await found(look)


async def leader(site: Site, store: EtcdStore) -> Service:
    """The worker that leads, once a living one does."""

    async def look() -> Service | None:
        pair = await store._ranges.get(store._keys.leader)
        pids = [one.pid for one in await store.workers() if one.id == pair.value.decode()]
        return next((each for each in site.workers if each.pid in pids), None)

    leads = await found(look)
    assert leads
    return leads


async def owned(store: EtcdStore, worker_id: str) -> list[Record]:
    return [one for one in await store.pending(1000) if one.owner == worker_id]


def sent(scene: Scene, fleet: Fleet) -> set[str]:
    """The ids of the servers' requests that are open, though Nova has made what they ask for."""
    effects = Effects(scene.nova.ledger())
    projects = {order: (order.user or USER).partition(":")[2] for order in [*fleet.open]}
    return {
        scene.site.identify(order.client_token, project)
        for order, project in projects.items()
        if order.kind == "server" and all(effects.made("server", name) for name in order.names)
    }


async def killed(scene: Scene, store: EtcdStore, fleet: Fleet, victim: Service) -> list[Record]:
    """What a worker owned when it was killed: some of that has been sent, and made."""

    async def caught() -> list[Record]:
        victim_id = await id_of(store, victim)
        await asyncio.to_thread(victim.pause)
        owns = await owned(store, victim_id)
        made = await asyncio.to_thread(sent, scene, fleet)
        if made.isdisjoint(record.id for record in owns):
            victim.resume()
            return []
        victim.kill()
        return owns

    return await found(caught)


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
async def test_what_a_killed_worker_had_sent_is_reconciled_in_time(
    scene: Scene, leads: bool
) -> None:
    async with opened(scene.site) as store, scene.under_load(SLOW) as fleet:
        first = await leader(scene.site, store)
        victim = first if leads else next(w for w in scene.site.workers if w is not first)
        orphans = await killed(scene, store, fleet, victim)
        killed_at = time.time()
        ended = await ends(store, orphans)
    adopted = [one for one in ended if one.attempts[0].verdict is Verdict.ADOPTED]
    assert adopted
    for record in adopted:
        assert record.completed_at is not None
        assert record.completed_at - killed_at <= RECONCILED_SECONDS


async def ends(store: EtcdStore, records: list[Record]) -> list[Record]:
    """The records once nobody works on them: done, or unknown where there is no probe."""
    ids = [record.id for record in records]

    async def look() -> list[Record]:
        records = [stored.record for stored in (await store.read(ids)).values()]
        return [] if any(record.state.awaited for record in records) else records

    return await found(look)


async def test_a_worker_that_is_paused_past_its_lease_does_no_harm(scene: Scene) -> None:
    async with opened(scene.site) as store, scene.under_load(may_undo=True) as fleet:
        for worker in scene.site.workers:
            former = await id_of(store, worker)
            await asyncio.to_thread(worker.pause)
            await until_gone(store, former)
            await progress(fleet)
            worker.resume()
            assert await id_of(store, worker) != former


@pytest.fixture
def lonely(tmp_path: Path, engines: Engines, _scene: Scene) -> Iterator[Scene]:
    """One front so far, and no worker."""
    nova = _scene.nova
    nova.faults([])
    with Site(tmp_path, engines, nova.url, SETTINGS, measured=False) as site:
        site.start(fronts=1, workers=0)
        yield Scene(site, nova)


async def test_what_a_paused_worker_has_sent_too_late_is_undone(lonely: Scene) -> None:
    site, name = lonely.site, "undone"
    async with opened(site) as store, proxy_before(lonely.nova.address) as proxy:
        paused = site.add("worker", {"nova.endpoint": f"http://{proxy.endpoint}"})
        await asyncio.to_thread(paused.start)
        proxy.hold()
        ordering = asyncio.create_task(asyncio.to_thread(lonely.order, site.fronts[0], name))
        await proxy.lost.wait()
        former = await id_of(store, paused)
        await asyncio.to_thread(paused.pause)
        await until_gone(store, former)
        await asyncio.to_thread(site.start, fronts=0, workers=1)
        answer = await ordering
        assert answer.status == 202
        [kept] = await asyncio.to_thread(lonely.made, name)
        proxy.release()
        await until(lambda: len(lonely.made(name)) == 2)
        paused.resume()
        await until(lambda: lonely.made(name) == [kept])
        assert kept.encode() in answer.body
        assert paused.metric("dedupd_compensations_total") == 1


async def test_a_front_that_is_killed_or_paused_costs_nobody_an_answer(scene: Scene) -> None:
    async with scene.under_load() as fleet:
        paused, killed = scene.site.fronts
        await asyncio.to_thread(paused.pause)
        await progress(fleet)
        paused.resume()
        await progress(fleet)
        await asyncio.to_thread(killed.kill)
        await progress(fleet)
        await asyncio.to_thread(killed.start)


async def test_whoever_waits_on_any_front_is_woken(scene: Scene) -> None:
    scene.nova.faults(SLOW)
    began = time.monotonic()
    for number in range(WAKES):
        orders = [
            asyncio.to_thread(scene.order, front, f"woken-{number}") for front in scene.site.fronts
        ]
        one, other = await asyncio.gather(*orders)
        assert one.status == other.status == 202
        assert one.body == other.body
    assert time.monotonic() - began < WAKES * POLL_SECONDS / 2
    assert all(len(scene.made(f"woken-{number}")) == 1 for number in range(WAKES))
