"""Finding out what became of a request whose answer was lost: look in the cloud, then decide.

Nothing is sent again before a look that began after the settle time has found nothing: until
then, what was sent may still arrive and take effect.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import cast

from oslo_log import log

from dedupd import request
from dedupd.cloud.ask import Asker, CannotAsk
from dedupd.cloud.probes.base import Absent, Discarded, Finding, Found, Probe, Undecided
from dedupd.metrics import Metrics
from dedupd.ports import Store
from dedupd.request import Record, Resource, State, Verdict
from dedupd.worker import policies
from dedupd.worker.executor import IN_VAIN, Executor, Limits
from dedupd.worker.job import Job, commit
from dedupd.worker.lease import Lease

LOG = log.getLogger(__name__)

NOT_TOLD = "Nova cannot be asked."
"""What went wrong is in the log: it may name what callers must not know."""
NO_PROBE = "Its answer was lost, and no probe can tell whether it took effect (route: %s)."


class Decision(enum.Enum):
    """What a reconciliation comes to."""

    ENDED = "ended"
    SEND_AGAIN = "send again"
    OVERTAKEN = "overtaken"
    """It has ended, but what was sent may make something beside the effect that counts: another
    worker moved the record, or the effect of an earlier send may have been found first."""


class Reconciler:
    """Decides SENDING records of nobody, and ambiguous answers.

    Args:
        duplicates: ``report`` or ``delete``: what to do with effects beyond the one that counts.
    """

    def __init__(
        self,
        store: Store,
        executor: Executor,
        lease: Lease,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float],
        duplicates: str,
    ) -> None:
        self._store = store
        self._executor = executor
        self._lease = lease
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._duplicates = duplicates

    async def take_over(self, record: Record) -> Record | None:
        """Make a SENDING record ours, which fences its old owner off.

        None: others were faster, or the owner lives.

        Raises:
            StoreUnavailable: nobody knows; the sweeper comes back to it.
        """
        ended = request.end_attempt(record, Verdict.AMBIGUOUS, self._clock(), detail="worker gone")
        kept = ended if record.sending.verdict is Verdict.SENDING else record
        us = self._lease.worker_id
        gone = "" if record.owner == us else record.owner
        return await self._store.swap(record, request.take_over(kept, us), worker=us, gone=gone)

    async def decide(self, job: Job) -> Decision:
        """Look until it can be decided; then commit the decision, or say to send again."""
        if job.probe is None:
            return await self._give_up(job, NO_PROBE % job.record.route)
        began = self._clock()

        async def once() -> Decision | None:
            return await self._look_once(job, began)

        def remaining() -> float:
            return job.settled_at(self._limits.settle) - self._clock()

        looking = policies.looking(self._limits.look, remaining)
        return cast("Decision", await looking.repeat(once))

    async def revisit(self, job: Job) -> bool:
        """Look once for what is UNKNOWN: adopted if it is found, otherwise it stays so."""
        finding = await self._look(job, job.asker, thorough=True)
        return isinstance(finding, Found) and await self._adopt(job, finding)

    async def _look_once(self, job: Job, since: float) -> Decision | None:
        """One look; None: nothing can be decided yet.

        ``since``: when the first look began; Nova may fail to answer for a while from then on.
        """
        began = self._clock()
        settled_at = job.settled_at(self._limits.settle)
        settled = job.accepted_by is not None and began >= settled_at
        finding = await self._look_behind(job, thorough=settled)
        if isinstance(finding, Found):
            alone = await self._adopt(job, finding) and not job.record.in_vain
            return Decision.ENDED if alone else Decision.OVERTAKEN
        told = finding is not None
        if told and not settled:
            return None
        if not told and began < max(settled_at, since) + self._limits.retry:
            return None
        if isinstance(finding, Absent):
            return await self._send_again(job)
        return await self._give_up(job, NOT_TOLD if finding is None else finding.reason)

    async def _send_again(self, job: Job) -> Decision:
        """Once at least; but it is released when that has been in vain for ``retry`` seconds."""
        now, since = self._clock(), job.record.vain_since
        absent = request.end_attempt(
            job.record, Verdict.ABSENT, now, detail="not found after settling"
        )
        job.advance(absent)
        if since is None or now < since + self._limits.retry:
            return Decision.SEND_AGAIN
        LOG.warning("%s: released: it was sent again and again, and made nothing", job.record.id)
        released = await self._executor.release(job, job.failure or IN_VAIN)
        return Decision.ENDED if released else Decision.OVERTAKEN

    async def _look_behind(self, job: Job, *, thorough: bool) -> Finding | None:
        """One look behind what was sent, as long as it is not known that Nova has accepted that.

        These looks come over new connections: once one was answered Nova has accepted the POST,
        and the settle time can begin.
        """
        known = job.accepted_by is not None
        asker = job.asker if known else job.asker.afresh(self._limits.send)
        finding = await self._look(job, asker, thorough=thorough)
        if finding is not None and not known:
            job.accepted_by = self._clock()
        return finding

    async def _look(self, job: Job, asker: Asker, *, thorough: bool) -> Finding | None:
        """One look, counted; None: the cloud did not tell."""
        if job.probe is None:
            return Undecided(NO_PROBE % job.record.route)
        try:
            finding = await job.probe.look(job.errand, asker, thorough=thorough)
        except CannotAsk as error:
            LOG.warning("%s: cannot look: %s", job.record.id, error)
            self._metrics.findings.labels("cannot-ask").inc()
            return None
        self._metrics.findings.labels(type(finding).__name__.lower()).inc()
        return finding

    async def _adopt(self, job: Job, found: Found) -> bool:
        """Commit the answer that was lost."""
        resource = found.resource
        LOG.info("%s: adopted %s %s", job.record.id, resource.type, resource.id)
        adopted = request.end_attempt(
            job.record, Verdict.ADOPTED, self._clock(), status=found.answer.status
        )
        job.advance(adopted)
        ended = await self._executor.finish(job, found.answer, resource)
        if found.surplus and ended:  # else the record may name what is "surplus" here
            await self._surplus(job, found)
        return ended

    async def _surplus(self, job: Job, found: Found) -> None:
        """Report what was made beyond the one that counts; delete it if that is configured."""
        self._metrics.surplus.inc(len(found.surplus))
        LOG.error(
            "%s: made more than once: kept %s, also found %s",
            job.record.id,
            found.resource.id,
            ", ".join(surplus.id for surplus in found.surplus),
        )
        if self._duplicates != "delete" or job.probe is None:
            return
        for surplus in found.surplus:
            await self._discard(job, job.probe, surplus)

    async def _discard(self, job: Job, probe: Probe, surplus: Resource) -> None:
        """Delete it and what the same POST made; report what stays."""
        try:
            made = await probe.discard(job.errand, surplus, job.asker)
        except CannotAsk as error:
            made = (Discarded(surplus, str(error)),)
        for discarded in made:
            if discarded.left:
                LOG.error(
                    "%s: %s was not deleted: %s",
                    job.record.id,
                    discarded.resource.id,
                    discarded.left,
                )

    async def _give_up(self, job: Job, reason: str) -> Decision:
        LOG.warning("%s: outcome unknown: %s", job.record.id, reason)
        unknown = request.give_up(job.record, reason)
        written = await commit(self._store, job.record, unknown)
        if written is None:
            return Decision.OVERTAKEN
        job.advance(written)
        self._metrics.ended.labels(State.UNKNOWN.label).inc()
        return Decision.ENDED
