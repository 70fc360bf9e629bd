"""The commands on an etcd cluster: what a configuration opens, and what `dedupd check` says."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dedupd import conf, seal
from dedupd.cmd import wiring
from dedupd.cmd.check import local
from dedupd.cmd.check.line import Result
from dedupd.conf import Settings
from dedupd.errors import ConfigError
from dedupd.ports import StoreUnavailable
from dedupd.seal import Keys
from dedupd.store.etcd_check import NoRecords
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.etcd_stubs import rpc
from tests.contract.stores import ETCD, make_record
from tests.engines.ports import free_port
from tests.integration import etcd_users
from tests.integration.certificates import Authority
from tests.integration.etcd_server import EtcdServer
from tests.unit.store.other_etcd import Lossy, served

Configured = Callable[..., Settings]


@pytest.fixture(scope="module", autouse=True)
def _end_of_etcd() -> Iterator[None]:
    yield
    ETCD.stop()


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Settings on the tests' etcd, below a prefix of their own, with keys."""
    path = tmp_path / "seal.keys"
    seal.create(path)
    prefix = f"/{secrets.token_hex(8)}/"

    def settings(url: str = "", **store: str) -> Settings:
        named = {"url": url or f"etcd://{ETCD.cluster().endpoints[0]}", "prefix": prefix, **store}
        overrides = {f"store.{name}": value for name, value in named.items()}
        common = {"auth.strategy": "noauth", "state_path": str(tmp_path)}
        return conf.load([], overrides=common | overrides)

    return settings


@pytest.fixture
def keys(configured: Configured) -> Keys:
    return wiring.load_keys(configured(), create=False)


async def used(settings: Settings, keys: Keys) -> None:
    """A server has used the prefix; one request is pending."""
    store = wiring.open_store(settings, keys, exclusive=True)
    await store.open()
    await store.claim(make_record(), b"")
    await store.close()


async def test_a_tool_finds_what_a_server_keeps(configured: Configured, keys: Keys) -> None:
    settings = configured()
    tool = wiring.open_store(settings, keys, exclusive=False)
    with pytest.raises(NoRecords, match="start dedupd once"):
        await tool.open()
    await used(settings, keys)
    tool = wiring.open_store(settings, keys, exclusive=False)
    await tool.open()
    assert (await tool.depth()).total == 1
    await tool.close()


async def test_the_options_of_tls_reach_the_connection(
    configured: Configured, keys: Keys, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server, ours = authority.sign("server"), authority.sign("dedupd")
    arguments = (
        *("--cert-file", str(server.certfile), "--key-file", str(server.keyfile)),
        *("--client-cert-auth", "--trusted-ca-file", str(authority.cafile)),
    )
    with EtcdServer(tmp_path / "etcd", arguments=arguments) as etcd:
        settings = configured(
            f"etcds://{etcd.endpoints[0]}",
            cafile=str(authority.cafile),
            certfile=str(ours.certfile),
            keyfile=str(ours.keyfile),
        )
        await used(settings, keys)
        result, detail = await local.store(settings)
        assert (result, detail.split(", ")[-1]) == (Result.OK, "1 requests pending")


async def test_who_the_user_is_reaches_the_connection(
    configured: Configured, keys: Keys, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server = authority.sign("server")
    arguments = ("--cert-file", str(server.certfile), "--key-file", str(server.keyfile))
    with EtcdServer(tmp_path / "etcd", arguments=arguments) as etcd:
        tls = {"url": f"etcds://{etcd.endpoints[0]}", "cafile": str(authority.cafile)}
        plain = configured(**tls)
        cluster = wiring.etcd_cluster(plain.store)
        await cluster.open()
        await etcd_users.enable(cluster, plain.store.prefix)
        await cluster.close()
        user = {"username": etcd_users.USER, "password": etcd_users.PASSWORD}
        await used(configured(**tls, **user), keys)
        assert (await local.store(configured(**tls, **user)))[0] is Result.OK
        for settings, told in (
            (plain, "user name is empty"),
            (configured(**tls, **user | {"password": "wrong"}), "authentication failed"),
        ):
            with pytest.raises(StoreUnavailable, match=told):
                await wiring.open_store(settings, keys, exclusive=True).open()


class TestLossy:
    """No such etcd can be had any more; the server says that it is one, and keeps nothing."""

    async def test_neither_check_nor_start_takes_it(
        self, configured: Configured, keys: Keys
    ) -> None:
        async with served(Lossy()) as endpoint:
            settings = configured(f"etcd://{endpoint}")
            with pytest.raises(ConfigError, match="allow_lossy_etcd"):
                await local.store(settings)
            with pytest.raises(ConfigError, match="allow_lossy_etcd"):
                await wiring.open_store(settings, keys, exclusive=True).open()

    async def test_unless_it_is_told_to(self, configured: Configured, keys: Keys) -> None:
        async with served(Lossy()) as endpoint:
            settings = configured(f"etcd://{endpoint}", allow_lossy_etcd="true")
            result, detail = await local.store(settings)
            assert (result, "loses acknowledged writes" in detail) == (Result.WARNING, True)
            with pytest.raises(StoreUnavailable):
                await wiring.open_store(settings, keys, exclusive=True).open()


class TestCheck:
    async def test_before_the_first_start(self, configured: Configured, keys: Keys) -> None:
        result, detail = await local.store(configured())
        assert result is Result.OK
        assert "no records yet" in detail
        with pytest.raises(NoRecords):
            await wiring.open_store(configured(), keys, exclusive=False).open()

    async def test_without_keys(self, configured: Configured) -> None:
        settings = configured()
        settings.seal.key_file.unlink()
        result, detail = await local.store(settings)
        assert (result, "without a key file" in detail) == (Result.OK, True)

    async def test_in_use(self, configured: Configured, keys: Keys) -> None:
        await used(configured(), keys)
        result, detail = await local.store(configured())
        assert result is Result.OK
        assert "etcd 3." in detail
        assert "1 requests pending" in detail

    async def test_a_member_that_does_not_answer(self, configured: Configured) -> None:
        dead = f"127.0.0.1:{free_port()}"
        result, detail = await local.store(
            configured(f"etcd://{ETCD.cluster().endpoints[0]},{dead}")
        )
        assert (result, dead in detail) == (Result.WARNING, True)

    async def test_a_small_quota(self, configured: Configured, tmp_path: Path) -> None:
        small = ("--quota-backend-bytes", "2147483648")
        with EtcdServer(tmp_path / "etcd", arguments=small) as etcd:
            result, detail = await local.store(configured(f"etcd://{etcd.endpoints[0]}"))
        assert (result, "2.0 GiB at most" in detail) == (Result.WARNING, True)

    async def test_a_full_one(self, configured: Configured, keys: Keys, tmp_path: Path) -> None:
        with EtcdServer(tmp_path / "etcd") as etcd:
            settings = configured(f"etcd://{etcd.endpoints[0]}")
            await used(settings, keys)
            cluster = Cluster(etcd.endpoints)
            await cluster.open()
            alarm = rpc.AlarmRequest(action=rpc.AlarmRequest.ACTIVATE, alarm=rpc.NOSPACE)
            await cluster.ask("Maintenance", "Alarm", alarm)
            await cluster.close()
            with pytest.raises(StoreUnavailable, match="is full"):
                await local.store(settings)

    async def test_other_keys(self, configured: Configured, keys: Keys) -> None:
        await used(configured(), keys)
        settings = configured()
        settings.seal.key_file.unlink()
        seal.create(settings.seal.key_file)
        with pytest.raises(ConfigError, match="another identity key"):
            await local.store(settings)

    async def test_another_region(self, configured: Configured, keys: Keys) -> None:
        await used(configured(), keys)
        with pytest.raises(ConfigError, match="region_name is RegionTwo"):
            await local.store(replace(configured(), region_name="RegionTwo"))

    async def test_nobody_there(self, configured: Configured, keys: Keys) -> None:
        """The check, and the start, which may have to sign in first."""
        place = f"127.0.0.1:{free_port()}"
        user = {"username": etcd_users.USER, "password": etcd_users.PASSWORD}
        plain, signing_in = configured(f"etcd://{place}"), configured(f"etcds://{place}", **user)
        for attempt in (
            partial(local.store, plain),
            wiring.open_store(plain, keys, exclusive=True).open,
            wiring.open_store(signing_in, keys, exclusive=True).open,
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await attempt()
            assert str(caught.value) == (
                f"The etcd cluster {place} does not answer: start it, or name members that run in "
                "[store] url."
            )
