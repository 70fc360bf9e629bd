"""``dedupd request list`` and ``show``: nothing is changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cliff.lister import Lister
from cliff.show import ShowOne

from dedupd.cmd.arguments import whole_number
from dedupd.cmd.place import add_state_path
from dedupd.cmd.request import cells
from dedupd.cmd.request.deeds import Desk
from dedupd.cmd.request.desk import AboutOne, at_desk
from dedupd.ports import Query
from dedupd.request import Record, State

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

MAX_LIMIT = 10_000
_STATES = {state.label: state for state in State}


class List(Lister):
    """List requests, the newest first; on stderr it says where the list goes on."""

    app: Dedupd

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        add_state_path(parser)
        parser.add_argument("--project", metavar="ID", help="only those of this project")
        parser.add_argument(
            "--state",
            action="append",
            default=[],
            choices=_STATES,
            help="only those in this state; may be given several times",
        )
        parser.add_argument(
            "--limit",
            type=whole_number(MAX_LIMIT),
            default=100,
            metavar="N",
            help="at most so many (default: 100)",
        )
        parser.add_argument("--marker", metavar="ID", help="only those after this one in the list")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
        """Read them."""
        query = Query(
            project_id=parsed_args.project,
            states=frozenset(_STATES[label] for label in parsed_args.state),
            marker=parsed_args.marker,
            limit=parsed_args.limit + 1,
        )

        async def read(desk: Desk) -> list[Record]:
            return await desk.store.find(query)

        records = at_desk(self.app, parsed_args, read)
        shown = records[: parsed_args.limit]
        if len(records) > len(shown):
            self.app.stderr.write(f"There are more: --marker {shown[-1].id} shows the next.\n")
        return cells.COLUMNS, [cells.row(record) for record in shown]


class Show(AboutOne, ShowOne):
    """Show all that is known of one request; what it carries and was answered stays sealed."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[object]]:
        """Read it."""

        async def read(desk: Desk) -> Record:
            return (await desk.find(parsed_args.id)).record

        return cells.whole(at_desk(self.app, parsed_args, read))
