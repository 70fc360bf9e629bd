"""Workers' leases: etcd's own, so that one clock ends them for everybody.

A worker's key is tied to its lease and vanishes with it. The worker itself takes its lease for
ended as soon as the time it was promised has passed by its own clock, which is never later: an etcd
lease lasts whole seconds, rounded up, and begins later than the worker began to ask for it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from grpc import StatusCode
from oslo_log import log

from dedupd.ports import StoreUnavailable, Worker
from dedupd.store import etcd_requests
from dedupd.store.etcd_cluster import Cluster, Refused
from dedupd.store.etcd_keys import Keys
from dedupd.store.etcd_ranges import Ranges
from dedupd.store.etcd_requests import Compare
from dedupd.store.etcd_stubs import rpc

LOG = log.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Worker).decode


@dataclass
class _Held:
    """A lease that a worker of this process holds."""

    worker: Worker
    lease: int
    seconds: int
    """What it was granted for; a keep-alive begins it anew."""


class Leases:
    """The leases in one cluster, and those that this process holds."""

    def __init__(
        self, cluster: Cluster, keys: Keys, ranges: Ranges, clock: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._keys = keys
        self._ranges = ranges
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def has_ended(self, worker_id: str) -> bool:
        """Whether this process held the lease, and its time has passed."""
        held = self._held.get(worker_id)
        return held is not None and held.worker.lease_until <= self._clock()

    async def register(self, worker: Worker) -> None:
        """See ``Store.register``."""
        former = self._held.pop(worker.id, None)
        seconds = max(1, math.ceil(worker.lease_until - self._clock()))
        answer, _ = await self._cluster.ask(
            "Lease", "LeaseGrant", rpc.LeaseGrantRequest(TTL=seconds)
        )
        held = _Held(worker, answer.ID, seconds)
        if not await self._write(held, anew=True):
            raise StoreUnavailable(f"The lease of {worker.id} ended before it was written.")
        self._held[worker.id] = held
        if former is not None:
            await self._revoke(former.lease)

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """See ``Store.keep_alive``; proves that a majority of etcd's members is there."""
        held = self._held.get(worker_id)
        if held is None:
            return False
        if self.has_ended(worker_id):
            await self.retire(worker_id)
            return False
        worker = msgspec.structs.replace(held.worker, lease_until=until)
        if until - self._clock() > held.seconds:
            await self.register(worker)
            return True
        prolonged = _Held(worker, held.lease, held.seconds)
        if not await self._prolong(held.lease) or not await self._write(prolonged, anew=False):
            self._held.pop(worker_id, None)
            return False
        self._held[worker_id] = prolonged
        return True

    async def retire(self, worker_id: str) -> None:
        """See ``Store.retire``."""
        pair = await self._ranges.get(self._keys.worker(worker_id))
        if pair is not None:
            await self._revoke(pair.lease)
        self._held.pop(worker_id, None)

    async def living(self) -> list[Worker]:
        """See ``Store.workers``; those whose lease cannot be read are logged and left out.

        Nothing is taken from them by that: a take-over compares that the lease's key is gone.
        """
        pairs = await self._ranges.below(self._keys.all_workers)
        workers = [worker for pair in pairs if (worker := _readable(pair)) is not None]
        return [worker for worker in workers if not self.has_ended(worker.id)]

    def compares(self, worker: str, gone: str) -> list[Compare]:
        """That the lease of ``worker`` is alive, and that of ``gone`` is not, as far as named."""
        lives = [etcd_requests.exists(self._keys.worker(worker))] if worker else []
        if not gone or self.has_ended(gone):
            return lives
        return [*lives, etcd_requests.is_absent(self._keys.worker(gone))]

    async def lead(self, worker_id: str) -> bool:
        """See ``Store.lead``."""
        if worker_id not in self._held or self.has_ended(worker_id):
            return False
        key = self._keys.leader
        standing = await self._ranges.get(key)
        leader, version = ("", 0) if standing is None else _leader(standing)
        former, claim = leader, [etcd_requests.put(key, worker_id.encode())]
        if leader == worker_id:
            former, claim = "", []
        unchanged = etcd_requests.is_version(key, version)
        answer, doubtful = await self._cluster.ask(
            "KV",
            "Txn",
            etcd_requests.message(
                etcd_requests.transaction([unchanged, *self.compares(worker_id, former)], claim)
            ),
        )
        if doubtful and not answer.succeeded:
            return await self.lead(worker_id)
        return bool(answer.succeeded)

    async def resign(self, worker_id: str) -> None:
        """See ``Store.resign``."""
        key = self._keys.leader
        is_leader = etcd_requests.has_value(key, worker_id.encode())
        request = etcd_requests.transaction([is_leader], [etcd_requests.delete(key)])
        await self._cluster.ask("KV", "Txn", etcd_requests.message(request))

    async def _write(self, held: _Held, *, anew: bool) -> bool:
        """Write the worker's key; False: the lease has ended."""
        key = self._keys.worker(held.worker.id)
        compares = [] if anew else [etcd_requests.exists(key)]
        operation = etcd_requests.put(key, _encode(held.worker), held.lease)
        request = etcd_requests.message(etcd_requests.transaction(compares, [operation]))
        try:
            answer, _ = await self._cluster.ask("KV", "Txn", request)
        except Refused as refusal:
            if refusal.code is StatusCode.NOT_FOUND:
                return False
            raise
        return bool(answer.succeeded)

    async def _prolong(self, lease: int) -> bool:
        """Begin the lease's time anew; False: it has ended."""
        request = rpc.LeaseKeepAliveRequest(ID=lease)
        answer, _ = await self._cluster.ask("Lease", "LeaseKeepAlive", request)
        return bool(answer.TTL > 0)

    async def _revoke(self, lease: int) -> None:
        """End a lease, with all that is tied to it; it may have ended already."""
        request = rpc.LeaseRevokeRequest(ID=lease)
        with contextlib.suppress(Refused):
            await self._cluster.ask("Lease", "LeaseRevoke", request)


def _readable(pair: Any) -> Worker | None:
    try:
        return _decode(pair.value)
    except ValueError as error:
        key = pair.key.decode(errors="backslashreplace")
        LOG.error("etcd: %s is not one of dedupd's workers: %s", key, error)
        return None


def _leader(pair: Any) -> tuple[str, int]:
    """Who leads, by the leader's key, and the key's version."""
    return pair.value.decode(), pair.mod_revision
