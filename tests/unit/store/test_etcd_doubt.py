"""Answers that are lost: nobody knows what etcd did, until the store has found out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from dedupd import request
from dedupd.ports import Store, Stored, StoreUnavailable, Worker
from dedupd.request import Record, State
from dedupd.store import etcd_requests
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import LATE, Cluster, Late
from dedupd.store.group_commit import Part
from tests.contract.stores import ETCD, NOW, ORIGIN, make_record
from tests.integration.proxy import Mode, Proxy, proxy_before

DEADLINE = 10.0


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"/{request.node.name}/v1/"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with proxy_before(ETCD.cluster().endpoints[0]) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: Proxy, prefix: str) -> AsyncIterator[EtcdStore]:
    """Behind the proxy."""
    store = EtcdStore(Cluster((proxy.endpoint,)), prefix=prefix, origin=ORIGIN)
    await store.open()
    await store._fence.standing()  # so that what is lost concerns the claim itself
    yield store
    await store.close()


@pytest.fixture
async def direct(prefix: str) -> AsyncIterator[EtcdStore]:
    """On the same records, past the proxy."""
    direct = EtcdStore(ETCD.cluster(), prefix=prefix, origin=ORIGIN)
    await direct.open()
    yield direct
    await direct.close()


async def claimed(store: Store) -> Record:
    new, stored = await store.claim(make_record(), b"payload")
    assert new
    return stored.record


async def version_after(store: Store, version: int) -> Record | None:
    """What stands there once it is no longer of this version (0: once anything stands there)."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = (await store.read([make_record().id])).get(make_record().id)
            if found is None and version:
                return None
            if found is not None and found.record.version != version:
                return found.record


def sending(record: Record, worker: str = "w1") -> Record:
    return request.begin_send(record, worker, NOW, 120)


def done(record: Record) -> Record:
    return request.finish(record, NOW, status=202, resource=None, keep=60)


async def test_a_claim_whose_answer_is_lost(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    proxy.lose(Mode.LOSE_ANSWERS)
    claiming = asyncio.create_task(store.claim(make_record(), b"payload"))
    standing = await version_after(direct, 0)
    proxy.cut()
    new, stored = await claiming
    assert new
    assert stored.record == standing
    assert stored.payload == b"payload"


async def test_a_claim_whose_answer_is_lost_and_that_a_worker_has_taken(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    proxy.lose(Mode.LOSE_ANSWERS)
    claiming = asyncio.create_task(store.claim(make_record(), b"payload"))
    standing = await version_after(direct, 0)
    assert standing is not None
    assert await direct.swap(standing, sending(standing)) is not None
    proxy.cut()
    new, stored = await claiming
    assert new
    assert stored.record == standing
    assert not await store.forget(stored.record), "a worker has it"


async def test_a_claim_whose_answer_is_lost_and_that_has_ended(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    proxy.lose(Mode.LOSE_ANSWERS)
    claiming = asyncio.create_task(store.claim(make_record(), b"payload"))
    standing = await version_after(direct, 0)
    assert standing is not None
    assert await direct.swap(standing, done(standing), result=b"answer") is not None
    proxy.cut()
    new, stored = await claiming
    assert new
    assert not await store.forget(stored.record), "its effect is there"


async def test_a_claim_that_another_one_wins_meanwhile(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    proxy.lose(Mode.LOSE_REQUESTS)
    claiming = asyncio.create_task(store.claim(make_record(birth="b1"), b"ours"))
    await proxy.lost.wait()
    new, winner = await direct.claim(make_record(birth="b2"), b"theirs")
    assert new
    proxy.cut()
    assert await claiming == (False, winner)


async def test_a_request_that_is_lost_is_sent_again(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    proxy.lose(Mode.LOSE_REQUESTS)
    claiming = asyncio.create_task(store.claim(make_record(), b"payload"))
    await proxy.lost.wait()
    proxy.cut()
    new, stored = await claiming
    assert new
    assert (await direct.read([stored.record.id]))[stored.record.id] == stored


@pytest.mark.parametrize("state", [State.SENDING, State.DONE])
async def test_a_swap_whose_answer_is_lost(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy, state: State
) -> None:
    before = await claimed(store)
    after = sending(before) if state is State.SENDING else done(before)
    proxy.lose(Mode.LOSE_ANSWERS)
    swapping = asyncio.create_task(store.swap(before, after))
    standing = await version_after(direct, before.version)
    proxy.cut()
    written = await swapping
    assert written is not None
    assert written == standing
    assert msgspec.structs.replace(written, version=before.version) == after


async def test_a_swap_that_others_have_followed_is_left_to_its_caller(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    before = await claimed(store)
    proxy.lose(Mode.LOSE_ANSWERS)
    swapping = asyncio.create_task(store.swap(before, sending(before)))
    standing = await version_after(direct, before.version)
    assert standing is not None
    assert await direct.swap(standing, request.take_over(standing, "w2")) is not None
    proxy.cut()
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        await swapping


async def test_of_two_equal_swaps_only_one_is_told_to_have_won(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    before = await claimed(store)
    proxy.lose(Mode.LOSE_REQUESTS)
    swapping = asyncio.create_task(store.swap(before, before))
    await proxy.lost.wait()
    assert await direct.swap(before, before) is not None
    proxy.cut()
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        await swapping


async def test_a_swap_by_a_worker_whose_lease_has_ended_is_none_even_in_doubt(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    before = await claimed(store)
    proxy.lose(Mode.LOSE_REQUESTS)
    swapping = asyncio.create_task(store.swap(before, sending(before), worker="w1"))
    await proxy.lost.wait()
    proxy.cut()
    assert await swapping is None
    assert (await direct.read([before.id]))[before.id].record == before


@pytest.fixture
async def lease(direct: EtcdStore) -> AsyncIterator[None]:
    """A living worker; when it ended by itself, that would be a write in another test's time."""
    await direct.register(Worker("w1", "host", 1, time.time() + 60))
    yield
    await direct.retire("w1")


async def begun(store: Store, claim: Record) -> Stored | None:
    """What comes of a begin by a worker that knows no version."""
    heard = msgspec.structs.replace(claim, version=0)
    return await store.begin(heard, sending(heard), "w1")


Beginning = asyncio.Task[Stored | None]


async def lost_begin(store: EtcdStore, proxy: Proxy) -> tuple[Record, Beginning]:
    """A claim, and a begin of it that has got lost on its way to etcd."""
    claim = await claimed(store)
    proxy.lose(Mode.LOSE_REQUESTS)
    beginning = asyncio.create_task(begun(store, claim))
    await proxy.lost.wait()
    return claim, beginning


@pytest.mark.usefixtures("lease")
async def test_a_begin_whose_answer_is_lost(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim = await claimed(store)
    proxy.lose(Mode.LOSE_ANSWERS)
    beginning = asyncio.create_task(begun(store, claim))
    standing = await version_after(direct, claim.version)
    proxy.cut()
    assert await beginning == Stored(standing, b"payload")  # type: ignore[arg-type]
    assert standing is not None
    assert standing.state is State.SENDING


@pytest.mark.usefixtures("lease")
async def test_a_begin_that_is_lost_itself_is_sent_again(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim, beginning = await lost_begin(store, proxy)
    proxy.cut()
    assert await beginning == (await direct.read([claim.id]))[claim.id]


@pytest.mark.usefixtures("lease")
async def test_a_begin_that_others_have_followed_is_left_to_its_caller(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim = await claimed(store)
    proxy.lose(Mode.LOSE_ANSWERS)
    beginning = asyncio.create_task(begun(store, claim))
    standing = await version_after(direct, claim.version)
    assert standing is not None
    assert await direct.swap(standing, request.take_over(standing, "w2")) is not None
    proxy.cut()
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        await beginning


@pytest.mark.usefixtures("lease")
async def test_a_begin_does_not_take_another_s_for_its_own(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim, beginning = await lost_begin(store, proxy)
    assert await begun(direct, claim) is not None
    proxy.cut()
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        await beginning


@pytest.mark.usefixtures("lease")
async def test_a_begin_of_another_life_is_left_to_its_caller(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim, beginning = await lost_begin(store, proxy)
    assert await direct.forget(claim)
    new, _ = await direct.claim(make_record(birth="b2"), b"theirs")
    assert new
    proxy.cut()
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        await beginning


async def test_a_begin_by_a_worker_whose_lease_has_ended_is_none_even_in_doubt(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim, beginning = await lost_begin(store, proxy)
    proxy.cut()
    assert await beginning is None
    assert (await direct.read([claim.id]))[claim.id].record == claim


@pytest.mark.usefixtures("lease")
async def test_a_begin_that_nobody_answers_is_unavailable(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    claim = await claimed(store)
    proxy.lose(Mode.LOSE_REQUESTS)
    with pytest.raises(StoreUnavailable):
        await begun(store, claim)
    proxy.cut()
    assert (await direct.read([claim.id]))[claim.id].record == claim


@pytest.mark.usefixtures("lease")
async def test_without_a_payload_nothing_begins(direct: EtcdStore) -> None:
    claim = await claimed(direct)
    gone = etcd_requests.delete(direct._keys.payload(claim.id))
    removal = etcd_requests.message(etcd_requests.transaction([], [gone]))
    await direct._cluster.ask("KV", "Txn", removal)
    assert await direct.begin(claim, sending(claim), "w1") is None
    assert (await direct.read([claim.id]))[claim.id] == Stored(claim)


async def test_a_forget_whose_answer_is_lost(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    record = await claimed(store)
    proxy.lose(Mode.LOSE_ANSWERS)
    forgetting = asyncio.create_task(store.forget(record))
    assert await version_after(direct, record.version) is None
    proxy.cut()
    assert await forgetting


async def test_a_forget_that_came_too_late(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    record = await claimed(store)
    proxy.lose(Mode.LOSE_REQUESTS)
    forgetting = asyncio.create_task(store.forget(record))
    await proxy.lost.wait()
    assert await direct.swap(record, sending(record)) is not None
    proxy.cut()
    assert not await forgetting


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_write_in_doubt_that_cannot_be_looked_at_stays_in_doubt(
    store: EtcdStore,
    direct: EtcdStore,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    forgets: bool,
) -> None:
    """And its caller is told so, not only that a look was late."""

    async def late(_: object) -> list[Part]:
        raise Late.of(store._cluster.engine, LATE)

    before = await claimed(store)
    monkeypatch.setattr(store, "_looks", late)
    proxy.lose(Mode.LOSE_ANSWERS)
    writing = asyncio.create_task(
        store.forget(before) if forgets else store.swap(before, sending(before))
    )
    await version_after(direct, before.version)
    proxy.cut()
    with pytest.raises(StoreUnavailable, match="nobody can tell whether it was done"):
        await writing


async def test_many_at_once_whose_answers_are_lost_each_know_their_own(
    store: EtcdStore, direct: EtcdStore, proxy: Proxy
) -> None:
    before = [(await store.claim(make_record(n), b""))[1].record for n in range(150)]
    for record in before[::3]:
        assert await direct.swap(record, request.take_over(record, "w2")) is not None
    proxy.lose(Mode.LOSE_ANSWERS)
    swaps = [asyncio.create_task(store.swap(record, sending(record))) for record in before]
    await proxy.lost.wait()
    proxy.cut()
    answers = await asyncio.gather(*swaps, return_exceptions=True)
    standing = await direct.read([record.id for record in before])
    for number, (record, answer) in enumerate(zip(before, answers, strict=True)):
        if number % 3:
            assert answer == standing[record.id].record
        else:
            assert answer is None or isinstance(answer, StoreUnavailable)
