"""The Store on etcd: for many fronts and workers on many machines.

Every change of a record is one transaction that compares the record's version (its key's
mod_revision); what etcd acknowledged has been written through to the disks of a majority. Many
callers' changes share one round of consensus (``group_commit``).

Where a call times out, nobody knows whether etcd carried it out. It is then sent again: its
compare lets it be carried out once at most, and what stands there afterwards tells whose it is by
a token that is drawn for each write. Only where another write has covered the traces is the answer
StoreUnavailable, and the caller reads.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from dedupd.ports import Depth, Query, Stored, StoreUnavailable, Worker
from dedupd.request import Record
from dedupd.store import etcd_check, etcd_keys, etcd_quota, etcd_requests
from dedupd.store.etcd_cluster import IN_DOUBT, LATE, OPERATION_SECONDS, Cluster, Late, Refused
from dedupd.store.etcd_fence import Fence
from dedupd.store.etcd_keys import Head, Keys
from dedupd.store.etcd_leases import Leases
from dedupd.store.etcd_listing import Listing
from dedupd.store.etcd_pending import Pending
from dedupd.store.etcd_ranges import Ranges
from dedupd.store.etcd_requests import Compare, Transaction, found
from dedupd.store.etcd_watch import Completions, Departures
from dedupd.store.group_commit import READS, WRITES, GroupCommit, Part
from dedupd.store.origin import Origin

SUPERSEDED = 1
"""A version that no key has: etcd's first revision writes nothing."""

_TOKEN_BYTES = 8

CLAIMED = b""
"""A claim's token: its birth tells it from others, and who knows the record knows its value."""


class EtcdStore:
    """Records in an etcd cluster; see ``dedupd.ports.Store`` for what each method promises.

    ``prefix`` is what all keys begin with; it keeps the ``origin`` that it was first opened for.
    ``clock`` gives seconds since the epoch; a worker sees its own lease end by it, which is never
    later than etcd ends it for the others.
    Where ``create`` is not set, it is refused unless it was opened with it before.
    ``known_bad`` lets a version of etcd be used that is known to lose acknowledged writes.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        prefix: str,
        origin: Origin,
        clock: Callable[[], float] = time.time,
        create: bool = True,
        known_bad: bool = False,
    ) -> None:
        self._cluster = cluster
        self._keys = Keys(prefix)
        self._origin = origin
        self._create = create
        self._known_bad = known_bad
        self._fence = Fence(cluster, self._keys)
        self._writes = GroupCommit(cluster, WRITES, OPERATION_SECONDS, self._fence.condemn)
        self._reads = GroupCommit(cluster, READS, OPERATION_SECONDS)
        self._ranges = Ranges(cluster)
        self._leases = Leases(cluster, self._keys, self._ranges, clock)
        self._pending = Pending(self._keys, self._ranges, self._heads)
        self._listing = Listing(self._keys, self._ranges, self._heads, self._pending)
        self._completions = Completions(cluster, self._keys)
        self._departures = Departures(cluster, self._keys)

    async def open(self) -> None:
        """See ``Store.open``."""
        await self._cluster.open()
        try:
            versions = await etcd_check.versions(self._cluster)
            etcd_check.refuse_lossy(versions, known_bad=self._known_bad)
            await etcd_check.claim_prefix(
                self._cluster, self._keys.meta, self._origin, create=self._create
            )
            if self._create:
                await etcd_quota.warn_of_small_quota(self._cluster)
            self._completions.start()
            self._departures.start()
        except BaseException:
            await self._cluster.close()
            raise

    async def close(self) -> None:
        """See ``Store.close``; what was sent is waited for first."""
        await asyncio.gather(self._completions.stop(), self._departures.stop())
        await asyncio.gather(self._writes.finish(), self._reads.finish())
        await self._cluster.close()

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        """See ``Store.claim``."""
        standing: Stored | None = None
        doubtful = False
        tried = b""
        while True:
            try:
                fence = await self._fence.standing()
                transaction = self._claiming(record, payload, standing, fence)
                part = await self._writes.run(record.id, transaction)
                doubtful |= part.doubtful
                if part.doubtful:
                    await self._fence.clear()
            except Refused as refusal:
                refusal.in_doubt |= doubtful
                full = await self._standing_in_full(record.id, refusal)
                as_made = msgspec.structs.replace(full.record, version=record.version)
                return as_made == record, full
            if part.succeeded:
                return True, Stored(_stamped(record, part.revision), payload)
            standing = self._assembled(part.responses)
            if doubtful and standing is not None and standing.record.birth == record.birth:
                return True, Stored(_stamped(record, _claimed_at(part.responses)), payload)
            if standing is not None and not standing.record.state.vacant:
                return False, standing
            if fence == tried:
                self._fence.miss(fence)
            tried = fence

    async def read(self, ids: Sequence[str]) -> dict[str, Stored]:
        """See ``Store.read``.

        Raises:
            Unreadable: one of them, which is not to be taken for one that is not there.
        """
        different = list(dict.fromkeys(ids))
        parts = await self._looks(map(self._looking, different))
        stored = [self._assembled(part.responses) for part in parts]
        pairs = zip(different, stored, strict=True)
        return {id_: one for id_, one in pairs if one is not None}

    async def swap(
        self,
        before: Record,
        after: Record,
        *,
        result: bytes | None = None,
        worker: str = "",
        gone: str = "",
    ) -> Record | None:
        """See ``Store.swap``."""
        if worker and self._leases.has_ended(worker):
            return None
        if result is None and before.state.answered and after.state.answered:
            head = await self._head(before.id)
            if head is None or head.record.version != before.version:
                return None
            result = head.result
        token = os.urandom(_TOKEN_BYTES)
        transaction = self._swapping(before, after, token, result)
        transaction["compare"] += self._leases.compares(worker, gone)
        part = await self._writes.run(before.id, transaction)
        if part.succeeded:
            return _stamped(after, part.revision)
        traced = await self._trace(before, token) if part.doubtful else None
        return None if traced is None else traced.record

    async def begin(self, claimed: Record, sending: Record, worker: str) -> Stored | None:
        """See ``Store.begin``; compares the bytes that the claim wrote."""
        if self._leases.has_ended(worker):
            return None
        head, payload = self._keys.head(claimed), self._keys.payload(claimed.id)
        token = os.urandom(_TOKEN_BYTES)
        transaction = etcd_requests.transaction(
            [
                etcd_requests.has_value(head, etcd_keys.encode(claimed, CLAIMED, None)),
                etcd_requests.exists(payload),
                *self._leases.compares(worker, ""),
            ],
            [
                etcd_requests.get(payload),
                etcd_requests.put(head, etcd_keys.encode(sending, token, None)),
            ],
        )
        part = await self._writes.run(claimed.id, transaction)
        if part.succeeded:
            return Stored(_stamped(sending, part.revision), found(part.responses[0]).value)
        return await self._trace(claimed, token) if part.doubtful else None

    async def forget(self, record: Record) -> bool:
        """See ``Store.forget``."""
        keys = self._keys
        gone = [*keys.image(record), keys.payload(record.id)]
        transaction = etcd_requests.transaction(
            self._unchanged(record), [etcd_requests.delete(key) for key in gone]
        )
        part = await self._writes.run(record.id, transaction)
        if part.succeeded or not part.doubtful:
            return part.succeeded
        # Whoever deleted it: what was to be forgotten is gone unless this life of it goes on.
        head = _head_among(await self._look_again(record.id))
        return head is None or head.record.birth != record.birth

    async def pending(self, limit: int) -> list[Record]:
        """See ``Store.pending``."""
        return await self._pending.oldest(limit)

    async def overdue(self, now: float, limit: int) -> list[Record]:
        """See ``Store.overdue``."""
        end = self._keys.expired_until(now)
        pairs = await self._ranges.first(self._keys.all_expiries, end, limit, keys_only=True)
        ids = [Keys.last_part(pair.key) for pair in pairs]
        heads = await self._heads(ids)
        records = [heads[id_] for id_ in ids if id_ in heads]
        return [one for one in records if one.expires_at is not None and one.expires_at <= now]

    async def find(self, query: Query) -> list[Record]:
        """See ``Store.find``.

        Newest by the fronts' clocks, and by their claims within ``LISTING_SECONDS``.
        """
        return await self._listing.find(query)

    async def depth(self) -> Depth:
        """See ``Store.depth``."""
        return await self._pending.depth()

    def on_completion(self, listener: Callable[[Stored], None]) -> None:
        """See ``Store.on_completion``; hears of the completions of all processes."""
        self._completions.listen(listener)

    async def register(self, worker: Worker) -> None:
        """See ``Store.register``."""
        await self._leases.register(worker)

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """See ``Store.keep_alive``; only for a lease that this process has registered."""
        return await self._leases.keep_alive(worker_id, until)

    async def retire(self, worker_id: str) -> None:
        """See ``Store.retire``."""
        await self._leases.retire(worker_id)

    async def workers(self) -> list[Worker]:
        """See ``Store.workers``; in the order of their ids."""
        return await self._leases.living()

    async def lead(self, worker_id: str) -> bool:
        """See ``Store.lead``; only for a lease that this process has registered."""
        return await self._leases.lead(worker_id)

    async def resign(self, worker_id: str) -> None:
        """See ``Store.resign``."""
        await self._leases.resign(worker_id)

    def on_departure(self, listener: Callable[[str], None]) -> None:
        """See ``Store.on_departure``; hears of the workers of all processes."""
        self._departures.listen(listener)

    async def _standing_in_full(self, id_: str, refusal: Refused) -> Stored:
        """What stands where a claim would: etcd that is full refuses one without a look.

        Raises:
            Refused: it is not full, or nothing stands there.
        """
        standing = (await self.read([id_])).get(id_) if refusal.is_full else None
        if standing is None or standing.record.state.vacant:
            raise refusal
        return standing

    def _claiming(
        self, record: Record, payload: bytes, released: Stored | None, fence: bytes
    ) -> Transaction:
        """The transaction that claims, in the place of a released record if there is one."""
        keys, id_ = self._keys, record.id
        before = {} if released is None else keys.image(released.record)
        there = (
            etcd_requests.is_absent(keys.request(id_))
            if released is None
            else etcd_requests.is_version(keys.request(id_), released.record.version)
        )
        after = keys.image(record, etcd_keys.encode(record, CLAIMED, None))
        after[keys.payload(id_)] = payload
        return etcd_requests.transaction(
            [etcd_requests.none_below(keys.pending_of(id_)), there, etcd_requests.exists(fence)],
            etcd_requests.changes(before, after),
            self._looking(id_)["success"],
        )

    def _swapping(
        self, before: Record, after: Record, token: bytes, result: bytes | None
    ) -> Transaction:
        """The transaction that puts ``after`` in the place of ``before``."""
        keys = self._keys
        kept = result if after.state.answered else None
        moved = keys.moving(after, etcd_keys.encode(after, token, kept))
        success = etcd_requests.changes(keys.moving(before), moved)
        if before.state.pending and not after.state.pending:
            success.append(etcd_requests.delete(keys.payload(before.id)))
        return etcd_requests.transaction(self._unchanged(before), success)

    def _unchanged(self, record: Record) -> list[Compare]:
        """That this version of this life of the record still stands there."""
        return [
            etcd_requests.is_version(self._keys.head(record), record.version),
            etcd_requests.has_value(self._keys.listing(record), record.birth.encode()),
        ]

    async def _trace(self, before: Record, token: bytes) -> Stored | None:
        """What came of a write that had to be sent again, and then found another version.

        Raises:
            StoreUnavailable: somebody has written since, so that nobody can tell.
        """
        responses = await self._look_again(before.id)
        head = _head_among(responses)
        if head is not None and head.token == token:
            return self._assembled(responses)
        if head is not None and _stands(before, head):
            return None
        said = f"{LATE}, and {before.id} has been changed since; nobody can tell by whom. Read it"
        raise StoreUnavailable.of(self._cluster.engine, f"{said} again")

    async def _look_again(self, id_: str) -> Sequence[Any]:
        """Look at a record after a write in doubt, which stays so where there is no answer."""
        try:
            [part] = await self._looks([self._looking(id_)])
        except Late:
            raise Late.of(self._cluster.engine, IN_DOUBT) from None
        return part.responses

    async def _head(self, id_: str) -> Head | None:
        [part] = await self._looks([self._looking(id_)])
        return _head_among(part.responses)

    async def _heads(self, ids: Sequence[str]) -> dict[str, Record]:
        """The records with these ids that can be read, without what they carry."""
        parts = await self._looks(map(self._looking_at_head, ids))
        heads = [_head_among(part.responses, etcd_keys.readable_at) for part in parts]
        return {head.record.id: head.record for head in heads if head is not None}

    async def _looks(self, transactions: Iterable[Transaction]) -> list[Part]:
        parts = [self._reads.run(None, each) for each in transactions]
        return [await parts[0]] if len(parts) == 1 else await asyncio.gather(*parts)

    def _looking_at_head(self, id_: str) -> Transaction:
        """The transaction that reads a record's head, wherever it stands."""
        pending, request = self._keys.pending_of(id_), self._keys.request(id_)
        return etcd_requests.transaction(
            [], [etcd_requests.get_below(pending), etcd_requests.get(request)]
        )

    def _looking(self, id_: str) -> Transaction:
        """The transaction that reads a record and all that it carries."""
        transaction = self._looking_at_head(id_)
        transaction["success"].append(etcd_requests.get(self._keys.payload(id_)))
        return transaction

    @staticmethod
    def _assembled(responses: Sequence[Any]) -> Stored | None:
        """The record in the answer to ``_looking``."""
        head, payload = _head_among(responses), found(responses[2])
        if head is None:
            return None
        return etcd_keys.stored(head, payload.value if payload is not None else None)


def _head_among(
    responses: Sequence[Any], read: Callable[[Any], Head | None] = etcd_keys.head_at
) -> Head | None:
    """The head in the answer to ``_looking_at_head``: an unknown's pending key is a mere mark."""
    for pair in map(found, responses[:2]):
        if pair is not None and pair.value:
            return read(pair)
    return None


def _stands(before: Record, head: Head) -> bool:
    """Whether a head is what was to be replaced; of what was only claimed, no version is known."""
    claimed = head.token == CLAIMED and head.record.birth == before.birth
    return claimed or head.record.version == before.version


def _claimed_at(responses: Sequence[Any]) -> int:
    """The version that the record in the answer to ``_looking`` had when it was claimed."""
    pending = found(responses[0])
    return SUPERSEDED if pending is None else int(pending.create_revision)


def _stamped(record: Record, version: int) -> Record:
    return msgspec.structs.replace(record, version=version)
