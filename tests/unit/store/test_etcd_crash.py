"""kill -9 of etcd under load: what was acknowledged is there, what was not is whole or absent."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupd import request
from dedupd.ports import StoreUnavailable
from dedupd.request import Record, State
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import Cluster
from tests.contract.stores import NOW, ORIGIN, make_record
from tests.integration.etcd_server import EtcdServer

KILLS = 5
WRITERS = 32
PATIENCE = 60.0


class Load:
    """Writers that take request after request through its life, and what they were told."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self._running = True
        self.acknowledged: dict[str, Record] = {}
        self.attempted: set[str] = set()
        self.failures = 0

    async def writer(self, number: int) -> None:
        while self._running:
            try:
                await self._life(make_record(number))
            except StoreUnavailable:
                self.failures += 1
            number += WRITERS

    def stop(self) -> None:
        self._running = False

    async def _life(self, record: Record) -> None:
        self.attempted.add(record.id)
        new, stored = await self._store.claim(record, b"payload")
        assert new, "nobody else claims it"
        self.acknowledged[record.id] = stored.record
        sending = request.begin_send(stored.record, "w1", NOW, 120)
        await self._step(sending, None)
        done = request.finish(self.acknowledged[record.id], NOW, status=202, resource=None, keep=60)
        await self._step(done, b"answer")

    async def _step(self, after: Record, result: bytes | None) -> None:
        before = self.acknowledged[after.id]
        written = await self._store.swap(before, after, result=result)
        assert written is not None, "nobody else writes it"
        self.acknowledged[after.id] = written


@pytest.fixture(params=[1, 3])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path, members=request.param) as server:
        yield server


async def test_nothing_acknowledged_is_lost(server: EtcdServer) -> None:
    store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
    await store.open()
    load = Load(store)
    writers = [asyncio.create_task(load.writer(number)) for number in range(WRITERS)]
    async with asyncio.timeout(PATIENCE):
        for kill in range(KILLS):
            await progress(load)
            member = server.members[kill % len(server.members)]
            member.kill()
            await asyncio.to_thread(server.restart, [member])
        await progress(load)
        load.stop()
        await asyncio.gather(*writers)
    await verify(store, load)
    await store.close()


async def progress(load: Load) -> None:
    """Some hundred requests more, then a random moment."""
    enough = len(load.acknowledged) + 300
    while len(load.acknowledged) < enough:  # noqa: ASYNC110 # others count
        await asyncio.sleep(0.005)
    await asyncio.sleep(random.random() / 20)  # noqa: S311 # no secret


async def verify(store: EtcdStore, load: Load) -> None:
    found = await store.read(sorted(load.attempted))
    for id_, record in load.acknowledged.items():
        stored = found[id_]
        assert stored.record.version >= record.version
        assert stored.record.state >= record.state
        if stored.record.version == record.version:
            assert stored.record == record
    for stored in found.values():
        assert (stored.payload is None) == (stored.record.state is State.DONE)
        assert stored.result == (b"answer" if stored.record.state is State.DONE else None)
    pending = {record.id for record in await store.pending(10**6)}
    assert pending == {id_ for id_, stored in found.items() if stored.record.state.pending}
    assert len(pending) <= load.failures
    overdue = {record.id for record in await store.overdue(NOW + 60, 10**6)}
    assert overdue == found.keys() - pending
