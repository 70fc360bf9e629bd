"""Defects, each a small patch of the product: the proof that the checks can fail."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from dedupd import outcome, request, token
from dedupd.api import answers, idempotent, repeats
from dedupd.api.idempotent import Visit
from dedupd.api.passthrough import PassThrough
from dedupd.api.question import Question
from dedupd.cloud.ask import Asker
from dedupd.cloud.probes import server_answer, server_cells, server_rows, servers
from dedupd.cloud.probes.base import Discarded, Errand
from dedupd.cloud.probes.keypairs import KeypairProbe
from dedupd.cloud.probes.server_rows import Row
from dedupd.cloud.probes.servers import ServerProbe
from dedupd.cmd.request import deeds
from dedupd.exchange import Answer
from dedupd.outcome import Outcome, Retry, Ruling
from dedupd.ports import Delivery, QueueUnavailable, Stored, StoreUnavailable
from dedupd.request import Record, Resource, State, Verdict
from dedupd.sim.histories.copies import Fence
from dedupd.sim.histories.intents import Intent
from dedupd.sim.histories.operators import Operator
from dedupd.store.memory import MemoryStore
from dedupd.worker import executor
from dedupd.worker import job as job_module
from dedupd.worker.compensation import Compensation
from dedupd.worker.executor import ENDED, READ, RECONCILE, Executor, Next
from dedupd.worker.job import Job
from dedupd.worker.lease import Lease
from dedupd.worker.reconciler import Decision, Reconciler
from dedupd.worker.service import WorkerService
from dedupd.worker.sweeper import Sweeper

Patch = pytest.MonkeyPatch
DEFECTS: dict[str, Callable[[Patch], None]] = {}


def defect(name: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Put a patch into the table."""

    def add(patch: Callable[[Patch], None]) -> Callable[[Patch], None]:
        DEFECTS[name] = patch
        return patch

    return add


@defect("no fingerprint")
def _(patch: Patch) -> None:
    def same(_question: Question, _standing: Record) -> None:
        """Whatever is asked under a used token is taken for the first request."""

    patch.setattr(idempotent, "_check_same", same)


@defect("ids without the project")
def _(patch: Patch) -> None:
    real = token.identify

    def identify(key: bytes, region: str, _project_id: str, client_token: str) -> str:
        return real(key, region, "", client_token)

    patch.setattr(token, "identify", identify)


@defect("secrets to every user")
def _(patch: Patch) -> None:
    def visible(_record: Record, body: bytes, _user_id: str) -> tuple[bytes, Any]:
        return body, ()

    patch.setattr(answers, "_visible", visible)


@defect("an accepted request is withdrawn")
def _(patch: Patch) -> None:
    async def assure(_self: Visit, _record: Record) -> None:
        """Nobody is told that somebody relies on it."""

    patch.setattr(Visit, "_assure", assure)


@defect("no fencing on finish")
def _(patch: Patch) -> None:
    real = job_module.commit

    async def commit(store: Any, before: Record, after: Record, result: bytes | None = None) -> Any:
        standing = (await store.read([before.id])).get(before.id)
        if standing is None or after.state is not State.DONE:
            return await real(store, before, after, result)
        return await real(store, standing.record, after, result)

    patch.setattr(executor, "commit", commit)


@defect("sending before the record says SENDING")
def _(patch: Patch) -> None:
    async def send_once(self: Executor, job: Job) -> Next:
        if not job.is_read:
            return READ
        await self._may_exist(job)
        if not await self._lease.renewed():
            return ENDED
        queued = job.record
        job.advance(request.begin_send(queued, self._lease.worker_id, self._clock(), 5.0))
        answer, ruling = await self._exchange(job)
        job.advance(queued)
        if await self._begin(job) is not None:
            return ENDED
        if ruling.outcome is Outcome.AMBIGUOUS:
            return RECONCILE
        if ruling.outcome is Outcome.DEFINITE:
            await self._settle(job, answer)
            return ENDED
        return await self._without_effect(job, answer, ruling.retry, "")

    patch.setattr(Executor, "_send_once", send_once)


@defect("a first send that compares nothing")
def _(patch: Patch) -> None:
    async def begin(
        self: MemoryStore, claimed: Record, sending: Record, worker: str
    ) -> Stored | None:
        standing = self._requests.get(claimed.id)
        if standing is None or standing.payload is None:
            return None
        written = await self.swap(standing.record, sending, worker=worker)
        return None if written is None else Stored(written, standing.payload)

    patch.setattr(MemoryStore, "begin", begin)


@defect("a claim that compares no fence")
def _(patch: Patch) -> None:
    patch.setattr(Fence, "is_there", lambda _self, _key: True)


@defect("a send without a look at the lease")
def _(patch: Patch) -> None:
    async def renewed(_self: Lease) -> bool:
        return True

    def may_send(_self: Executor, _job: Job) -> bool:
        return True

    patch.setattr(Lease, "renewed", renewed)
    patch.setattr(Executor, "_may_send", may_send)


@defect("SENDING is run again without a probe")
def _(patch: Patch) -> None:
    async def decide(_self: Reconciler, _job: Job) -> Decision:
        return Decision.SEND_AGAIN

    patch.setattr(Reconciler, "decide", decide)


@defect("probing before the settle time")
def _(patch: Patch) -> None:
    real = Reconciler._look_once

    async def look_once(self: Reconciler, job: Job, _since: float) -> Any:
        with pytest.MonkeyPatch.context() as at_once:
            at_once.setattr(job, "accepted_by", 0.0)
            at_once.setattr(job, "settled_at", lambda _settle: 0.0)
            return await real(self, job, -math.inf)

    patch.setattr(Reconciler, "_look_once", look_once)


def _settled_at_the_deadline(job: Job, settle: float) -> float:
    return job.record.sending.send_deadline + settle


@defect("the settle time begins before the doubt")
def _(patch: Patch) -> None:
    real = request.end_attempt

    def end_attempt(record: Record, verdict: Verdict, now: float, **more: Any) -> Record:
        ended = real(record, verdict, now, **more)
        last = msgspec.structs.replace(ended.sending, send_deadline=record.sending.send_deadline)
        return msgspec.structs.replace(ended, attempts=(*ended.attempts[:-1], last))

    patch.setattr(request, "end_attempt", end_attempt)
    patch.setattr(Job, "settled_at", _settled_at_the_deadline)


@defect("an earlier life's server is taken for its own")
def _(patch: Patch) -> None:
    def long_ago(_errand: Errand) -> str:
        return "1970-01-01T00:00:00Z"

    patch.setattr(server_rows, "since", long_ago)


@defect("a forgotten token's server is told to another user")
def _(patch: Patch) -> None:
    def ours(errand: Errand, rows: Iterable[Row]) -> list[Row]:
        made = server_rows.since(errand)
        return [row for row in server_rows.marked(errand, rows) if row.created >= made]

    patch.setattr(servers, "ours", ours)
    patch.setattr(server_rows, "ours", ours)


@defect("what a living owner lets lie is left to it")
def _(patch: Patch) -> None:
    def left_lying(_self: Sweeper, _pending: list[Record], _ours: list[Record]) -> Iterator[Record]:
        return iter(())

    patch.setattr(Sweeper, "_left_lying", left_lying)


@defect("what is forgotten is still answered from memory")
def _(patch: Patch) -> None:
    patch.setattr(deeds, "FRESH_SECONDS", 0.0)
    patch.setattr(repeats, "FRESH_SECONDS", 5.0)


@defect("an operator cancels what was sent")
def _(patch: Patch) -> None:
    async def see_to(self: Operator, intent: Intent) -> None:
        record = (await self._desk.find(intent.id)).record
        if record.state is State.SENDING:
            await self._desk.move(record, request.cancel(record, 0.0, detail="", keep=60.0))

    patch.setattr(Operator, "_see_to", see_to)


@defect("what has no token is sent again")
def _(patch: Patch) -> None:
    real = PassThrough._ask

    async def ask(self: PassThrough, scope: Any, body: Any) -> Any:
        try:
            return await real(self, scope, body)
        except aiohttp.ServerDisconnectedError:
            return await real(self, scope, body)

    patch.setattr(PassThrough, "_ask", ask)


@defect("ignoring pagination")
def _(patch: Patch) -> None:
    async def first_page(errand: Errand, asker: Asker, filters: dict[str, str]) -> list[Row]:
        return await server_rows._page(errand, asker, filters)

    for module in (server_cells, servers):
        patch.setattr(module, "listed", first_page)


@defect("trusting an ignored filter")
def _(patch: Patch) -> None:
    def ours(_errand: Errand, rows: Iterable[Row]) -> list[Row]:
        return list(rows)

    patch.setattr(servers, "ours", ours)


@defect("compensating what the record names")
def _(patch: Patch) -> None:
    async def unnamed(_self: Compensation, _job: Job, _resource: Resource) -> bool:
        return True

    patch.setattr(Compensation, "_unnamed", unnamed)


@defect("compensating without checking the mark")
def _(patch: Patch) -> None:
    async def discard(
        _self: ServerProbe, errand: Errand, resource: Resource, asker: Asker
    ) -> tuple[Discarded, ...]:
        target = f"{errand.base}/servers/{resource.id}"
        answer = await asker.as_caller(target, server_rows.ASKING, method="DELETE")
        left = "" if answer.status in (204, 404) else "It stays."
        return (Discarded(resource, left),)

    patch.setattr(ServerProbe, "discard", discard)


@defect("the sweeper publishes SENDING as queued")
def _(patch: Patch) -> None:
    tasks: list[asyncio.Task[None]] = []

    def recover(self: Sweeper, records: list[Record]) -> None:
        sending = [record for record in records if record.state is State.SENDING]
        tasks.append(asyncio.get_running_loop().create_task(_publish(self, sending)))

    async def _publish(self: Sweeper, records: list[Record]) -> None:
        for record in records:
            queued = request.requeue(record, "", self.clock() + 8.0)
            with contextlib.suppress(StoreUnavailable, QueueUnavailable):
                if await self.store.swap(record, queued) is not None:
                    await self.queue.publish(record.id)

    patch.setattr(Sweeper, "_recover", recover)


@defect("the sweeper publishes nothing again")
def _(patch: Patch) -> None:
    async def publish(_self: Sweeper, _queued: Iterable[Record]) -> None:
        """A lost message is lost."""

    patch.setattr(Sweeper, "_publish", publish)


@defect("a leader that is of no use stays")
def _(patch: Patch) -> None:
    async def resign(_self: Sweeper) -> None:
        """It leads as long as it lives."""

    patch.setattr(Sweeper, "resign", resign)


@defect("a dead worker's request is left alone")
def _(patch: Patch) -> None:
    def recover(_self: Sweeper, _records: list[Record]) -> None:
        """It will come back."""

    patch.setattr(Sweeper, "_recover", recover)


@defect("a look overtakes what waits")
def _(patch: Patch) -> None:
    def afresh(self: Asker, _timeout: float) -> Asker:
        return self

    patch.setattr(Asker, "afresh", afresh)


@defect("the settle time begins before it is known that Nova has taken the POST")
def _(patch: Patch) -> None:
    patch.setattr(Job, "settled_at", _settled_at_the_deadline)


@defect("5xx is taken for no effect")
def _(patch: Patch) -> None:
    ruling = Ruling(Outcome.NO_EFFECT, Retry.ALWAYS)
    patch.setitem(outcome.BY_HUNDRED, 5, ruling)


@defect("a lost answer is taken for no effect")
def _(patch: Patch) -> None:
    patch.setattr(outcome, "LOST", Ruling(Outcome.NO_EFFECT, Retry.ALWAYS))


@defect("what cannot be looked for is sent again")
def _(patch: Patch) -> None:
    real = Reconciler.decide

    async def decide(self: Reconciler, job: Job) -> Decision:
        return Decision.SEND_AGAIN if job.probe is None else await real(self, job)

    patch.setattr(Reconciler, "decide", decide)


@defect("a keypair that was there is not noticed")
def _(patch: Patch) -> None:
    async def existed(_self: KeypairProbe, _errand: Errand, _asker: Asker) -> bool:
        return False

    patch.setattr(KeypairProbe, "existed", existed)


@defect("a new password for each look")
def _(patch: Patch) -> None:
    real = server_answer.password
    drawn = [0]

    def password(_seed: bytes) -> str:
        drawn[0] += 1
        return real(drawn[0].to_bytes(16, "big"))

    for module in (server_answer, servers):
        patch.setattr(module, "password", password)


@defect("unknown is released")
def _(patch: Patch) -> None:
    async def give_up(self: Reconciler, job: Job, _reason: str) -> Decision:
        answer = Answer(502, (), b"{}")
        await self._executor.release(job, answer)
        return Decision.ENDED

    patch.setattr(Reconciler, "_give_up", give_up)


@defect("acknowledged before it is finished, and nobody sweeps")
def _(patch: Patch) -> None:
    real = WorkerService._take

    async def take(self: WorkerService, delivery: Delivery) -> None:
        delivery.acknowledge()
        await real(self, delivery)

    async def nothing(_self: Sweeper, _queued: Iterable[Record]) -> None:
        """What is queued is left to the queue alone."""

    def nobody(_self: Sweeper, _records: list[Record]) -> None:
        """What was left is left."""

    patch.setattr(WorkerService, "_take", take)
    patch.setattr(Sweeper, "_publish", nothing)
    patch.setattr(Sweeper, "_recover", nobody)
