"""What makes a cluster unfit: its version, its quota, or other people's records."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from grpc import StatusCode

from dedupd.errors import ConfigError
from dedupd.ports import StoreUnavailable
from dedupd.store import etcd_check, etcd_quota
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_check import NoRecords, loses_writes
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.etcd_stubs import rpc
from tests.contract.stores import ETCD, IDENTITY, make_record
from tests.integration.etcd_server import EtcdServer
from tests.unit.store.other_etcd import Lossy, served


@pytest.fixture
def prefix() -> str:
    return f"/{secrets.token_hex(8)}/v1/"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = ETCD.cluster()
    await cluster.open()
    yield cluster
    await cluster.close()


@pytest.fixture
async def etcd_3_5_1() -> AsyncIterator[str]:
    async with served(Lossy()) as endpoint:
        yield endpoint


@pytest.fixture
async def etcd_3_5_28() -> AsyncIterator[str]:
    """A server that tells nothing about itself to a user who is not root."""

    class Maintenance(rpc.MaintenanceServicer):  # type: ignore[misc] # it has no types
        async def Status(self, request: Any, context: Any) -> Any:  # noqa: N802 # etcd's name
            await context.abort(StatusCode.PERMISSION_DENIED, "etcdserver: permission denied")

        Alarm = Status

    async with served(Maintenance()) as endpoint:
        yield endpoint


async def test_a_version_that_is_told_to_root_only_loses_nothing(etcd_3_5_28: str) -> None:
    """What loses writes tells its version to anybody."""
    cluster = Cluster((etcd_3_5_28,))
    await cluster.open()
    versions = await etcd_check.versions(cluster)
    assert versions == {etcd_3_5_28: etcd_check.TOLD_TO_ROOT}
    assert not loses_writes(etcd_check.TOLD_TO_ROOT)
    await etcd_check.refuse_full(cluster)
    await cluster.close()


@pytest.mark.parametrize(
    ("version", "loses"),
    [
        ("3.4.23", False),
        ("3.4.0", False),
        ("3.5.0", True),
        ("3.5.1", True),
        ("3.5.4", True),
        ("3.5.4-rc.1", True),
        ("3.5.5", False),
        ("3.5.21", False),
        ("3.6.0", False),
        ("3.50.1", False),
        ("unknown", False),
    ],
)
def test_versions_that_lose_writes(version: str, loses: bool) -> None:
    assert loses_writes(version) is loses


async def test_a_version_that_loses_writes_is_refused(etcd_3_5_1: str) -> None:
    store = EtcdStore(Cluster((etcd_3_5_1,)), prefix="/d/", identity_check=IDENTITY)
    with pytest.raises(ConfigError, match=r"3\.5\.5 or later.*allow_lossy_etcd"):
        await store.open()


async def test_one_such_member_is_enough(etcd_3_5_1: str) -> None:
    endpoints = (*ETCD.cluster().endpoints, etcd_3_5_1)
    store = EtcdStore(Cluster(endpoints), prefix="/d/", identity_check=IDENTITY)
    with pytest.raises(ConfigError, match=f"{etcd_3_5_1} runs 3.5.1"):
        await store.open()


def test_it_can_be_allowed(caplog: pytest.LogCaptureFixture) -> None:
    etcd_check.refuse_lossy({"h1:2379": "3.5.1", "h2:2379": "3.5.5"}, known_bad=True)
    assert "h1:2379 runs 3.5.1, which loses acknowledged writes" in caplog.text
    assert "h2" not in caplog.text


async def test_debian_s_version_is_known(cluster: Cluster) -> None:
    [version] = (await etcd_check.versions(cluster)).values()
    assert version.startswith("3.")
    assert not loses_writes(version)


class TestPrefix:
    async def open(self, prefix: str, identity: str = IDENTITY, *, create: bool = True) -> None:
        store = EtcdStore(ETCD.cluster(), prefix=prefix, identity_check=identity, create=create)
        await store.open()
        await store.close()

    async def test_is_kept_for_its_identity_key(self, prefix: str) -> None:
        await self.open(prefix)
        await self.open(prefix)
        await self.open(prefix, create=False)
        with pytest.raises(ConfigError, match="another identity key"):
            await self.open(prefix, "another")

    async def test_is_made_by_a_server_only(self, prefix: str) -> None:
        with pytest.raises(NoRecords, match=f"no key {prefix}meta"):
            await self.open(prefix, create=False)
        await self.open(prefix, "another")

    @pytest.mark.parametrize(
        ("value", "complaint"),
        [
            (b"hello", "is not dedupd's"),
            (b'{"layout": 2}', "is not dedupd's"),
            (b'{"layout": 2, "identity": "x"}', "names layout 2, and this dedupd reads layout 1"),
        ],
    )
    async def test_of_others_is_refused(
        self, cluster: Cluster, prefix: str, value: bytes, complaint: str
    ) -> None:
        await cluster.ask("KV", "Put", rpc.PutRequest(key=f"{prefix}meta".encode(), value=value))
        with pytest.raises(ConfigError, match=complaint):
            await self.open(prefix)

    async def test_two_side_by_side_do_not_meet(self, prefix: str) -> None:
        stores = [
            EtcdStore(ETCD.cluster(), prefix=f"{prefix}{name}/", identity_check=IDENTITY)
            for name in ("a", "b")
        ]
        for store in stores:
            await store.open()
            new, _ = await store.claim(make_record(), b"")
            assert new
            assert (await store.depth()).total == 1
        for store in stores:
            await store.close()


class TestQuota:
    async def test_a_small_one_is_warned_of(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        small = ("--quota-backend-bytes", "2147483648")
        with EtcdServer(tmp_path, arguments=small) as server:
            store = EtcdStore(Cluster(server.endpoints), prefix="/d/", identity_check=IDENTITY)
            await store.open()
            await store.close()
        assert "holds 2.0 GiB at most" in caplog.text

    async def test_the_usual_one_is_not(
        self, cluster: Cluster, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await etcd_quota.quotas(cluster) == {cluster.endpoints[0]: 8 * 1024**3}
        await etcd_quota.warn_of_small_quota(cluster)
        assert not caplog.text

    async def test_where_it_is_not_told_nothing_is_said(self, etcd_3_5_1: str) -> None:
        assert await etcd_quota.quotas(Cluster((etcd_3_5_1,))) == {}

    async def test_a_full_etcd_refuses_writes_and_still_forgets(self, tmp_path: Path) -> None:
        tiny = ("--quota-backend-bytes", "16777216")
        with EtcdServer(tmp_path, arguments=tiny) as server:
            store = EtcdStore(Cluster(server.endpoints), prefix="/d/", identity_check=IDENTITY)
            await store.open()
            with pytest.raises(StoreUnavailable, match="database space exceeded"):
                await self.fill(store)
            first, second = await store.pending(2)
            forgotten, refused = await asyncio.gather(
                store.forget(first), store.swap(second, second), return_exceptions=True
            )
            assert forgotten is True
            assert isinstance(refused, StoreUnavailable)
            assert (await store.read([second.id]))[second.id].record == second
            standing = (await store.read([second.id]))[second.id]
            another = msgspec.structs.replace(second, birth="another")
            assert await store.claim(another, b"") == (False, standing)
            assert await store.claim(second, b"") == (True, standing), "its first try was in doubt"
            moved_on = msgspec.structs.replace(second, owner="somebody")
            assert await store.claim(moved_on, b"") == (False, standing)
            with pytest.raises(StoreUnavailable, match="database space exceeded"):
                await store.claim(first, b"")
            await store.close()

    async def test_a_full_etcd_is_opened_by_who_used_it_before(self, tmp_path: Path) -> None:
        tiny = ("--quota-backend-bytes", "16777216")
        with EtcdServer(tmp_path, arguments=tiny) as server:
            for _ in range(2):
                store = EtcdStore(Cluster(server.endpoints), prefix="/d/", identity_check=IDENTITY)
                await store.open()
                with pytest.raises(StoreUnavailable, match="database space exceeded"):
                    await self.fill(store)
                assert await store.pending(1)
                await store.close()
            stranger = EtcdStore(Cluster(server.endpoints), prefix="/e/", identity_check=IDENTITY)
            with pytest.raises(StoreUnavailable, match="database space exceeded"):
                await stranger.open()

    async def fill(self, store: EtcdStore) -> None:
        """Until it is refused: etcd counts what its database has, which it writes now and then."""
        for number in itertools.count():
            await store.claim(make_record(number), bytes(1_000_000))
