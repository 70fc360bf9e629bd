"""Undoing what nobody will ever name: what a worker made after it had lost the request.

A worker may be paused between its last check and its send, for any time. Another one then looks,
finds nothing, sends for itself, and ends the request. Or Nova takes longer than it is given to
settle. What the late send makes is undone here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from oslo_log import log

from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes.base import Discarded, Probe
from dedupd.metrics import Metrics
from dedupd.ports import Store
from dedupd.request import Record, Resource
from dedupd.worker import policies
from dedupd.worker.job import Job

LOG = log.getLogger(__name__)


_LATE_WORKER = "a worker that had lost the request"
_OTHER_SEND = "another send than the one that counts"


class _Left(Exception):
    """The record does not say what counts, so that nothing is deleted: its state."""


class Compensation:
    """Waits until the request has ended, and deletes what its record does not name.

    Args:
        send: Seconds that one question may take which waits behind what was sent.
        settle: Seconds within which what was sent takes effect, or never does.
        retry: Seconds for which others may go on with the request beyond that.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        send: float,
        settle: float,
        retry: float,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._send = send
        self._settle = settle
        self._retry = retry

    async def see_to(self, job: Job) -> None:
        """Undo what was made for a request that others have moved: ``undo`` or ``overtaken``."""
        if job.made is None:
            await self.overtaken(job)
        else:
            await self.undo(job, job.made)

    async def undo(self, job: Job, resource: Resource) -> None:
        """Delete what an answer says that we made, where nobody will ever name it."""
        if job.probe is None:
            return
        with _told_of(job, _described(resource, _LATE_WORKER)):
            async with asyncio.timeout(self._settle + self._retry):
                await self._ended(job)
            async with asyncio.timeout(self._settle + self._retry):
                await policies.TELLING.repeat(self._undo_unnamed, job, job.probe, resource)

    async def overtaken(self, job: Job) -> None:
        """Delete what a send in doubt made beside that which the record names in the end.

        Nobody knows what it made, if anything; so everything goes that bears the mark and was not
        made by the POST whose effect the record names.
        """
        if job.probe is None:
            return
        with _told_of(job, f"whatever bears its mark and was made by {_OTHER_SEND}"):
            async with asyncio.timeout(self._settle + self._retry):
                await self._accepted(job)
            settled_at = job.settled_at(self._settle)
            await asyncio.sleep(max(0.0, settled_at - self._clock()))
            async with asyncio.timeout(self._settle + self._retry):
                await policies.TELLING.repeat(self._undo_surplus, job, job.probe)

    async def _undo_unnamed(self, job: Job, probe: Probe, resource: Resource) -> None:
        """Delete it if it is unnamed still: time may have passed since that was last asked.

        Raises:
            _Left: see ``_unnamed``.
            CannotAsk: nothing was deleted, since the cloud does not tell what is to be.
        """
        if await self._unnamed(job, resource):
            await self._discard(job, probe, resource, _LATE_WORKER)

    async def _undo_surplus(self, job: Job, probe: Probe) -> None:
        """Delete what is surplus now; with one goes what the same POST made, surplus as well.

        Raises:
            _Left: see ``_surplus``.
            CannotAsk: not all was deleted, since the cloud does not tell what is to be.
        """
        seen_to: set[str] = set()
        for resource in await self._surplus(job, probe):
            if resource.id not in seen_to:
                seen_to |= await self._discard(job, probe, resource, _OTHER_SEND)

    async def _accepted(self, job: Job) -> None:
        """Wait until Nova has surely accepted what was sent: it has answered what came behind it.

        Raises:
            TimeoutError: it does not answer.
        """
        if job.accepted_by is None:
            behind = job.asker.afresh(self._send)
            await policies.TELLING.repeat(behind.as_caller, f"{job.errand.root}/", None)
            job.accepted_by = self._clock()

    async def _surplus(self, job: Job, probe: Probe) -> tuple[Resource, ...]:
        """What bears the mark beyond what the record names.

        The record must stand before the look as it does after it, and be of the same life of the
        token: else another life may have made some of what was seen, and its caller been told.

        Raises:
            _Left: an operator has decided, or is to decide, or nobody knows what counts.
            CannotAsk: the cloud does not tell.
        """
        while True:
            ended = await self._ended(job)
            if ended is None or ended.state.pending or _names_nothing(ended):
                raise _Left("gone" if ended is None else ended.state.label)
            if ended.birth != job.record.birth:
                raise _Left("the token was used again")
            surplus = await probe.surplus(job.errand, ended.resource, job.asker)
            if await policies.COMMIT.repeat(self._standing, job) == ended:
                return surplus

    async def _unnamed(self, job: Job, resource: Resource) -> bool:
        """Whether the request has ended without this; who still works on it may yet find it.

        A later life of the token bears the same mark and may have adopted it, so the record that
        stands now counts, whichever it is.

        Raises:
            _Left: none stands, so that an operator has decided, or an operator is to decide.
        """
        ended = await self._ended(job)
        if ended is None or ended.state.pending:
            raise _Left("gone" if ended is None else ended.state.label)
        return not _names(ended, resource)

    async def _ended(self, job: Job) -> Record | None:
        """The record when nobody works on it any more; None: it is gone."""
        return await policies.ENDING.repeat(self._standing, job)

    async def _standing(self, job: Job) -> Record | None:
        """The record as it stands in the store now."""
        standing = (await self._store.read([job.record.id])).get(job.record.id)
        return None if standing is None else standing.record

    async def _discard(self, job: Job, probe: Probe, resource: Resource, by: str) -> set[str]:
        """Delete it and what the same POST made, and tell of each; the ids of those."""
        made = await probe.discard(job.errand, resource, job.asker)
        for discarded in made:
            self._tell(job, discarded, by)
        if not made:
            LOG.error(
                "%s: %s is gone, or must not be deleted; look after it",
                job.record.id,
                _described(resource, by),
            )
        return {discarded.resource.id for discarded in made}

    def _tell(self, job: Job, discarded: Discarded, by: str) -> None:
        made = _described(discarded.resource, by)
        if discarded.left:
            LOG.error(
                "%s: %s was not deleted, look after it: %s", job.record.id, made, discarded.left
            )
        else:
            self._metrics.compensated.inc()
            LOG.error("%s: %s was deleted", job.record.id, made)


@contextlib.contextmanager
def _told_of(job: Job, what: str) -> Iterator[None]:
    """Tell people of what could not be undone; nobody else will come back to it."""
    try:
        yield
    except (CannotAsk, TimeoutError, _Left, asyncio.CancelledError) as error:
        LOG.error("%s: %s was not deleted, look after it: %r", job.record.id, what, error)
        if isinstance(error, asyncio.CancelledError):
            raise


def _described(resource: Resource, by: str) -> str:
    return f"{resource.type} {resource.id}, made by {by},"


def _names(record: Record, resource: Resource) -> bool:
    """Whether the record names this resource, in whatever words."""
    named = record.resource
    return named is not None and (named.type, named.id) == (resource.type, resource.id)


def _names_nothing(record: Record) -> bool:
    """Whether something counts, and nobody knows what."""
    return record.resource is None and record.status is not None and 200 <= record.status < 300
