"""etcd and RabbitMQ die, hang, or lose all under load: nothing is made twice, lost, or differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from dedupd.ports import Store
from dedupd.request import State
from tests.integration.load import SLOW, USER
from tests.integration.scene import OUTAGE_SECONDS, SETTINGS, Scene, found, opened, progress
from tests.integration.simulated import Simulated
from tests.integration.site import Engines, Service, Site

pytestmark = pytest.mark.timeout(240)

ORDERS = 3
"""How many are placed on each front while nothing can be done."""


@pytest.fixture(scope="module")
def _scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("site")
    with (
        Engines(tmp_path_factory.mktemp("engines"), members=3) as engines,
        Simulated(7) as nova,
        Site(directory, engines, nova.url, SETTINGS, measured=False) as site,
    ):
        site.start(fronts=2, workers=2)
        yield Scene(site, nova)


@pytest.fixture
def scene(_scene: Scene) -> Iterator[Scene]:
    """All of it runs, before and after."""
    yield _scene
    _scene.site.engines.restore()
    _scene.site.restore()


@pytest.mark.parametrize(("which", "way"), [(0, "kill"), (0, "pause"), (1, "kill")])
async def test_a_member_of_etcd_dies_or_hangs(scene: Scene, which: int, way: str) -> None:
    """0 is the leader."""
    etcd = scene.site.engines.etcd
    async with scene.under_load() as fleet:
        leader = await asyncio.to_thread(etcd.leader)
        members = sorted(etcd.members, key=lambda member: member is not leader)
        await asyncio.to_thread(getattr(members[which], way))
        await progress(fleet)
        await asyncio.to_thread(etcd.restore)


async def test_all_of_etcd_is_restarted(scene: Scene) -> None:
    etcd = scene.site.engines.etcd
    async with scene.under_load():
        for member in etcd.members:
            await asyncio.to_thread(member.kill)
        await asyncio.to_thread(etcd.restore)


@pytest.mark.parametrize("way", ["kill", "pause"])
async def test_etcd_has_no_majority(scene: Scene, way: str) -> None:
    etcd = scene.site.engines.etcd
    async with scene.under_load(SLOW):
        for member in etcd.members[:2]:
            await asyncio.to_thread(getattr(member, way))
        names = await nothing_is_done(scene, f"majority-{way}")
        await asyncio.to_thread(etcd.restore)
    await all_goes_on(scene, names)


@pytest.mark.parametrize("way", ["kill", "pause"])
async def test_rabbitmq_dies_or_hangs(scene: Scene, way: str) -> None:
    rabbitmq = scene.site.engines.rabbitmq
    async with scene.under_load(SLOW):
        await asyncio.to_thread(getattr(rabbitmq, way))
        names = await nothing_is_done(scene, f"rabbitmq-{way}")
        await asyncio.to_thread(rabbitmq.restore)
    assert not any(map(scene.made, names)), "it was withdrawn"
    await all_goes_on(scene, names)


async def test_rabbitmq_hangs_and_etcd_too_before_that_is_noticed(scene: Scene) -> None:
    """A request has been stored by then, and can be neither published nor withdrawn."""
    engines = scene.site.engines
    async with scene.under_load(SLOW):
        await asyncio.to_thread(engines.rabbitmq.pause)
        paused_at = time.time()
        refusing = asyncio.create_task(nothing_is_done(scene, "both"))
        async with opened(scene.site) as store:
            await found(lambda: any_waits(store, paused_at))
        for member in engines.etcd.members[:2]:
            member.pause()  # at once: the threads all wait for answers
        names = await refusing
        await asyncio.to_thread(engines.restore)
    await all_goes_on(scene, names)


async def test_rabbitmq_loses_all(scene: Scene) -> None:
    async with scene.under_load():
        await asyncio.to_thread(scene.site.engines.rabbitmq.wipe)


async def nothing_is_done(scene: Scene, series: str) -> list[str]:
    """Every front refuses orders in time, and hands on what has no token; the orders' names."""
    orders = {
        f"{series}-{number}-{turn}": front
        for number, front in enumerate(scene.site.fronts)
        for turn in range(ORDERS)
    }
    refusing = [asyncio.to_thread(is_refused, scene, *order) for order in orders.items()]
    passing = [asyncio.to_thread(passes, front) for front in scene.site.fronts]
    assert all(await asyncio.gather(*refusing, *passing))
    assert not any(map(scene.made, orders))
    return list(orders)


async def any_waits(store: Store, since: float) -> bool:
    """Whether a request is stored that was claimed since, as it is until its front withdraws it."""
    pending = await store.pending(1000)
    return any(record.state is State.QUEUED and record.created_at >= since for record in pending)


def is_refused(scene: Scene, name: str, front: Service) -> bool:
    answer = scene.order(front, name, OUTAGE_SECONDS)
    return answer.status == 503 and int(answer.header("Retry-After") or 0) > 0


def passes(front: Service) -> bool:
    return front.call("GET", "/v2.1/servers", token=USER, seconds=OUTAGE_SECONDS).status == 200


async def all_goes_on(scene: Scene, names: list[str]) -> None:
    """What was refused can be ordered again, on any front, and is made once."""
    fronts = scene.site.fronts * len(names)
    pairs = zip(fronts, names, strict=False)
    ordering = [asyncio.to_thread(scene.order_for_good, *pair) for pair in pairs]
    answers = await asyncio.gather(*ordering)
    assert [answer.status for answer in answers] == [202] * len(names)
    assert [len(scene.made(name)) for name in names] == [1] * len(names)
