"""``dedupd request cancel`` and ``forget``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cliff.show import ShowOne

from dedupd.cmd.request import cells, deeds
from dedupd.cmd.request.deeds import Desk
from dedupd.cmd.request.desk import AboutOne, at_desk
from dedupd.errors import BadRequest
from dedupd.request import Record, State

MEANING = {
    State.QUEUED: "It will not be carried out.",
    State.SENDING: "A worker is sending it: what it makes in Nova will be named by no record.",
    State.UNKNOWN: "It may have made something in Nova, which no record will name.",
    State.DONE: "What it made stays in Nova, but its answer is gone.",
}
"""What forgetting means, beside that the token counts as never used."""


class Cancel(AboutOne, ShowOne):
    """Cancel a request that was not sent yet; its callers are told."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[object]]:
        """Cancel it."""

        async def cancel(desk: Desk) -> Record:
            return await deeds.cancel(desk, parsed_args.id)

        return cells.whole(at_desk(self.app, parsed_args, cancel))


class Forget(AboutOne):
    """Delete a request's record: its token then counts as never used.

    The same POST, if it comes again, is carried out again, and may make a second server. It takes
    a second, for which a front may still give the answer that it has read before.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument(
            "--force", action="store_true", help="even while a worker is sending the request"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask, and delete it."""

        async def find(desk: Desk) -> Record:
            return (await desk.find(parsed_args.id)).record

        record = at_desk(self.app, parsed_args, find)
        deeds.check_forgettable(record, force=parsed_args.force)
        if not parsed_args.yes:
            _confirm(record)

        async def forget(desk: Desk) -> None:
            await deeds.forget(desk, record)

        at_desk(self.app, parsed_args, forget)
        self.app.stdout.write(f"Forgot {record.id}: its token counts as never used.\n")


def _confirm(record: Record) -> None:
    """Ask whether it is meant.

    Raises:
        BadRequest: there is nobody to ask, or the answer is not yes.
    """
    if not sys.stdin.isatty():
        raise BadRequest("There is no terminal to ask for confirmation: add --yes if it is meant.")
    sys.stderr.write(
        f"Request {record.id} ({record.route}, project {record.project_id}) is "
        f"{record.state.label}. {MEANING.get(record.state, '')}\n"
        "Its token will count as never used: the same POST, if it comes again, is carried out "
        "again.\nForget it? [y/N] "
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise BadRequest("Nothing was changed.")
