"""Values in etcd that dedupd cannot read: they are named, and nothing else suffers by them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from dedupd import request
from dedupd.ports import Query, StoreUnavailable, Worker
from dedupd.request import Record, State
from dedupd.store import etcd_keys
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_stubs import rpc
from tests.contract.stores import NOW, Clock, etcd_store, make_record

SPOILT = [b"garbage", etcd_keys.encode(make_record(), b"token", None)[:-1]]


@pytest.fixture
async def store() -> AsyncIterator[EtcdStore]:
    store = etcd_store(Clock(time.time()))
    await store.open()
    yield store
    await store.close()


async def standing(store: EtcdStore, number: int, state: State) -> Record:
    """A record in this state; a finished one is overdue at NOW + 60."""
    new, stored = await store.claim(make_record(number), b"payload")
    assert new
    record = stored.record
    if state is State.QUEUED:
        return record
    after = msgspec.structs.replace(record, state=state)
    if state is State.DONE:
        after = request.finish(record, NOW, status=202, resource=None, keep=60)
    written = await store.swap(record, after, result=b"answer")
    assert written is not None
    return written


async def spoil(store: EtcdStore, key: bytes, value: bytes = b"garbage") -> str:
    """Put what is none of dedupd's values there; the key, as a log names it."""
    await store._cluster.ask("KV", "Put", rpc.PutRequest(key=key, value=value))
    return key.decode()


@pytest.mark.parametrize("value", SPOILT)
@pytest.mark.parametrize("state", [State.QUEUED, State.UNKNOWN])
async def test_a_sweep_passes_over_what_it_cannot_read(
    store: EtcdStore, caplog: pytest.LogCaptureFixture, state: State, value: bytes
) -> None:
    bad, good = [await standing(store, number, state) for number in (1, 2)]
    key = await spoil(store, store._keys.head(bad), value)
    assert await store.pending(10) == [good]
    assert key in caplog.text
    assert (await store.depth()).total == 2


async def test_what_is_overdue_is_found_beside_what_cannot_be_read(
    store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = [await standing(store, number, State.DONE) for number in (1, 2)]
    key = await spoil(store, store._keys.head(bad))
    assert await store.overdue(NOW + 60, 10) == [good]
    assert key in caplog.text


@pytest.mark.parametrize("state", [State.QUEUED, State.DONE])
async def test_a_listing_passes_over_what_it_cannot_read(
    store: EtcdStore, caplog: pytest.LogCaptureFixture, state: State
) -> None:
    bad, good = [await standing(store, number, state) for number in (1, 2)]
    key = await spoil(store, store._keys.head(bad))
    assert await store.find(Query()) == [good]
    assert await store.find(Query(states=frozenset({state}))) == [good]
    assert key in caplog.text


async def test_a_worker_whose_lease_cannot_be_read_is_passed_over(
    store: EtcdStore, caplog: pytest.LogCaptureFixture
) -> None:
    good = Worker("w2", "host", 1, time.time() + 60)
    await store.register(good)
    key = await spoil(store, store._keys.worker("w1"))
    assert await store.workers() == [good]
    assert key in caplog.text


async def test_nothing_is_taken_from_a_worker_whose_lease_cannot_be_read(store: EtcdStore) -> None:
    queued = await standing(store, 1, State.QUEUED)
    theirs = await store.swap(queued, request.begin_send(queued, "w1", NOW, 120))
    assert theirs is not None
    await spoil(store, store._keys.worker("w1"))
    assert await store.swap(theirs, request.take_over(theirs, "w2"), gone="w1") is None


@pytest.mark.parametrize("state", [State.QUEUED, State.UNKNOWN, State.DONE])
async def test_a_record_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(
    store: EtcdStore, state: State
) -> None:
    bad, good = [await standing(store, number, state) for number in (1, 2)]
    key = await spoil(store, store._keys.head(bad))
    for ids in ([bad.id], [good.id, bad.id]):
        with pytest.raises(StoreUnavailable, match=key):
            await store.read(ids)
    with pytest.raises(StoreUnavailable, match=key):
        await store.claim(make_record(1, birth="b2"), b"payload")
    assert list(await store.read([good.id])) == [good.id]


@pytest.mark.parametrize("state", [State.QUEUED, State.UNKNOWN, State.DONE])
async def test_a_token_is_new_when_what_could_not_be_read_is_deleted(
    store: EtcdStore, state: State
) -> None:
    bad = await standing(store, 1, state)
    await spoil(store, store._keys.head(bad))
    pending = store._keys.pending_of(bad.id)
    for key, end in ((pending, etcd_keys.end_of(pending)), (store._keys.request(bad.id), b"")):
        deletion = rpc.DeleteRangeRequest(key=key, range_end=end)
        await store._cluster.ask("KV", "DeleteRange", deletion)
    new, stored = await store.claim(make_record(1, birth="b2"), b"payload")
    assert new
    assert await store.find(Query()) == await store.pending(10) == [stored.record]


async def test_an_answer_that_cannot_be_read_is_not_written_over(store: EtcdStore) -> None:
    bad = await standing(store, 1, State.DONE)
    key = await spoil(store, store._keys.head(bad))
    with pytest.raises(StoreUnavailable, match=key):
        await store.swap(bad, bad)
    assert not await store.forget(bad)
