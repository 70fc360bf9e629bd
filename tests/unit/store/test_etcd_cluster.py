"""Connections to etcd: TLS, users, several members, members that are dead, paused or alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dedupd import request
from dedupd.ports import Stored, StoreUnavailable, Worker
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import Cluster, Credentials, Refused, Security
from dedupd.store.etcd_stubs import rpc
from tests.contract.stores import NOW, ORIGIN, make_record
from tests.engines.ports import free_port
from tests.integration import etcd_users
from tests.integration.certificates import Authority
from tests.integration.etcd_server import EtcdServer

PATIENCE = 30.0
OUTAGE_SECONDS = 5.0
"""Within so many seconds a caller hears of an outage (docs/contract.md)."""

PREFIX = "/dedupd/v1/"


def opened(cluster: Cluster) -> EtcdStore:
    return EtcdStore(cluster, prefix=PREFIX, origin=ORIGIN)


async def whole_life(store: EtcdStore, number: int = 1) -> None:
    """Everything that dedupd asks of etcd."""
    await store.register(Worker("w1", "host", 1, time.time() + 60))
    new, stored = await store.claim(make_record(number), b"payload")
    assert new
    sending = request.begin_send(stored.record, "w1", NOW, 120)
    written = await store.swap(stored.record, sending, worker="w1")
    assert written is not None
    assert (await store.depth()).total == 1
    assert await store.keep_alive("w1", time.time() + 60)
    done = request.finish(written, NOW, status=202, resource=None, keep=60)
    heard: asyncio.Queue[Stored] = asyncio.Queue()
    store.on_completion(heard.put_nowait)
    assert await store.swap(written, done, result=b"answer") is not None
    assert (await asyncio.wait_for(heard.get(), PATIENCE)).result == b"answer"
    [overdue] = await store.overdue(NOW + 60, 10)
    assert await store.forget(overdue)
    await store.retire("w1")
    assert await store.workers() == []


async def until_it_works(store: EtcdStore, number: int) -> None:
    """The store works again by itself."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await store.claim(make_record(number), b"")
            except StoreUnavailable:
                continue
            return


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secure(tmp_path: Path, authority: Authority) -> Iterator[EtcdServer]:
    """TLS only, with certificates on both sides."""
    pair = authority.sign("server")
    arguments = (
        *("--cert-file", str(pair.certfile), "--key-file", str(pair.keyfile)),
        *("--client-cert-auth", "--trusted-ca-file", str(authority.cafile)),
    )
    with EtcdServer(tmp_path / "etcd", arguments=arguments) as server:
        yield server


@pytest.fixture
def three(tmp_path: Path) -> Iterator[EtcdServer]:
    with EtcdServer(tmp_path, members=3) as server:
        yield server


class TestSecurity:
    async def test_certificates_on_both_sides(
        self, secure: EtcdServer, authority: Authority
    ) -> None:
        ours = authority.sign("dedupd")
        security = Security(authority.cafile, ours.keyfile, ours.certfile)
        store = opened(Cluster(secure.endpoints, security))
        await store.open()
        await whole_life(store)
        await store.close()

    async def test_a_server_of_another_authority_is_not_spoken_to(
        self, secure: EtcdServer, authority: Authority, tmp_path: Path
    ) -> None:
        ours = authority.sign("dedupd")
        another = Authority(tmp_path, "another")
        security = Security(another.cafile, ours.keyfile, ours.certfile)
        with pytest.raises(StoreUnavailable):
            await opened(Cluster(secure.endpoints, security)).open()

    async def test_a_server_that_wants_a_certificate_gets_none(
        self, secure: EtcdServer, authority: Authority
    ) -> None:
        with pytest.raises(StoreUnavailable):
            await opened(Cluster(secure.endpoints, Security(authority.cafile))).open()

    async def test_plain_text_to_a_secure_server(self, secure: EtcdServer) -> None:
        with pytest.raises(StoreUnavailable):
            await opened(Cluster(secure.endpoints)).open()


class TestUsers:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[EtcdServer]:
        with EtcdServer(tmp_path) as server:
            yield server

    @pytest.fixture
    async def guarded(self, server: EtcdServer) -> EtcdServer:
        """Authentication is on; the user dedupd may read and write below PREFIX."""
        cluster = Cluster(server.endpoints)
        await cluster.open()
        await etcd_users.enable(cluster, PREFIX)
        await cluster.close()
        return server

    def store(self, server: EtcdServer, password: str = etcd_users.PASSWORD) -> EtcdStore:
        known = Credentials(etcd_users.USER, password)
        return opened(Cluster(server.endpoints, credentials=known))

    async def test_a_user_who_may_touch_the_prefix_only(self, guarded: EtcdServer) -> None:
        store = self.store(guarded)
        await store.open()
        await whole_life(store)
        await store.close()

    async def test_it_signs_in_again_where_etcd_has_forgotten_it(self, guarded: EtcdServer) -> None:
        store = self.store(guarded)
        await store.open()
        await store.claim(make_record(1), b"")
        guarded.members[0].stop()
        guarded.restart()
        await until_it_works(store, 2)
        assert (await store.depth()).total == 2
        await store.close()

    async def test_a_wrong_password_is_said(self, guarded: EtcdServer) -> None:
        with pytest.raises(StoreUnavailable, match="authentication failed"):
            await self.store(guarded, "wrong").open()

    async def test_no_user_is_said(self, guarded: EtcdServer) -> None:
        with pytest.raises(StoreUnavailable, match="user name is empty"):
            await opened(Cluster(guarded.endpoints)).open()

    async def test_a_user_where_there_are_none_is_said(self, server: EtcdServer) -> None:
        with pytest.raises(StoreUnavailable, match="authentication is not enabled"):
            await self.store(server).open()

    async def test_other_keys_are_refused(self, guarded: EtcdServer) -> None:
        known = Credentials(etcd_users.USER, etcd_users.PASSWORD)
        cluster = Cluster(guarded.endpoints, credentials=known)
        await cluster.open()
        with pytest.raises(Refused, match="permission denied"):
            await cluster.ask("KV", "Put", rpc.PutRequest(key=b"/other", value=b""))
        await cluster.close()


class TestMembers:
    @pytest.mark.parametrize("dead", [0, 1, 2])
    async def test_a_dead_member_is_passed_over(self, three: EtcdServer, dead: int) -> None:
        three.members[dead].kill()
        store = opened(Cluster(three.endpoints))
        await store.open()
        await whole_life(store)
        await store.close()

    @pytest.mark.parametrize("way", ["kill", "pause"])
    async def test_it_goes_on_when_any_member_fails(self, three: EtcdServer, way: str) -> None:
        store = opened(Cluster(three.endpoints))
        await store.open()
        for number, member in enumerate(three.members):
            await store.claim(make_record(number), b"")
            getattr(member, way)()
            await until_it_works(store, 100 + number)
            if way == "pause":
                member.resume()
            else:
                three.restart([member])
            await until_it_works(store, 200 + number)
        assert (await store.depth()).total == 9
        await store.close()

    async def test_without_a_majority_it_says_so_in_time(self, three: EtcdServer) -> None:
        store = opened(Cluster(three.endpoints))
        await store.open()
        _, stored = await store.claim(make_record(1), b"payload")
        for member in three.members[:2]:
            member.pause()
        calls: list[Any] = [
            store.claim(make_record(2), b""),
            store.read([stored.record.id]),
            store.swap(stored.record, stored.record),
            store.forget(stored.record),
            store.pending(10),
            store.overdue(NOW, 10),
            store.depth(),
            store.workers(),
            store.register(Worker("w1", "host", 1, time.time() + 60)),
        ]
        began = time.monotonic()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - began <= OUTAGE_SECONDS
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert not any(isinstance(answer, Refused) for answer in answers)
        told = [str(answer) for answer in answers]
        assert ["nobody can tell" in each for each in told[:3]] == [True, False, True]
        assert not any("nobody can tell" in each for each in told[4:8]), "they only read"
        assert all(each.endswith(" did not answer in time.") for each in told[4:8])
        for member in three.members[:2]:
            member.resume()
        await until_it_works(store, 3)
        await store.close()

    async def test_nobody_there(self) -> None:
        store = opened(Cluster((f"127.0.0.1:{free_port()}",)))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="The etcd cluster 127") as caught:
            await store.open()
        assert time.monotonic() - began <= OUTAGE_SECONDS
        assert caught.value.message == "The etcd cluster does not answer."
