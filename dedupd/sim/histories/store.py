"""The Store port of one process, on the truth that all share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from dedupd.ports import Depth, Query, Stored, StoreUnavailable, Worker
from dedupd.request import Record
from dedupd.sim.histories.copies import Doubt, Fence
from dedupd.sim.histories.faults import Fault, Operation
from dedupd.sim.histories.stage import Node, at_once
from dedupd.sim.histories.wire import LATENCY, SLOW_SECONDS, Manners, Wire

T = TypeVar("T")

_MANNERS = Manners(
    slow=Fault.STORE_SLOW,
    refused=Fault.STORE_REFUSED,
    unanswered=Fault.STORE_UNANSWERED,
    late=Fault.STORE_LATE,
    failure=lambda how: StoreUnavailable(f"The store failed: {how}."),
    copied=Fault.STORE_COPIED,
)


class HostileStore:
    """``dedupd.ports.Store`` as a process sees it: may fail before or after it did its part.

    A lease is measured with the store's clock, as etcd's are: a process only says for how long.
    """

    def __init__(self, node: Node, operation: Operation) -> None:
        self._node = node
        self._truth = node.stage.truth
        self._wire = Wire(node, operation, _MANNERS)
        self._fence = Fence(node.stage.clock)
        self._leases: dict[str, float] = {}
        """Until when this process takes its own leases for living, by its own clock."""
        node.lease_ended = self._end_leases

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        """See ``Store.claim``; a copy of it compares what it would replace, and the fence."""
        stage, fence = self._node.stage, self._fence
        key, standing = fence.standing(), stage.standing(record.id)
        replaced = standing if standing is not None and standing.state.vacant else None

        def effect() -> tuple[bool, Stored]:
            fence.tear_down()
            return self._claim(record, payload, "claimed")

        def copy() -> None:
            if fence.is_there(key) and stage.standing(record.id) == replaced:
                self._claim(record, payload, "claimed by a copy")

        doubt = Doubt(copy, told=fence.clear, untold=fence.condemn)
        created, stored = await self._wire.exchange(record.id, effect, doubt)
        if created:
            stage.ledger.heard(stored.record)
        return created, stored

    async def read(self, ids: Sequence[str]) -> dict[str, Stored]:
        """See ``Store.read``."""
        subject = ids[0] if ids else ""
        return await self._wire.exchange(subject, lambda: at_once(self._truth.read(ids)))

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

        def effect() -> Record | None:
            swap = self._truth.swap(before, after, result=result, worker=worker, gone=gone)
            written = at_once(swap)
            if written is not None:
                self._node.stage.ledger.moved(before, written)
                self._note(f"{before.state.label} -> {after.state.label}", written)
            return written

        return await self._wire.exchange(before.id, effect, self._doubt(effect))

    async def begin(self, claimed: Record, sending: Record, worker: str) -> Stored | None:
        """See ``Store.begin``."""

        def effect() -> Stored | None:
            written = at_once(self._truth.begin(claimed, sending, worker))
            if written is not None:
                self._node.stage.ledger.moved(claimed, written.record)
                self._note("claimed -> sending", written.record)
            return written

        return await self._wire.exchange(claimed.id, effect, self._doubt(effect))

    async def forget(self, record: Record) -> bool:
        """See ``Store.forget``."""

        def effect() -> bool:
            gone = at_once(self._truth.forget(record))
            if gone:
                self._forgotten(record)
                self._note("forgotten", record)
            return gone

        return await self._wire.exchange(record.id, effect, self._doubt(effect))

    async def pending(self, limit: int) -> list[Record]:
        """See ``Store.pending``."""
        return await self._wire.exchange("", lambda: at_once(self._truth.pending(limit)))

    async def overdue(self, now: float, limit: int) -> list[Record]:
        """See ``Store.overdue``."""
        return await self._wire.exchange("", lambda: at_once(self._truth.overdue(now, limit)))

    async def find(self, query: Query) -> list[Record]:
        """See ``Store.find``."""
        return await self._wire.exchange("", lambda: at_once(self._truth.find(query)))

    async def depth(self) -> Depth:
        """See ``Store.depth``."""
        return await self._wire.exchange("", lambda: at_once(self._truth.depth()))

    def on_completion(self, listener: Callable[[Stored], None]) -> None:
        """See ``Store.on_completion``: an event may be lost, come twice or late."""
        self._truth.on_completion(self._troubled(listener, lambda stored: stored.record.id))

    async def register(self, worker: Worker) -> None:
        """See ``Store.register``."""
        seconds = worker.lease_until - self._node.clock()

        def effect() -> None:
            at_once(self._truth.register(self._lease(worker, seconds)))

        await self._wire.exchange("", effect)
        self._leases[worker.id] = worker.lease_until

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """See ``Store.keep_alive``; what has ended by this process's clock has ended."""
        if self._leases.get(worker_id, 0.0) <= self._node.clock():
            return False
        seconds = until - self._node.clock()

        def effect() -> bool:
            true_until = self._node.stage.clock() + seconds
            return at_once(self._truth.keep_alive(worker_id, true_until))

        kept = await self._wire.exchange("", effect)
        if kept:
            self._leases[worker_id] = until
        return kept

    async def retire(self, worker_id: str) -> None:
        """See ``Store.retire``."""
        await self._wire.exchange("", lambda: at_once(self._truth.retire(worker_id)))

    async def workers(self) -> list[Worker]:
        """See ``Store.workers``."""
        return await self._wire.exchange("", lambda: at_once(self._truth.workers()))

    async def lead(self, worker_id: str) -> bool:
        """See ``Store.lead``."""
        return await self._wire.exchange("", lambda: at_once(self._truth.lead(worker_id)))

    async def resign(self, worker_id: str) -> None:
        """See ``Store.resign``."""
        await self._wire.exchange("", lambda: at_once(self._truth.resign(worker_id)))

    def on_departure(self, listener: Callable[[str], None]) -> None:
        """See ``Store.on_departure``: an event may be lost, come twice or late."""
        self._truth.on_departure(self._troubled(listener, lambda _: ""))

    def _troubled(
        self, listener: Callable[[T], None], subject: Callable[[T], str]
    ) -> Callable[[T], None]:
        """A listener whose events suffer faults, for as long as this process lives."""
        node, process = self._node, self._node.process
        loop, torment = node.stage.loop, node.stage.torment

        def publish(event: T) -> None:
            if process is not node.process:
                return
            draw = torment.draw(node.stream, Operation.EVENT, subject(event))
            fault, size = draw.fault, draw.size
            if fault is Fault.EVENT_LOST:
                return
            delay = SLOW_SECONDS * size if fault is Fault.EVENT_SLOW else LATENCY * size
            loop.call_later(delay, listener, event, context=process.context)
            if fault is Fault.EVENT_REPEATED:
                loop.call_later(delay + size, listener, event, context=process.context)

        return publish

    def _claim(self, record: Record, payload: bytes, how: str) -> tuple[bool, Stored]:
        created, stored = at_once(self._truth.claim(record, payload))
        if created:
            self._node.stage.ledger.claimed(stored.record)
            self._note(how, stored.record)
        return created, stored

    def _doubt(self, effect: Callable[[], object]) -> Doubt:
        """Of a write that compares a version: a copy does the same, and all doubt condemns."""
        return Doubt(effect, told=self._fence.condemn, untold=self._fence.condemn)

    def _lease(self, worker: Worker, seconds: float) -> Worker:
        """The lease as the store measures it."""
        return msgspec.structs.replace(worker, lease_until=self._node.stage.clock() + seconds)

    def _end_leases(self) -> None:
        """The store lets this process's leases go before their time, as after lost heartbeats."""
        for worker_id in self._leases:
            at_once(self._truth.retire(worker_id))

    def _forgotten(self, record: Record) -> None:
        self._node.stage.ledger.forgotten(record)

    def _note(self, what: str, record: Record) -> None:
        stage = self._node.stage
        stage.chronicle.note(self._node.name, what, record.id[:8], f"v{record.version}")
        if stage.torment.ambush is not None:
            stage.torment.ambush.stir(record.id)
