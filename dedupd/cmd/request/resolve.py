"""``dedupd request resolve``: an operator decides what nobody else could."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cliff.show import ShowOne

from dedupd import request
from dedupd.cloud.probes.base import Finding, Found, Undecided
from dedupd.cmd import wiring
from dedupd.cmd.place import add_nova
from dedupd.cmd.request import cells
from dedupd.cmd.request.desk import Desk, add_id, at_desk, operator
from dedupd.errors import BadRequest, Conflict, DedupdError, NotFound
from dedupd.exchange import Answer
from dedupd.ports import Stored
from dedupd.request import Record, State, Verdict
from dedupd.sealed import seal_answer
from dedupd.worker.job import Job, Opener

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

FAILED = DedupdError(
    "Nobody could tell whether Nova carried this request out; an operator has settled it as "
    "failed. Use a new token to try again."
)
"""The answer that is kept for what an operator settled as failed."""


class Resolve(ShowOne):
    """Settle a request whose outcome is unknown. Look in Nova first: nothing else has.

    --adopt: Nova carried it out and made this resource; callers get the answer that was lost.
    --failed: it had no effect and is over; callers get a fault. --send-again: it had no effect
    and is sent once more; if it did have one after all, there will be two.
    """

    app: Dedupd

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        add_id(parser)
        decision = parser.add_mutually_exclusive_group(required=True)
        decision.add_argument(
            "--adopt",
            metavar="RESOURCE_ID",
            help="what it made: a server's id, a keypair's name; it must be there",
        )
        decision.add_argument("--failed", action="store_true", help="it made nothing and is over")
        decision.add_argument(
            "--send-again", action="store_true", help="it made nothing and is to be sent again"
        )
        add_nova(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[object]]:
        """Settle it."""

        async def resolve(desk: Desk) -> Record:
            stored = await desk.find(parsed_args.id)
            if stored.record.state is not State.UNKNOWN:
                raise Conflict(
                    f"Request {stored.record.id} is {stored.record.state.label}: only one whose "
                    "outcome is unknown can be resolved."
                )
            if parsed_args.adopt is not None:
                return await _adopt(desk, stored, parsed_args.adopt)
            return await (_fail if parsed_args.failed else _send_again)(desk, stored.record)

        return cells.whole(at_desk(self.app, parsed_args, resolve))


async def _fail(desk: Desk, record: Record) -> Record:
    """DONE, with a fault as the stored answer."""
    headers = ((b"content-type", b"application/json"),)
    answer = Answer(FAILED.status, headers, FAILED.fault_body())
    done = request.finish(
        record,
        desk.now,
        status=answer.status,
        resource=None,
        keep=desk.result_seconds,
        detail=f"settled as failed by {operator()}",
    )
    return await desk.move(record, done, seal_answer(desk.keys, record, answer))


async def _send_again(desk: Desk, record: Record) -> Record:
    """QUEUED; the running server's sweeper finds it."""
    detail = f"sent again by {operator()}"
    return await desk.move(record, request.send_again(record, detail))


async def _adopt(desk: Desk, stored: Stored, resource_id: str) -> Record:
    """DONE, with the answer that was lost, rebuilt from what is in Nova."""
    async with (
        wiring.open_cloud(desk.settings) as cloud,
        wiring.service_user(desk.settings) as user,
    ):
        job = Opener(desk.keys, cloud, user, wiring.ASK_SECONDS).open(stored)
        found = _adoptable(job, await _look(job, resource_id), resource_id)
    record = stored.record
    if record.attempts:
        record = request.end_attempt(
            record, Verdict.ADOPTED, desk.now, status=found.answer.status, detail=operator()
        )
    done = request.finish(
        record,
        desk.now,
        status=found.answer.status,
        resource=found.resource,
        keep=desk.result_seconds,
        detail=f"adopted {found.resource.type} {found.resource.id} by {operator()}",
    )
    return await desk.move(stored.record, done, seal_answer(desk.keys, record, found.answer))


async def _look(job: Job, resource_id: str) -> Finding:
    """What Nova shows of the resource.

    Raises:
        BadRequest: nothing is known of what such a request makes.
        CannotAsk: Nova did not tell.
    """
    if job.probe is None:
        raise BadRequest(
            f"A {job.record.route} makes nothing whose answer could be rebuilt: resolve it with "
            "--failed or --send-again."
        )
    return await job.probe.adopt(job.errand, job.asker, resource_id)


def _adoptable(job: Job, finding: Finding, resource_id: str) -> Found:
    """The finding, if it can be adopted.

    Raises:
        NotFound: there is no such resource.
        Conflict: it is not this request's.
    """
    if isinstance(finding, Found):
        return finding
    if isinstance(finding, Undecided):
        raise Conflict(f"{finding.reason} Nothing was changed.")
    raise NotFound(
        f"Nova shows no {resource_id} to project {job.record.project_id}; nothing was changed."
    )
