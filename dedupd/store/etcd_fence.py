"""What keeps a claim that was sent twice from being carried out when its record is gone again.

A batch whose answer is lost is sent once more, through another member. Its first copy may still lie
in a member that stands still, whoever has cancelled it. A copy of a swap can do nothing later: the
version that it compares never comes back. But a claim compares that nothing is there, and that is
true again when the record has been withdrawn, cleared or forgotten (seen: a member paused for 4 and
for 68 s, and a record that nobody knew of any more stood there again).

So each claim also compares that its process's fence stands: a key with a name of its own. Where any
write was in doubt, the fence is torn down before anybody hears of a claim that was, and the next
claims have another one. What an ended process leaves goes with an etcd lease, which is no longer
than a released record stands.
"""

from __future__ import annotations

import asyncio
import os

from dedupd.store import etcd_requests
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.etcd_keys import Keys
from dedupd.store.etcd_stubs import rpc

LEASE_SECONDS = 60
"""For how long etcd keeps a fence."""

USED_SECONDS = LEASE_SECONDS / 2
"""For how long it is used; then another one takes its place."""

_NAME_BYTES = 8


class Fence:
    """The fence of one process; for one event loop."""

    def __init__(self, cluster: Cluster, keys: Keys) -> None:
        self._cluster = cluster
        self._keys = keys
        self._lock = asyncio.Lock()
        self._key: bytes | None = None
        self._until = 0.0
        """Of the loop's clock: no new claim uses it after that."""
        self._condemned: list[bytes] = []
        """Fences that may still stand and must not."""

    async def standing(self) -> bytes:
        """The key that a claim compares which is made now.

        Raises:
            StoreUnavailable: none could be put up, or an older one not be torn down.
        """
        if (key := self._usable()) is not None:
            return key
        async with self._lock:
            if (key := self._usable()) is None:
                self.condemn()
                await self._tear_down()
                key = self._key = await self._put_up()
            return key

    def condemn(self) -> None:
        """Use what stands no more; it is torn down before the next claim is made."""
        if self._key is not None:
            self._condemned.append(self._key)
            self._key = None

    def miss(self, key: bytes) -> None:
        """A claim that nothing else was in the way of has not found it: somebody has deleted it."""
        if key == self._key:
            self.condemn()

    async def clear(self) -> None:
        """When this returns, no claim that compared what is condemned can be carried out any more.

        Raises:
            StoreUnavailable: nobody can tell yet.
        """
        async with self._lock:
            await self._tear_down()

    def _usable(self) -> bytes | None:
        return self._key if asyncio.get_running_loop().time() < self._until else None

    async def _tear_down(self) -> None:
        """Delete what is condemned: a name that is gone never comes back, however often it is sent.

        Raises:
            StoreUnavailable: it stays condemned.
        """
        condemned = [*self._condemned]
        if condemned:
            deletes = [etcd_requests.delete(key) for key in condemned]
            await self._carry_out(deletes)
            self._condemned = [key for key in self._condemned if key not in condemned]

    async def _put_up(self) -> bytes:
        """A new one. One whose put was in doubt is never used: a late copy could put it up again.

        Raises:
            StoreUnavailable: etcd does not answer, or refuses it.
        """
        while True:
            self._until = asyncio.get_running_loop().time() + USED_SECONDS
            grant = rpc.LeaseGrantRequest(TTL=LEASE_SECONDS)
            lease, _ = await self._cluster.ask("Lease", "LeaseGrant", grant)
            key = self._keys.fence(os.urandom(_NAME_BYTES).hex())
            if not await self._carry_out([etcd_requests.put(key, b"", lease.ID)]):
                return key

    async def _carry_out(self, operations: list[etcd_requests.Operation]) -> bool:
        """Whether it may have been carried out more than once."""
        request = etcd_requests.message(etcd_requests.transaction([], operations))
        _, doubtful = await self._cluster.ask("KV", "Txn", request)
        return doubtful
