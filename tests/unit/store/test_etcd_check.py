"""What makes a cluster unfit: its version, its quota, or other people's records."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
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
from dedupd.store.origin import Origin
from tests.contract.stores import ETCD, ORIGIN, make_record
from tests.integration.etcd_server import EtcdServer
from tests.unit.store.other_etcd import Lossy, served

OF_ANOTHER_KEY = replace(ORIGIN, identity="another")
OF_ANOTHER_REGION = replace(ORIGIN, region="RegionTwo")
WITHOUT_REGION = msgspec.json.encode({"layout": 1, "identity": ORIGIN.identity})
"""What a prefix says of itself that was last opened by a dedupd which kept no region there."""


@pytest.fixture
def prefix() -> str:
    return f"/{secrets.token_hex(8)}/v1/"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = ETCD.cluster()
    await cluster.open()
    yield cluster
    await cluster.close()


async def write(cluster: Cluster, prefix: str, value: bytes) -> None:
    """Put what a prefix says of itself."""
    await cluster.ask("KV", "Put", rpc.PutRequest(key=f"{prefix}meta".encode(), value=value))


async def meta(cluster: Cluster, prefix: str) -> bytes:
    """What a prefix says of itself."""
    answer, _ = await cluster.ask("KV", "Range", rpc.RangeRequest(key=f"{prefix}meta".encode()))
    return bytes(answer.kvs[0].value)


async def alarm(cluster: Cluster, action: int) -> None:
    """Make etcd full, or not: every write is refused while it says that it is."""
    request = rpc.AlarmRequest(action=action, alarm=rpc.NOSPACE)
    await cluster.ask("Maintenance", "Alarm", request)


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
    store = EtcdStore(Cluster((etcd_3_5_1,)), prefix="/d/", origin=ORIGIN)
    with pytest.raises(ConfigError, match=r"3\.5\.5 or later.*allow_lossy_etcd"):
        await store.open()


async def test_one_such_member_is_enough(etcd_3_5_1: str) -> None:
    endpoints = (*ETCD.cluster().endpoints, etcd_3_5_1)
    store = EtcdStore(Cluster(endpoints), prefix="/d/", origin=ORIGIN)
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
    async def open(self, prefix: str, origin: Origin = ORIGIN, *, create: bool = True) -> None:
        store = EtcdStore(ETCD.cluster(), prefix=prefix, origin=origin, create=create)
        await store.open()
        await store.close()

    async def test_is_kept_for_its_identity_key(self, prefix: str) -> None:
        await self.open(prefix)
        await self.open(prefix)
        await self.open(prefix, create=False)
        with pytest.raises(ConfigError, match="another identity key"):
            await self.open(prefix, OF_ANOTHER_KEY)

    @pytest.mark.parametrize("create", [True, False], ids=["by a server", "by a tool"])
    async def test_is_kept_for_its_region(
        self, cluster: Cluster, prefix: str, create: bool
    ) -> None:
        await self.open(prefix)
        before = await meta(cluster, prefix)
        with pytest.raises(ConfigError) as refused:
            await self.open(prefix, OF_ANOTHER_REGION, create=create)
        assert refused.value.message == (
            f"[store] prefix: {prefix}meta: it serves the region RegionOne alone, and [DEFAULT] "
            "region_name is RegionTwo, under which no used token is known. Set region_name = "
            "RegionOne, or choose another prefix; nothing was changed."
        )
        assert await meta(cluster, prefix) == before

    async def test_of_an_earlier_dedupd_is_given_a_region_by_a_server_only(
        self, cluster: Cluster, prefix: str
    ) -> None:
        await write(cluster, prefix, WITHOUT_REGION)
        await self.open(prefix, create=False)
        assert await meta(cluster, prefix) == WITHOUT_REGION
        with pytest.raises(ConfigError, match="another identity key"):
            await self.open(prefix, OF_ANOTHER_KEY)
        assert await meta(cluster, prefix) == WITHOUT_REGION
        await self.open(prefix)
        with pytest.raises(ConfigError, match="serves the region RegionOne alone"):
            await self.open(prefix, OF_ANOTHER_REGION)
        await self.open(prefix)

    @pytest.mark.parametrize("standing", [None, WITHOUT_REGION], ids=["nobody's", "an earlier one"])
    async def test_of_two_regions_that_start_at_once_one_has_it(
        self, cluster: Cluster, prefix: str, standing: bytes | None
    ) -> None:
        if standing is not None:
            await write(cluster, prefix, standing)
        origins = [ORIGIN, OF_ANOTHER_REGION] * 6
        outcomes = await asyncio.gather(
            *(self.open(prefix, origin) for origin in origins), return_exceptions=True
        )
        kept = msgspec.json.decode(await meta(cluster, prefix))["region"]
        for origin, outcome in zip(origins, outcomes, strict=True):
            assert isinstance(outcome, ConfigError) is (origin.region != kept), outcome

    async def test_is_made_by_a_server_only(self, prefix: str) -> None:
        with pytest.raises(NoRecords, match=f"no key {prefix}meta"):
            await self.open(prefix, create=False)
        await self.open(prefix, OF_ANOTHER_KEY)

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
        await write(cluster, prefix, value)
        with pytest.raises(ConfigError, match=complaint):
            await self.open(prefix)

    async def test_two_side_by_side_do_not_meet(self, prefix: str) -> None:
        stores = [
            EtcdStore(ETCD.cluster(), prefix=f"{prefix}{name}/", origin=ORIGIN)
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
            store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
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
            store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
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
                store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
                await store.open()
                with pytest.raises(StoreUnavailable, match="database space exceeded"):
                    await self.fill(store)
                assert await store.pending(1)
                await store.close()
            stranger = EtcdStore(Cluster(server.endpoints), prefix="/e/", origin=ORIGIN)
            with pytest.raises(StoreUnavailable, match="database space exceeded"):
                await stranger.open()

    async def test_a_full_etcd_is_opened_by_nobody_before_its_region_is_kept(
        self, tmp_path: Path
    ) -> None:
        """Else servers of two regions could be in by the time that there is room again."""
        with EtcdServer(tmp_path) as server:
            cluster = Cluster(server.endpoints)
            await cluster.open()
            await write(cluster, "/d/", WITHOUT_REGION)
            await alarm(cluster, rpc.AlarmRequest.ACTIVATE)
            store = EtcdStore(Cluster(server.endpoints), prefix="/d/", origin=ORIGIN)
            with pytest.raises(StoreUnavailable, match="database space exceeded"):
                await store.open()
            await alarm(cluster, rpc.AlarmRequest.DEACTIVATE)
            await store.open()
            await store.close()
            await alarm(cluster, rpc.AlarmRequest.ACTIVATE)
            await store.open()
            await store.close()
            await cluster.close()

    async def fill(self, store: EtcdStore) -> None:
        """Until it is refused: etcd counts what its database has, which it writes now and then."""
        for number in itertools.count():
            await store.claim(make_record(number), bytes(1_000_000))
