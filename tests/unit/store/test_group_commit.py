"""Group commit, on a real etcd."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dedupd.ports import StoreUnavailable
from dedupd.store import etcd_requests
from dedupd.store.etcd_cluster import Cluster, Late
from dedupd.store.etcd_requests import Transaction, found
from dedupd.store.etcd_stubs import rpc
from dedupd.store.group_commit import IN_FLIGHT, MAX_BYTES, READS, WRITES, GroupCommit
from tests.contract.stores import ETCD
from tests.integration.etcd_server import EtcdServer

DEADLINE = 10.0
NO_LEASE = 4711


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = ETCD.cluster()
    await cluster.open()
    yield cluster
    await cluster.close()


@pytest.fixture
def group(cluster: Cluster) -> GroupCommit:
    return GroupCommit(cluster, WRITES, DEADLINE)


@pytest.fixture
def prefix() -> str:
    return f"/{secrets.token_hex(8)}/"


def creation(key: str, value: bytes = b"", lease: int = 0) -> Transaction:
    name = key.encode()
    return etcd_requests.transaction(
        [etcd_requests.is_absent(name)],
        [etcd_requests.put(name, value, lease)],
        [etcd_requests.get(name)],
    )


async def revision(cluster: Cluster) -> int:
    await cluster.ask("KV", "Range", rpc.RangeRequest(key=b"any"))
    return cluster.revision


async def count(cluster: Cluster, prefix: str) -> int:
    below = rpc.RangeRequest(**etcd_requests.get_below(prefix.encode())["request_range"])
    answer, _ = await cluster.ask("KV", "Range", below)
    return int(answer.count)


async def test_what_comes_together_goes_together(
    group: GroupCommit, cluster: Cluster, prefix: str
) -> None:
    before = await revision(cluster)
    parts = await asyncio.gather(
        *(group.run(str(n), creation(f"{prefix}{n}")) for n in range(1000))
    )
    assert all(part.succeeded and not part.doubtful for part in parts)
    assert await count(cluster, prefix) == 1000
    assert await revision(cluster) - before == 1000 / WRITES.limit


async def test_one_alone_waits_for_nobody(group: GroupCommit, prefix: str) -> None:
    first = await group.run("a", creation(f"{prefix}a"))
    second = await group.run("b", creation(f"{prefix}b"))
    assert second.revision == first.revision + 1


async def test_what_comes_meanwhile_waits_until_a_further_batch_is_worth_it(
    group: GroupCommit, prefix: str
) -> None:
    first = group.run("first", creation(f"{prefix}first"))
    await asyncio.sleep(0)
    few = WRITES.limit // 2 - 1
    parts = await asyncio.gather(*(group.run(str(n), creation(f"{prefix}{n}")) for n in range(few)))
    assert {part.revision for part in parts} == {(await first).revision + 1}
    second = group.run("second", creation(f"{prefix}second"))
    await asyncio.sleep(0)
    many = [group.run(f"m{n}", creation(f"{prefix}m{n}")) for n in range(few + 1)]
    await asyncio.sleep(0)
    late = group.run("late", creation(f"{prefix}late"))
    [together] = {(await part).revision for part in many}
    # These two are under way side by side, and come in either order.
    assert abs((await second).revision - together) == 1
    assert (await late).revision == max((await second).revision, together) + 1


async def test_each_succeeds_or_fails_by_itself(group: GroupCommit, prefix: str) -> None:
    await asyncio.gather(
        *(group.run(str(n), creation(f"{prefix}{n}", b"old")) for n in range(0, 150, 2))
    )
    parts = await asyncio.gather(
        *(group.run(str(n), creation(f"{prefix}{n}", b"new")) for n in range(150))
    )
    assert [part.succeeded for part in parts] == [False, True] * 75
    assert {found(part.responses[0]).value for part in parts[::2]} == {b"old"}


async def test_a_subject_comes_once_in_a_batch(
    group: GroupCommit, cluster: Cluster, prefix: str
) -> None:
    before = await revision(cluster)
    parts = await asyncio.gather(
        *(group.run("same", creation(f"{prefix}same", b"%d" % n)) for n in range(50)),
        *(group.run(str(n), creation(f"{prefix}{n}")) for n in range(50)),
    )
    assert sum(part.succeeded for part in parts[:50]) == 1
    assert all(part.succeeded for part in parts[50:])
    assert await revision(cluster) - before == 1, "no batch was rejected, and cut in halves"


async def test_a_batch_keeps_to_its_size(group: GroupCommit, cluster: Cluster, prefix: str) -> None:
    before = await revision(cluster)
    value = bytes(100_000)
    parts = await asyncio.gather(
        *(group.run(str(n), creation(f"{prefix}{n}", value)) for n in range(30))
    )
    assert all(part.succeeded for part in parts)
    # A batch that etcd rejects is cut in halves: two of 15.
    assert await revision(cluster) - before == 3, f"ten of 100 kB fit into {MAX_BYTES}"


@pytest.mark.parametrize("bad", [0, 42, 99])
async def test_one_bad_operation_fails_alone(
    group: GroupCommit, cluster: Cluster, prefix: str, bad: int
) -> None:
    parts = await asyncio.gather(
        *(
            group.run(str(n), creation(f"{prefix}{n}", lease=NO_LEASE if n == bad else 0))
            for n in range(100)
        ),
        return_exceptions=True,
    )
    failed = [part for part in parts if isinstance(part, BaseException)]
    assert isinstance(parts[bad], StoreUnavailable)
    assert "requested lease not found" in str(parts[bad])
    assert len(failed) == 1
    assert await count(cluster, prefix) == 99


@pytest.mark.parametrize(
    ("size", "reason"), [(1_600_000, "request is too large"), (2 * MAX_BYTES, "larger than max")]
)
async def test_what_etcd_cannot_carry_is_refused(
    group: GroupCommit, prefix: str, size: int, reason: str
) -> None:
    large = group.run("large", creation(f"{prefix}large", bytes(size)))
    small = group.run("small", creation(f"{prefix}small"))
    with pytest.raises(StoreUnavailable, match=reason):
        await large
    assert (await small).succeeded


async def test_whoever_goes_away_before_it_is_sent_has_done_nothing(
    group: GroupCommit, cluster: Cluster, prefix: str
) -> None:
    calls = [group.run(str(n), creation(f"{prefix}{n}")) for n in range(100)]
    for call in calls[::2]:
        call.cancel()
    await asyncio.wait(calls, timeout=DEADLINE)
    assert all(call.result().succeeded for call in calls[1::2])
    assert await count(cluster, prefix) == 50


async def test_reads_come_back_to_their_readers(
    group: GroupCommit, cluster: Cluster, prefix: str
) -> None:
    names = [f"{prefix}{n}" for n in range(100)]
    await asyncio.gather(*(group.run(name, creation(name, name.encode())) for name in names))
    reads = GroupCommit(cluster, READS, DEADLINE)
    wanted = [*names, f"{prefix}none", names[0]]
    parts = await asyncio.gather(
        *(
            reads.run(None, etcd_requests.transaction([], [etcd_requests.get(name.encode())]))
            for name in wanted
        )
    )
    pairs = [found(part.responses[0]) for part in parts]
    assert pairs[100] is None
    assert [pair.value.decode() for pair in pairs if pair] == [*names, names[0]]


async def test_what_is_never_sent_fails_in_time_too(tmp_path: Path) -> None:
    with EtcdServer(tmp_path) as server:
        cluster = Cluster(server.endpoints)
        await cluster.open()
        group = GroupCommit(cluster, WRITES, seconds=0.5)
        server.members[0].pause()
        operations = WRITES.limit * (IN_FLIGHT + 2)
        async with asyncio.timeout(DEADLINE):
            answers = await asyncio.gather(
                *(group.run(str(n), creation(f"/late/{n}")) for n in range(operations)),
                return_exceptions=True,
            )
            await group.finish()
        assert {type(answer) for answer in answers} == {StoreUnavailable, Late}, "no answer, unsent"
        server.members[0].resume()
        assert (await group.run("again", creation("/late/again"))).succeeded
        assert await count(cluster, "/late/") <= WRITES.limit * IN_FLIGHT + 1
        await cluster.close()


async def test_a_closed_cluster_is_unavailable(cluster: Cluster, group: GroupCommit) -> None:
    await cluster.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await group.run("a", creation("/a"))
