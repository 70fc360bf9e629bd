"""Carrying one request out: write, send once, commit.

The order is the promise: the record says SENDING before a byte goes out, the answer is committed
by compare-and-swap, and whoever loses that race undoes what nobody will ever name.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import tenacity
from oslo_log import log

from dedupd import outcome, request
from dedupd.cloud.ask import CannotAsk
from dedupd.errors import BadGateway
from dedupd.exchange import Answer
from dedupd.metrics import Metrics
from dedupd.outcome import Outcome, Retry
from dedupd.policy import Policy
from dedupd.ports import Cloud, Lost, NotSent, Store, StoreUnavailable
from dedupd.request import State, Verdict
from dedupd.seal import Keys
from dedupd.sealed import seal_answer
from dedupd.worker import policies
from dedupd.worker.compensation import Compensation
from dedupd.worker.job import Job, commit
from dedupd.worker.lease import Lease

LOG = log.getLogger(__name__)

RELEASED_SECONDS = 60.0
"""How long a released answer stays at least for those who wait for it."""


class Step(enum.Enum):
    """What comes after a send."""

    ENDED = "ended"
    AGAIN = "again"
    RECONCILE = "reconcile"
    OVERTAKEN = "overtaken"
    """Others have moved the record; what this worker made, ``Job.made``, is to be seen to."""
    READ = "read"
    """It is not as it was claimed: nothing was sent, and what stands there must be read."""
    STOPPED = "stopped"
    """This worker begins no send any more: what stands there is for others."""


@dataclass(frozen=True)
class Next:
    """A step, and for AGAIN the seconds that Nova asked to wait."""

    step: Step
    pause: float | None = None
    answered: bool = False
    """Whether it was Nova that turned it down; else it could not be reached."""


def _bad_gateway(message: str) -> Answer:
    json = ((b"content-type", b"application/json"),)
    return Answer(BadGateway.status, json, BadGateway(message).fault_body())


EXISTENCE_NOT_TOLD = _bad_gateway(
    "Nova did not tell whether it exists already; so nothing was sent."
)
"""What is released in the end where Nova is asked before a send, and that is in vain."""

IN_VAIN = _bad_gateway("Nova gave no final answer however often it was sent, and made nothing.")
"""And where what was sent had no effect each time; unless Nova's last answer is at hand."""

NAMELESS = "Nova's answer does not name what it made: it was cut off, or is not Nova's."
"""What is noted of an answer that counts as lost."""

ENDED = Next(Step.ENDED)
RECONCILE = Next(Step.RECONCILE)
OVERTAKEN = Next(Step.OVERTAKEN)
READ = Next(Step.READ)
STOPPED = Next(Step.STOPPED)


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds, and how much at once."""

    send: float
    connect: float
    settle: float
    look: float
    """The pause after the first look for a lost effect."""
    retry: float
    result: float
    in_flight: int


def _resend_wait(state: tenacity.RetryCallState) -> float:
    """The policy's pause; longer where Nova asked for that. It may ask for none (RFC 9110)."""
    found = state.outcome.result() if state.outcome else ENDED
    return max(found.pause or 0.0, policies.RESEND_WAIT(state))


RESENDING = Policy(
    retry=tenacity.retry_if_result(lambda found: found.step is Step.AGAIN),
    wait=_resend_wait,
)
"""Sends what had no effect again, until it has one or is released (``[nova] retry_seconds``)."""


class Executor:
    """Sends requests and commits their answers."""

    def __init__(
        self,
        store: Store,
        cloud: Cloud,
        keys: Keys,
        lease: Lease,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._keys = keys
        self._lease = lease
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._slots = asyncio.Semaphore(limits.in_flight)
        self.compensation = Compensation(
            store, metrics, clock, send=limits.send, settle=limits.settle, retry=limits.retry
        )
        self.under_way: set[str] = set()
        """The ids of requests whose send has begun and whose answer is not dealt with yet."""
        self._stopping = False

    def stop_sending(self) -> None:
        """Begin no send from now on; what is under way has its answer dealt with."""
        self._stopping = True

    async def send(
        self, job: Job, turned_down: Callable[[request.Record], None] = lambda _record: None
    ) -> Step:
        """Send a QUEUED (or settled) request, again and again while that has no effect.

        Args:
            job: The request.
            turned_down: Called before each wait after Nova has turned it down, with the record,
                which says that this worker waits to send it again. Not where Nova cannot be
                reached.

        Returns:
            ENDED: it is done, released, or in other hands. RECONCILE: it is SENDING and ours, and
            nobody can tell what happened. OVERTAKEN: in other hands, after it was sent from here.
            READ: only for one that was not read. STOPPED: it is for others, since this worker
            sends nothing any more. Never AGAIN.
        """
        known = [await self._send_once(job)]
        if known[0].step is not Step.AGAIN:
            return known[0].step

        async def once() -> Next:
            found = known.pop() if known else await self._send_once(job)
            if found.step is Step.AGAIN and found.answered:
                turned_down(job.record)
            return found

        return (await RESENDING.repeat(once)).step

    async def finish(self, job: Job, answer: Answer, resource: request.Resource | None) -> bool:
        """Commit an answer as the request's; False where another worker moved it first."""
        done = request.finish(
            job.record,
            self._clock(),
            status=answer.status,
            resource=resource,
            keep=self._limits.result,
        )
        sealed = seal_answer(self._keys, job.record, answer)
        written = await commit(self._store, job.record, done, sealed)
        if written is not None:
            job.advance(written)
            self._metrics.ended.labels(State.DONE.label).inc()
        return written is not None

    async def _send_once(self, job: Job) -> Next:
        """One send; ``under_way`` from the begin of the send until its answer is dealt with.

        What had no effect is not waited for where it could not be sent again.
        """
        try:
            found = await self._carry_out(job)
        finally:
            self.under_way.discard(job.record.id)
        return STOPPED if found.step is Step.AGAIN and self._stopping else found

    async def _carry_out(self, job: Job) -> Next:
        async with self._slots:
            try:
                await self._may_exist(job)
            except CannotAsk as error:
                return await self._not_told(job, error)
            if (instead := await self._begin(job)) is not None:
                return instead
            with self._metrics.in_flight.track_inprogress():
                answer, ruling = await self._exchange(job)
        self._metrics.attempts.labels(ruling.outcome.value).inc()
        if ruling.outcome is Outcome.AMBIGUOUS:
            told = job.record.sending.status is not None
            job.failure = answer if told else None
            return RECONCILE
        if ruling.outcome is Outcome.DEFINITE:
            return await self._settle(job, answer)
        reason = job.record.sending.detail or f"Nova answered {answer.status}"
        found = await self._without_effect(job, answer, ruling.retry, reason)
        return replace(found, answered=ruling is not outcome.NOT_SENT)

    async def _may_exist(self, job: Job) -> None:
        """Note whether it exists before the send.

        Asked until something was sent that may have had an effect: what is there from then on may
        be ours.

        Raises:
            CannotAsk: it must not be sent now.
        """
        silent = all(attempt.verdict is Verdict.NO_EFFECT for attempt in job.record.attempts)
        if job.record.in_vain or not silent or job.probe is None or job.probe.existed is None:
            return
        existed = await job.probe.existed(job.errand, job.asker)
        job.advance(request.note_existed(job.record, existed))

    async def _not_told(self, job: Job, error: CannotAsk) -> Next:
        """Nova turned the question down, and with it the request; or it cannot be reached."""
        pause = error.answer.header(b"retry-after") if error.answer else None
        asked = ((b"retry-after", pause),) if pause else ()
        answer = msgspec.structs.replace(
            EXISTENCE_NOT_TOLD, headers=EXISTENCE_NOT_TOLD.headers + asked
        )
        found = await self._without_effect(job, answer, Retry.ALWAYS, f"not sent: {error}")
        return replace(found, answered=_had_no_effect(error.answer))

    async def _begin(self, job: Job) -> Next | None:
        """Write SENDING; else what comes instead: it is in other hands, or this one may not send.

        Where the lease runs short between the write and the send, the record stays SENDING and
        is reconciled like that of a dead worker.

        Raises:
            StoreUnavailable: nothing was written, or nobody can tell.
        """
        self.under_way.add(job.record.id)
        if not await self._lease.renewed():
            raise StoreUnavailable("It was not sent: the worker's lease is not kept alive.")
        if self._stopping:
            return STOPPED
        sending = request.begin_send(
            job.record,
            self._lease.worker_id,
            self._clock(),
            self._limits.connect + self._limits.send,
        )
        if not await job.begin(self._store, sending):
            return ENDED if job.is_read else READ
        return None if self._may_send(job) else ENDED

    def _may_send(self, job: Job) -> bool:
        """Whether the lease is alive under which SENDING was written, not one taken since."""
        return self._lease.worker_id == job.record.owner and self._lease.may_send()

    async def _exchange(self, job: Job) -> tuple[Answer, outcome.Ruling]:
        """Send once; the answer, or one that stands for what went wrong, and the ruling on it."""
        payload = job.errand.payload
        call = job.probe.prepare(job.errand) if job.probe else payload.call
        try:
            answer = await self._cloud.send(call, self._limits.send, lambda: self._may_send(job))
        except (NotSent, Lost) as error:
            ruling = outcome.NOT_SENT if isinstance(error, NotSent) else outcome.LOST
            job.advance(self._ended_attempt(job, ruling, None, error.message))
            body = error.fault_body()
            headers = ((b"content-type", b"application/json"),)
            return Answer(error.status, headers, body), ruling
        nameless = _is_nameless(job, answer)
        ruling = outcome.classify(answer, nameless=nameless)
        status, detail = (None, NAMELESS) if nameless else (answer.status, "")
        job.advance(self._ended_attempt(job, ruling, status, detail))
        return answer, ruling

    def _ended_attempt(
        self, job: Job, ruling: outcome.Ruling, status: int | None, detail: str
    ) -> request.Record:
        verdict = _VERDICTS[ruling.outcome]
        return request.end_attempt(job.record, verdict, self._clock(), status=status, detail=detail)

    async def _settle(self, job: Job, answer: Answer) -> Next:
        """Commit a definite answer; where the race is lost, nobody will name what was made."""
        made = 200 <= answer.status < 300
        resource = None
        if job.probe is not None and made:
            resource = job.probe.resource(job.errand, answer)
            answer = job.probe.complete(job.errand, answer)
        if await self.finish(job, answer, resource):
            return ENDED
        if await self._finish_late(job, answer, resource) or not made:
            return ENDED
        LOG.warning("%s: another worker moved the record while this one sent", job.record.id)
        job.made = resource
        return OVERTAKEN

    async def _finish_late(
        self, job: Job, answer: Answer, resource: request.Resource | None
    ) -> bool:
        """Commit it although another worker has the request, if that one has decided nothing yet.

        It may have taken over what a living worker had sent, whose lease ended while the store was
        away. False: something was decided, or sent, since.
        """
        verdict = job.record.sending
        while True:
            found = await policies.COMMIT.repeat(self._store.read, [job.record.id])
            standing = found[job.record.id].record if found else None
            if standing is None or not request.is_in_doubt(standing, job.record):
                return False
            job.advance(request.with_attempt(standing, verdict))
            if await self.finish(job, answer, resource):
                LOG.info("%s: answered after others had taken it over", job.record.id)
                return True

    async def _without_effect(self, job: Job, answer: Answer, retry: Retry, reason: str) -> Next:
        """Again if that can help and there is time, else released with this answer."""
        now = self._clock()
        pause = outcome.retry_after(answer)
        again = retry is Retry.ALWAYS or (retry is Retry.IF_ASKED and pause is not None)
        sender = "" if self._stopping else self._lease.worker_id
        queued = request.requeue(job.record, sender, now + self._limits.retry)
        until = queued.retry_until or now
        again = again and now + (pause or 0.0) < until
        if job.record.retry_until is None or not again:
            end = "tried again" if again else "released"
            level = logging.WARNING if answer.status >= 500 else logging.INFO
            LOG.log(level, "%s: no effect, %s: %s", job.record.id, end, reason)
        if again:
            written = await commit(self._store, job.record, queued)
            if written is None:
                return ENDED
            job.advance(written)
            return Next(Step.AGAIN, pause)
        await self.release(job, answer)
        return ENDED

    async def release(self, job: Job, answer: Answer) -> bool:
        """Tell those who wait that it had no effect; False where another worker moved it first.

        The answer stands a minute for them. It stands for as long as a result, in nobody's way,
        where something was sent in vain: should its sender wake up that was paused all that time,
        it finds that what it makes counts for nothing, and undoes it.
        """
        keep = max(RELEASED_SECONDS, self._limits.result if job.record.in_vain else 0.0)
        released = request.release(job.record, self._clock(), status=answer.status, keep=keep)
        sealed = seal_answer(self._keys, job.record, answer)
        written = await commit(self._store, job.record, released, sealed)
        if written is not None:
            self._metrics.ended.labels(State.RELEASED.label).inc()
        return written is not None


def _had_no_effect(answer: Answer | None) -> bool:
    return answer is not None and outcome.classify(answer).outcome is Outcome.NO_EFFECT


def _is_nameless(job: Job, answer: Answer) -> bool:
    """Whether it tells that something was made, but not what."""
    made = 200 <= answer.status < 300
    return made and job.probe is not None and job.probe.resource(job.errand, answer) is None


_VERDICTS = {
    Outcome.DEFINITE: Verdict.ANSWERED,
    Outcome.NO_EFFECT: Verdict.NO_EFFECT,
    Outcome.AMBIGUOUS: Verdict.AMBIGUOUS,
}
