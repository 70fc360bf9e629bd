"""Completions from etcd: each once, whatever breaks the watch; none invented."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dedupd import request
from dedupd.ports import Stored
from dedupd.request import Record
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.etcd_stubs import rpc
from tests.contract.stores import NOW, ORIGIN, make_record, request_id
from tests.integration.etcd_server import EtcdServer
from tests.integration.proxy import Mode, Proxy, proxy_before

DEADLINE = 20.0


class Events:
    def __init__(self) -> None:
        self.ids: list[str] = []
        self._news = asyncio.Event()

    def hear(self, event: Stored) -> None:
        self.ids.append(event.record.id)
        self._news.set()

    async def until(self, *numbers: int) -> None:
        """These have been heard, and nothing else."""
        expected = sorted(map(request_id, numbers))
        async with asyncio.timeout(DEADLINE):
            while len(self.ids) < len(expected):
                self._news.clear()
                await self._news.wait()
        assert sorted(self.ids) == expected

    async def first(self, number: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while request_id(number) not in self.ids:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path) as server:
        yield server


@pytest.fixture
async def proxy(server: EtcdServer) -> AsyncIterator[Proxy]:
    async with proxy_before(server.endpoints[0]) as proxy:
        yield proxy


@pytest.fixture
async def front(proxy: Proxy) -> AsyncIterator[EtcdStore]:
    """Hears through the proxy."""
    store = EtcdStore(Cluster((proxy.endpoint,)), prefix="/d/", origin=ORIGIN)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def worker(server: EtcdServer) -> AsyncIterator[EtcdStore]:
    """Completes past the proxy."""
    store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def events(front: EtcdStore, worker: EtcdStore) -> Events:
    """Already listening."""
    events = Events()
    front.on_completion(events.hear)
    await complete(worker, 1)
    await events.until(1)
    return events


async def complete(store: EtcdStore, number: int) -> Record:
    _, stored = await store.claim(make_record(number), b"payload")
    done = request.finish(stored.record, NOW, status=202, resource=None, keep=60)
    written = await store.swap(stored.record, done, result=b"answer")
    assert written is not None
    return written


async def compact(store: EtcdStore) -> None:
    request = rpc.CompactionRequest(revision=store._cluster.revision, physical=True)
    await store._cluster.ask("KV", "Compact", request)


async def test_another_process_hears(events: Events, worker: EtcdStore) -> None:
    await asyncio.gather(*(complete(worker, number) for number in range(2, 300)))
    await events.until(*range(1, 300))


async def test_later_writes_are_no_completions(events: Events, worker: EtcdStore) -> None:
    record = await complete(worker, 2)
    buried = await worker.swap(record, request.bury(record, NOW, keep=60))
    assert buried is not None
    assert await worker.forget(buried)
    await complete(worker, 3)
    await events.until(1, 2, 3)


async def test_an_id_that_is_claimed_again_ends_again(events: Events, worker: EtcdStore) -> None:
    _, stored = await worker.claim(make_record(2), b"")
    released = request.release(stored.record, NOW, status=429, keep=60)
    assert await worker.swap(stored.record, released) is not None
    await complete(worker, 2)
    await events.until(1, 2, 2)


async def test_what_ends_while_the_watch_is_broken_is_heard(
    events: Events, worker: EtcdStore, proxy: Proxy
) -> None:
    proxy.lose(Mode.LOSE_ANSWERS)
    await asyncio.gather(*(complete(worker, number) for number in range(2, 50)))
    await proxy.lost.wait()
    proxy.cut()
    await complete(worker, 50)
    await events.until(*range(1, 51))


async def test_it_goes_on_after_a_restart(
    events: Events, worker: EtcdStore, server: EtcdServer
) -> None:
    await complete(worker, 2)
    server.members[0].kill()
    server.restart()
    await complete(worker, 3)
    await events.until(1, 2, 3)


async def test_it_goes_on_after_a_compaction_that_it_missed(
    events: Events,
    worker: EtcdStore,
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy.lose(Mode.LOSE_ANSWERS)
    await complete(worker, 2)
    await complete(worker, 3)
    await compact(worker)
    await proxy.lost.wait()
    proxy.cut()
    async with asyncio.timeout(DEADLINE):
        while "has compacted revisions" not in caplog.text:  # noqa: ASYNC110 # no event
            await asyncio.sleep(0.01)
    await complete(worker, 4)
    await events.first(4)
    assert request_id(2) not in events.ids, "it is gone; a waiter's own poll finds it"


async def test_a_compaction_of_what_was_heard_disturbs_nothing(
    events: Events, worker: EtcdStore, proxy: Proxy
) -> None:
    await complete(worker, 2)
    await events.until(1, 2)
    await compact(worker)
    proxy.cut()
    await complete(worker, 3)
    await events.until(1, 2, 3)


async def test_nothing_is_heard_after_close(events: Events, server: EtcdServer) -> None:
    store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
    await store.open()
    also = Events()
    store.on_completion(also.hear)
    await complete(store, 2)
    await also.until(2)
    await store.close()
    other = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
    await other.open()
    await complete(other, 3)
    await events.until(1, 2, 3)
    await also.until(2)
    await other.close()


async def test_what_is_not_ours_is_passed_over(
    events: Events, worker: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    put = rpc.PutRequest(key=b"/d/requests/strange", value=b"no head")
    await worker._cluster.ask("KV", "Put", put)
    await complete(worker, 2)
    await events.until(1, 2)
    assert "/d/requests/strange" in caplog.text


async def test_an_outage_is_said_once_and_then_heard_through(
    events: Events, server: EtcdServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.members[0].kill()
    async with asyncio.timeout(DEADLINE):
        while "not heard for now" not in caplog.text:  # noqa: ASYNC110 # no event
            await asyncio.sleep(0.01)
    await asyncio.to_thread(server.restart)
    store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
    await store.open()
    await complete(store, 2)
    await events.until(1, 2)
    await store.close()
    assert caplog.text.count("not heard for now") == 1


async def test_it_moves_with_the_store_to_a_member_that_answers(tmp_path: Path) -> None:
    with EtcdServer(tmp_path, members=3) as server:
        front = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
        await front.open()
        events = Events()
        front.on_completion(events.hear)
        await complete(front, 1)
        await events.until(1)
        used = server.members[front._cluster.current]
        used.pause()
        others = tuple(member.endpoint for member in server.members if member is not used)
        worker = EtcdStore(Cluster(others), prefix="/d/", origin=ORIGIN)
        await worker.open()
        await complete(worker, 2)
        await front.depth()
        await complete(worker, 3)
        await events.until(1, 2, 3)
        used.resume()
        for store in (front, worker):
            await store.close()
