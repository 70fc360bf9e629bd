"""A whole installation in one event loop: one store, one broker, one cloud, and any workers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from dedupd import seal, sealed, ssh_key, token
from dedupd.background import Background
from dedupd.cloud import routes
from dedupd.cloud.ask import ServiceUser
from dedupd.exchange import Answer, Call, Headers, Payload
from dedupd.metrics import Metrics
from dedupd.ports import Cloud, Delivery, Store, Stored, StoreUnavailable
from dedupd.queue.memory import MemoryBroker, MemoryQueue
from dedupd.request import Record, State
from dedupd.store.memory import MemoryStore
from dedupd.worker.executor import Executor, Limits
from dedupd.worker.job import Job, Opener
from dedupd.worker.lease import Lease
from dedupd.worker.reconciler import Reconciler
from dedupd.worker.service import WorkerService
from dedupd.worker.turns import Turns
from tests.unit.simulated_cloud import SimulatedCloud
from tests.unit.virtual_time import WallClock

KEYS = seal.parse(seal.generate(), "the site")
REGION = "RegionOne"
PROJECT = "a" * 32
USER = "alice"
AUTH = f"{USER}:{PROJECT}"
HOST = "nova.example.org"
SERVERS = "/v2.1/servers"
KEYPAIRS = "/v2.1/os-keypairs"
VM = {
    "server": {
        "name": "vm",
        "flavorRef": "1",
        "imageRef": "155d900f-4e14-4e4c-a73d-069cbf4541e6",
        "networks": "none",
    }
}
DEADLINE = 7 * 24 * 3600.0
"""Seconds of virtual time: no wait is longer."""

LIMITS = Limits(send=30, connect=5, settle=60, look=0.25, retry=300, result=86400, in_flight=8)
LEASE_SECONDS = 10.0
LASTING = 1e9
"""Seconds of a lease that nobody needs to keep alive."""

SWEEP_SECONDS = 5.0
PREFETCH = 32
STOP_SECONDS = 20.0
TOMBSTONE_SECONDS = 7 * 86400.0


class TroubledStore(MemoryStore):
    """A store that can be away, or carry a swap out and lose its acknowledgement.

    ``away``: nothing is carried out. ``lost``: how many of the next swaps are carried out, yet
    seem not to be. ``news``: set with every write.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.away = False
        self.lost = 0
        self.news = asyncio.Event()

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("The store is away.")

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        self._check()
        return await super().claim(record, payload)

    async def read(self, ids: Any) -> dict[str, Stored]:
        self._check()
        return await super().read(ids)

    async def swap(
        self,
        before: Record,
        after: Record,
        *,
        result: bytes | None = None,
        worker: str = "",
        gone: str = "",
    ) -> Record | None:
        self._check()
        written = await super().swap(before, after, result=result, worker=worker, gone=gone)
        self.news.set()
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("The acknowledgement was lost.")
        return written

    async def forget(self, record: Record) -> bool:
        self._check()
        self.news.set()
        return await super().forget(record)

    async def pending(self, limit: int) -> list[Record]:
        self._check()
        return await super().pending(limit)

    async def depth(self) -> Any:
        self._check()
        return await super().depth()

    async def find(self, query: Any) -> list[Record]:
        self._check()
        return await super().find(query)

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        self._check()
        return await super().keep_alive(worker_id, until)

    async def register(self, worker: Any) -> None:
        self._check()
        await super().register(worker)

    async def retire(self, worker_id: str) -> None:
        self._check()
        await super().retire(worker_id)

    async def lead(self, worker_id: str) -> bool:
        self._check()
        return await super().lead(worker_id)

    async def resign(self, worker_id: str) -> None:
        self._check()
        await super().resign(worker_id)


@dataclass(frozen=True)
class Crew:
    """One worker with all its parts; nothing runs until ``service`` or ``lease`` is started."""

    queue: MemoryQueue
    metrics: Metrics
    lease: Lease
    opener: Opener
    executor: Executor
    reconciler: Reconciler
    service: WorkerService

    def count(self, name: str, **labels: str) -> float:
        """What its metrics say."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def kill(self) -> None:
        """End it as a power cut does: nothing is handed back, given up, or written any more."""
        self.queue.drop()
        tasks = [*self.service._in_hand.values(), *self.service._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Site:
    """Everything but the front."""

    def __init__(self) -> None:
        self.clock = WallClock()
        self.store = TroubledStore(self.clock)
        self.broker = MemoryBroker()
        self.cloud = SimulatedCloud(self.clock, on_sent=self.store.news.set)
        self.limits = LIMITS
        self._publisher: MemoryQueue | None = None

    def crew(
        self,
        *,
        store: Store | None = None,
        cloud: Cloud | None = None,
        service_user: ServiceUser | None = None,
        duplicates: str = "report",
        lease_seconds: float = LEASE_SECONDS,
    ) -> Crew:
        """A worker that has not begun."""
        store, limits, clock = store or self.store, self.limits, self.clock
        cloud, metrics = cloud or self.cloud, Metrics()
        queue = MemoryQueue(self.broker)
        lease = Lease(store, lease_seconds, clock)
        opener = Opener(KEYS, cloud, service_user, 10.0)
        executor = Executor(store, cloud, KEYS, lease, limits, metrics, clock)
        reconciler = Reconciler(store, executor, lease, limits, metrics, clock, duplicates)
        service = WorkerService(
            store=store,
            queue=queue,
            opener=opener,
            executor=executor,
            reconciler=reconciler,
            lease=lease,
            turns=Turns(limits.in_flight, PREFETCH, metrics.put_off),
            metrics=metrics,
            clock=clock,
            tombstone_seconds=TOMBSTONE_SECONDS,
            prefetch=PREFETCH,
            sweep_seconds=SWEEP_SECONDS,
            stop_seconds=STOP_SECONDS,
            background=Background(),
        )
        return Crew(queue, metrics, lease, opener, executor, reconciler, service)

    async def started(self, **parts: Any) -> Crew:
        """A worker at work."""
        crew = self.crew(**parts)
        await crew.queue.open()
        await crew.service.start()
        return crew

    async def hired(self, **parts: Any) -> Crew:
        """A worker that has its lease and does nothing by itself."""
        crew = self.crew(**parts)
        await crew.lease.take()
        return crew

    async def claimed(
        self,
        document: Any = None,
        *,
        path: str = SERVERS,
        version: str | None = "2.96",
        auth: str = AUTH,
        client_token: str = "foo",
        raw: bytes | None = None,
        headers: Headers = (),
    ) -> Record:
        """A request as a front leaves it in the store."""
        call = call_of(VM if document is None else document, path, version, auth, raw, headers)
        user, project = auth.split(":")[:2]
        reading = routes.read(path.partition("?")[0], call.headers, call.body)
        record = Record(
            id=token.identify(KEYS.identity, REGION, project, client_token),
            birth=os.urandom(8).hex(),
            project_id=project,
            user_id=user,
            route=reading.route.name,
            path=path.partition("?")[0],
            fingerprint=b"fingerprint",
            parts={},
            created_at=self.clock(),
        )
        key = ssh_key.generate() if reading.generates_key else None
        payload = sealed.seal_payload(KEYS, record, Payload(call, os.urandom(16), key))
        created, stored = await self.store.claim(record, payload)
        assert created
        return stored.record

    async def submitted(self, document: Any = None, **more: Any) -> Record:
        """A request that was claimed and published."""
        record = await self.claimed(document, **more)
        await self.publish(record.id, record)
        return record

    async def publish(self, request_id: str, claimed: Record | None = None) -> None:
        if self._publisher is None:
            self._publisher = MemoryQueue(self.broker)
            await self._publisher.open()
        await self._publisher.publish(request_id, claimed)

    async def stored(self, record: Record) -> Stored | None:
        return (await MemoryStore.read(self.store, [record.id])).get(record.id)

    async def record(self, record: Record) -> Record:
        """As it stands in the store now."""
        stored = await self.stored(record)
        assert stored is not None, "the record is gone"
        return stored.record

    async def job(self, record: Record, crew: Crew) -> Job:
        """The request as a worker takes it up."""
        stored = await self.stored(record)
        assert stored is not None
        return crew.opener.open(stored)

    async def answer(self, record: Record) -> Answer:
        """What is stored for the callers."""
        stored = await self.stored(record)
        assert stored is not None
        assert stored.result is not None
        return sealed.open_answer(KEYS, stored)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was written to the store, or sent, makes the condition true."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.store.news.clear()
                await self.store.news.wait()

    async def until_state(self, record: Record, *states: State) -> Record:
        """Wait until the record is in one of the states."""
        await self.until(lambda: self.now(record).state in states)
        return self.now(record)

    def now(self, record: Record) -> Record:
        """As it stands in the store now, whatever trouble the store has."""
        return self.store._requests[record.id].record

    def servers(self, auth: str = AUTH) -> list[dict[str, Any]]:
        """What is alive in the cloud, the oldest first."""
        answer = self.cloud.ask("GET", f"{SERVERS}/detail", auth)
        rows: list[dict[str, Any]] = msgspec.json.decode(answer.body)["servers"]
        return sorted(rows, key=lambda row: (row["created"], row["name"]))


def call_of(
    document: Any,
    path: str = SERVERS,
    version: str | None = "2.96",
    auth: str = AUTH,
    raw: bytes | None = None,
    headers: Headers = (),
) -> Call:
    """A POST as it goes to Nova."""
    fields = [
        (b"host", HOST.encode()),
        (b"x-auth-token", auth.encode()),
        (b"content-type", b"application/json"),
        *headers,
    ]
    if version is not None:
        fields.append((b"openstack-api-version", f"compute {version}".encode()))
    body = msgspec.json.encode(document) if raw is None else raw
    return Call("POST", path, tuple(fields), body)


class Delivered:
    """One message, and what became of it."""

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.claimed: Record | None = None
        self.ends: list[str] = []

    def acknowledge(self) -> None:
        self.ends.append("acknowledged")

    def hand_back(self) -> None:
        self.ends.append("handed back")


_: type[Delivery] = Delivered
