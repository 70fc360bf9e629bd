"""What an operator does to one request. Each deed is one compare-and-swap, and is written down."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from dedupd import request
from dedupd.api.repeats import FRESH_SECONDS
from dedupd.cloud.probes.base import Finding, Found, Undecided
from dedupd.errors import BadRequest, Conflict, DedupdError, NotFound
from dedupd.exchange import Answer
from dedupd.ports import Store, Stored
from dedupd.request import Record, State, Verdict
from dedupd.seal import Keys
from dedupd.sealed import seal_answer
from dedupd.worker.job import Job

FAILED = DedupdError(
    "Nobody could tell whether Nova carried this request out; an operator has settled it as "
    "failed. Use a new token to try again."
)
"""The answer that is kept for what an operator settled as failed."""

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Desk:
    """Where an operator works.

    Args:
        keys: Seal the answers that an operator's word makes.
        store: Open, beside whoever serves it.
        clock: Seconds since the epoch.
        result_seconds: How long an answer is kept.
        operator: Who works.
        written: Is told of each deed: the record as it stands then, and what was done.
    """

    keys: Keys
    store: Store
    clock: Callable[[], float]
    result_seconds: float
    operator: str
    written: Callable[[Record, str], None]

    async def find(self, request_id: str) -> Stored:
        """The record with this id.

        Raises:
            BadRequest: it is no id.
            NotFound: there is none.
        """
        if _ID.fullmatch(request_id) is None:
            raise BadRequest(
                f"{request_id!r} is no request's id: that is 32 hexadecimal digits, as `dedupd "
                "request list` shows them."
            )
        stored = (await self.store.read([request_id])).get(request_id)
        if stored is None:
            raise NotFound(f"There is no request {request_id}; `dedupd request list` shows them.")
        return stored

    async def find_unknown(self, request_id: str) -> Stored:
        """The same, for a deed that settles what is unknown.

        Raises:
            Conflict: it is not.
        """
        stored = await self.find(request_id)
        if stored.record.state is not State.UNKNOWN:
            raise Conflict(
                f"Request {stored.record.id} is {stored.record.state.label}: only one whose "
                "outcome is unknown can be resolved."
            )
        return stored

    async def move(self, before: Record, after: Record, result: bytes | None = None) -> Record:
        """One compare-and-swap; gives the record as it stands then.

        Raises:
            Conflict: it has moved meanwhile; nothing was changed.
        """
        written = await self.store.swap(before, after, result=result)
        if written is None:
            raise await self.overtaken(before)
        self.written(written, after.detail)
        return written

    async def overtaken(self, before: Record) -> Conflict:
        """The error of a deed that came too late."""
        stored = (await self.store.read([before.id])).get(before.id)
        now = f"it is {stored.record.state.label} now" if stored else "it is gone"
        return Conflict(
            f"Request {before.id} was {before.state.label} and has moved meanwhile: {now}. "
            "Nothing was changed."
        )


async def cancel(desk: Desk, request_id: str) -> Record:
    """CANCELLED, if it was not sent yet.

    Raises:
        Conflict: it was.
    """
    record = (await desk.find(request_id)).record
    if record.state is not State.QUEUED:
        raise Conflict(
            f"Request {record.id} is {record.state.label}: only what is queued can be cancelled."
        )
    detail = f"cancelled by {desk.operator}"
    cancelled = request.cancel(record, desk.clock(), detail=detail, keep=desk.result_seconds)
    return await desk.move(record, cancelled)


def check_forgettable(record: Record, *, force: bool) -> None:
    """Whether it may be forgotten as it stands.

    Raises:
        Conflict: a worker is sending it.
    """
    if record.state is State.SENDING and not force:
        raise Conflict(
            f"Request {record.id} is being sent: wait until it has ended, or add --force if "
            "it may happen twice."
        )


async def forget(desk: Desk, record: Record) -> None:
    """Delete the record as it was read; when this returns, no front gives its answer any more.

    Raises:
        Conflict: it has moved meanwhile; nothing was changed.
    """
    if not await desk.store.forget(record):
        raise await desk.overtaken(record)
    desk.written(record, f"forgotten by {desk.operator}, it was {record.state.label}")
    await asyncio.sleep(FRESH_SECONDS)


async def fail(desk: Desk, record: Record) -> Record:
    """DONE, with a fault as the stored answer."""
    headers = ((b"content-type", b"application/json"),)
    answer = Answer(FAILED.status, headers, FAILED.fault_body())
    done = request.finish(
        record,
        desk.clock(),
        status=answer.status,
        resource=None,
        keep=desk.result_seconds,
        detail=f"settled as failed by {desk.operator}",
    )
    return await desk.move(record, done, seal_answer(desk.keys, record, answer))


async def send_again(desk: Desk, record: Record) -> Record:
    """QUEUED; the sweeper finds it."""
    return await desk.move(record, request.send_again(record, f"sent again by {desk.operator}"))


async def adopt(desk: Desk, job: Job, resource_id: str) -> Record:
    """DONE, with the answer that was lost, rebuilt from what is in Nova.

    Raises:
        BadRequest: nothing is known of what such a request makes.
        NotFound: there is no such resource.
        Conflict: it is not this request's, or the record has moved meanwhile.
        CannotAsk: Nova did not tell.
    """
    found = _adoptable(job, await _look(job, resource_id), resource_id)
    record = job.record
    if record.attempts:
        record = request.end_attempt(
            record, Verdict.ADOPTED, desk.clock(), status=found.answer.status, detail=desk.operator
        )
    done = request.finish(
        record,
        desk.clock(),
        status=found.answer.status,
        resource=found.resource,
        keep=desk.result_seconds,
        detail=f"adopted {found.resource.type} {found.resource.id} by {desk.operator}",
    )
    return await desk.move(job.record, done, seal_answer(desk.keys, record, found.answer))


async def _look(job: Job, resource_id: str) -> Finding:
    if job.probe is None:
        raise BadRequest(
            f"A {job.record.route} makes nothing whose answer could be rebuilt: resolve it with "
            "--failed or --send-again."
        )
    return await job.probe.adopt(job.errand, job.asker, resource_id)


def _adoptable(job: Job, finding: Finding, resource_id: str) -> Found:
    if isinstance(finding, Found):
        return finding
    if isinstance(finding, Undecided):
        raise Conflict(f"{finding.reason} Nothing was changed.")
    raise NotFound(
        f"Nova shows no {resource_id} to project {job.record.project_id}; nothing was changed."
    )
