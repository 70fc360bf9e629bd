"""The stores that the contract runs against, and the records it is written with.

A store to come adds a function here, and its name in ``STORES``.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from dedupd.ports import Store
from dedupd.request import Record
from dedupd.store.etcd import EtcdStore
from dedupd.store.memory import MemoryStore
from dedupd.store.origin import Origin
from dedupd.store.sqlite import SqliteStore
from tests.integration.shared_etcd import SharedEtcd

NOW = 1_800_000_000.0
ORIGIN = Origin("the check of an identity key", "RegionOne")


class Clock:
    """Time for leases; ``elapse`` lets it pass (a store with a clock of its own would wait)."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    async def elapse(self, seconds: float) -> None:
        self.now += seconds


Opener = Callable[[Path, Clock], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def memory(_directory: Path, clock: Clock) -> AsyncIterator[Store]:
    store = MemoryStore(clock)
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def sqlite(directory: Path, clock: Clock) -> AsyncIterator[Store]:
    store = SqliteStore(directory / "records.db", origin=ORIGIN, clock=clock)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


ETCD = SharedEtcd(1)
ETCD_OF_THREE = SharedEtcd(3)


def etcd_store(clock: Clock, etcd: SharedEtcd = ETCD) -> EtcdStore:
    """Below a prefix of its own."""
    prefix = f"/{secrets.token_hex(8)}/v1/"
    return EtcdStore(etcd.cluster(), prefix=prefix, origin=ORIGIN, clock=clock)


def on_etcd(etcd: SharedEtcd) -> Opener:
    """Opens a store on it."""

    @asynccontextmanager
    async def opened(_directory: Path, clock: Clock) -> AsyncIterator[Store]:
        store = etcd_store(clock, etcd)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    return opened


STORES: dict[str, Opener] = {
    "memory": memory,
    "sqlite": sqlite,
    "etcd": on_etcd(ETCD),
    "etcd-of-three": on_etcd(ETCD_OF_THREE),
}


def request_id(number: int) -> str:
    """An id as the keyed hash makes them, one for each number, in no order."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


def make_record(number: int = 1, *, project: str = "p1", birth: str = "b1") -> Record:
    """A record as the front makes it for a claim."""
    return Record(
        id=request_id(number),
        birth=birth,
        project_id=project,
        user_id="u1",
        route="servers",
        path="/v2.1/servers",
        fingerprint=b"\x00\x01fingerprint",
        parts={"path": b"\x00", "server.name": b"\xff"},
        created_at=NOW + number,
    )
