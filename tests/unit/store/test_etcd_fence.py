"""A claim that was sent twice does not come back when its record is gone."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from dedupd import request
from dedupd.ports import StoreUnavailable
from dedupd.request import Record
from dedupd.store import etcd_fence, etcd_requests
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import IN_DOUBT, Cluster
from tests.contract.stores import ETCD, ORIGIN, make_record


class Doubting(Cluster):
    """Notes its batches; while ``doubts``, an earlier try at each may still be on its way."""

    doubts = False
    fails = False

    def __init__(self, endpoints: tuple[str, ...]) -> None:
        super().__init__(endpoints)
        self.sent: list[Any] = []

    async def ask(
        self,
        service: str,
        method: str,
        request: Any,
        deadline: float | None = None,
        late: str = IN_DOUBT,
    ) -> tuple[Any, bool]:
        if self.fails:
            raise StoreUnavailable("It does not answer.")
        answer, doubtful = await super().ask(service, method, request, deadline, late)
        if method == "Txn" and any(each.HasField("request_txn") for each in request.success):
            self.sent.append(request)
            return answer, doubtful or self.doubts
        return answer, doubtful

    async def send_again(self) -> None:
        """The copies arrive of all that was sent."""
        for each in [*self.sent]:
            await super().ask("KV", "Txn", each)


class Opened:
    """A store on a cluster that doubts."""

    def __init__(self) -> None:
        self.cluster = Doubting(ETCD.cluster().endpoints)
        prefix = f"/{secrets.token_hex(8)}/v1/"
        self.store = EtcdStore(self.cluster, prefix=prefix, origin=ORIGIN)

    async def claim(self, number: int) -> Record:
        birth = secrets.token_hex(8)
        record = msgspec.structs.replace(make_record(number), birth=birth)
        new, stored = await self.store.claim(record, b"payload")
        assert new
        return stored.record

    async def stands(self, record: Record) -> bool:
        return record.id in await self.store.read([record.id])

    async def fences(self) -> int:
        keys = self.store._keys.all_fences  # nobody else wants to know
        return len(await self.store._ranges.below(keys))


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    opened = Opened()
    await opened.store.open()
    yield opened
    opened.cluster.fails = opened.cluster.doubts = False
    await opened.store.close()


async def in_doubt(opened: Opened, number: int) -> Record:
    """A claim that stands, and of which another copy is on its way."""
    await opened.claim(number + 1)  # so that there is a fence
    opened.cluster.sent.clear()
    opened.cluster.doubts = True
    record = await opened.claim(number)
    opened.cluster.doubts = False
    return record


async def test_a_withdrawn_claim_does_not_come_back(opened: Opened) -> None:
    record = await in_doubt(opened, 0)
    assert await opened.store.forget(record)
    await opened.cluster.send_again()
    assert not await opened.stands(record)


async def test_nor_one_in_the_place_of_what_was_released(opened: Opened) -> None:
    first = await opened.claim(0)
    sending = request.begin_send(first, "w", 0.0, 1.0)
    sent = await opened.store.swap(first, sending)
    assert sent
    released = request.release(sent, 1.0, status=403, keep=60.0)
    ended = await opened.store.swap(sent, released, result=b"no")
    assert ended
    record = await in_doubt(opened, 0)
    assert await opened.store.forget(record)
    await opened.cluster.send_again()
    assert not await opened.stands(record)


async def test_nor_one_whose_caller_was_left_in_doubt(opened: Opened) -> None:
    """It may be there or not until the process claims again."""
    await opened.claim(1)
    opened.cluster.sent.clear()
    record = await opened.claim(0)
    copies = [*opened.cluster.sent]
    assert await opened.store.forget(record)
    opened.cluster.fails = True
    with pytest.raises(StoreUnavailable) as caught:
        await opened.store.claim(make_record(0), b"payload")
    assert caught.value.in_doubt
    opened.cluster.fails = False
    await opened.claim(2)
    opened.cluster.sent[:] = copies
    await opened.cluster.send_again()
    assert not await opened.stands(record)


async def test_where_the_fence_cannot_be_torn_down_nobody_is_told_that_it_stands(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened.claim(1)
    opened.cluster.doubts = True
    tear_down = etcd_fence.Fence.clear

    async def fails(fence: etcd_fence.Fence) -> None:
        opened.cluster.fails = True
        await tear_down(fence)

    monkeypatch.setattr(etcd_fence.Fence, "clear", fails)
    with pytest.raises(StoreUnavailable) as caught:
        await opened.store.claim(make_record(0), b"payload")
    assert caught.value.in_doubt


async def test_one_fence_serves_many_claims(opened: Opened) -> None:
    for number in range(3):
        await opened.claim(number)
    assert await opened.fences() == 1


async def test_one_that_has_been_used_for_long_is_replaced(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_fence, "USED_SECONDS", 0.0)
    before = [await opened.claim(number) for number in range(3)]
    assert await opened.fences() == 1
    await opened.store.forget(before[0])
    await opened.cluster.send_again()
    assert not await opened.stands(before[0])


async def test_one_that_somebody_has_deleted_is_replaced(opened: Opened) -> None:
    first = await opened.claim(0)
    fence = await opened.store._fence.standing()
    await opened.store._fence._carry_out([etcd_requests.delete(fence)])
    assert await opened.fences() == 0
    await opened.claim(1)
    assert await opened.fences() == 1
    assert await opened.stands(first)
