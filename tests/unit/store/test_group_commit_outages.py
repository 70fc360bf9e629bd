"""Group commit while etcd does not answer, in virtual time: who hears what, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from grpc import StatusCode

from dedupd.ports import StoreUnavailable
from dedupd.store import etcd_requests
from dedupd.store.etcd_cluster import (
    ATTEMPT_SECONDS,
    IN_DOUBT,
    LATE,
    OPERATION_SECONDS,
    Cluster,
    Doubtful,
    Refused,
)
from dedupd.store.etcd_stubs import rpc
from dedupd.store.group_commit import READS, WRITES, GroupCommit, Part

VIRTUAL_TIME = True


def answered(request: Any, *, succeeded: bool = True) -> Any:
    """What etcd answers to a batch whose operations have all ``succeeded``, or none."""
    answer = {"response_txn": {"succeeded": succeeded}}
    return rpc.TxnResponse(responses=[answer for _ in request.success])


class Paused(Cluster):
    """Hears nobody until it goes on."""

    def __init__(self) -> None:
        super().__init__(("etcd:2379",))
        self.goes_on = asyncio.Event()

    async def _attempt(self, service: str, method: str, request: Any, deadline: float) -> Any:
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(ATTEMPT_SECONDS, remaining)):
                await self.goes_on.wait()
        except TimeoutError:
            raise Doubtful("It does not answer.") from None
        return answered(request)


def run(group: GroupCommit, subject: str) -> asyncio.Future[Part]:
    """A put of a key of its own."""
    put = etcd_requests.put(subject.encode(), b"")
    return group.run(subject, etcd_requests.transaction([], [put]))


@pytest.fixture
def cluster() -> Paused:
    return Paused()


@pytest.fixture
def group(cluster: Paused) -> GroupCommit:
    return GroupCommit(cluster, WRITES, OPERATION_SECONDS)


async def until(seconds: float) -> None:
    """Let time pass until then, by the loop's clock, which begins at 0."""
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())


async def heard_at(part: asyncio.Future[Part]) -> float:
    """When a caller heard that nobody can tell."""
    with pytest.raises(StoreUnavailable, match="nobody can tell"):
        await part
    return asyncio.get_running_loop().time()


async def test_who_came_late_in_an_outage_does_not_fail_with_who_came_first(
    group: GroupCommit, cluster: Paused
) -> None:
    under_way = asyncio.create_task(heard_at(run(group, "under way")))
    await until(0.1)
    old = asyncio.create_task(heard_at(run(group, "old")))
    await until(3.9)
    late = [run(group, f"late {number}") for number in range(10)]
    await until(4.3)
    assert await under_way == pytest.approx(OPERATION_SECONDS)
    assert await old == pytest.approx(0.1 + OPERATION_SECONDS)
    cluster.goes_on.set()
    assert all(part.succeeded for part in await asyncio.gather(*late))


async def test_in_one_batch_each_hears_of_an_outage_at_its_own_deadline(
    group: GroupCommit,
) -> None:
    begins = [0.0, 1.0, 2.0, 3.5]
    callers: list[asyncio.Task[float]] = []
    for number, begin in enumerate(begins):
        await until(begin)
        callers.append(asyncio.create_task(heard_at(run(group, str(number)))))
    heard = await asyncio.gather(*callers)
    assert heard == pytest.approx([begin + OPERATION_SECONDS for begin in begins])
    await group.finish()


async def test_of_a_read_that_is_late_nobody_is_in_doubt(cluster: Paused) -> None:
    """And callers are not told where etcd is."""
    looks = etcd_requests.transaction([], [etcd_requests.get(b"k")])
    with pytest.raises(StoreUnavailable, match="etcd:2379 did not answer") as caught:
        await GroupCommit(cluster, READS, OPERATION_SECONDS).run(None, looks)
    assert caught.value.message == "The etcd cluster did not answer in time."


@pytest.mark.parametrize("late", [LATE, IN_DOUBT])
async def test_what_is_asked_by_itself_says_what_it_is_told_to(cluster: Paused, late: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await cluster.ask("KV", "Range", rpc.RangeRequest(key=b"k"), late=late)
    assert caught.value.message == f"The etcd cluster{late}."


LOST, FULL, BAD = "lost", "full", "bad"

FAULTS: dict[str, Callable[[], StoreUnavailable]] = {
    LOST: lambda: Doubtful("Its answer is lost."),
    FULL: lambda: Refused(
        "Full.", code=StatusCode.RESOURCE_EXHAUSTED, details="mvcc: database space exceeded"
    ),
    BAD: lambda: Refused("Bad.", code=StatusCode.NOT_FOUND, details="requested lease not found"),
}


class Faulty(Cluster):
    """Fails the first attempts so, and finds the compares of all others unfulfilled."""

    def __init__(self, *faults: str) -> None:
        super().__init__(("etcd:2379",))
        self._faults = list(faults)

    async def _attempt(self, service: str, method: str, request: Any, deadline: float) -> Any:
        if self._faults:
            fault = FAULTS[self._faults.pop(0)]()
            raise fault
        return answered(request, succeeded=False)


def delete(group: GroupCommit, subject: str) -> asyncio.Future[Part]:
    deletion = etcd_requests.delete(subject.encode())
    return group.run(subject, etcd_requests.transaction([], [deletion]))


@pytest.mark.parametrize(
    ("faults", "doubtful"),
    [
        ([FULL], False),
        ([LOST, FULL], True),
        ([FULL, LOST], True),
        ([LOST, FULL, BAD], True),
    ],
)
async def test_what_goes_on_without_the_puts_that_etcd_has_no_room_for_stays_in_doubt(
    faults: Sequence[str], *, doubtful: bool
) -> None:
    group = GroupCommit(Faulty(*faults), WRITES, OPERATION_SECONDS)
    parts = [delete(group, "a"), delete(group, "b"), run(group, "put")]
    with pytest.raises(Refused, match="Full"):
        await parts[2]
    assert [(await part).doubtful for part in parts[:2]] == [doubtful] * 2


@pytest.mark.parametrize(
    ("faults", "doubtful"),
    [
        ([BAD], [False] * 4),
        ([LOST, BAD], [True] * 4),
        ([LOST, BAD, BAD], [True] * 4),
        ([BAD, LOST], [True, True, False, False]),
        ([BAD, LOST, BAD], [True, True, False, False]),
    ],
)
async def test_the_halves_of_a_batch_that_is_in_doubt_are_so_too(
    faults: Sequence[str], doubtful: list[bool]
) -> None:
    group = GroupCommit(Faulty(*faults), WRITES, OPERATION_SECONDS)
    parts = await asyncio.gather(*(run(group, str(number)) for number in range(4)))
    assert [part.doubtful for part in parts] == doubtful
