"""``dedupd request resolve``: an operator decides what nobody else could."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cliff.show import ShowOne

from dedupd.cmd import wiring
from dedupd.cmd.place import add_nova
from dedupd.cmd.request import cells, deeds
from dedupd.cmd.request.deeds import Desk
from dedupd.cmd.request.desk import AboutOne, at_desk, configured
from dedupd.ports import Stored
from dedupd.request import Record
from dedupd.worker.job import Opener

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd


class Resolve(AboutOne, ShowOne):
    """Settle a request whose outcome is unknown. Look in Nova first: nothing else has.

    If Nova was away, wait for [nova] settle_seconds after it has answered again, then look.

    --adopt: Nova carried it out and made this resource; callers get the answer that was lost.
    --failed: it had no effect and is over; callers get a fault. --send-again: it had no effect
    and is sent once more; if it did have one after all, there will be two.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
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
            stored = await desk.find_unknown(parsed_args.id)
            if parsed_args.adopt is not None:
                return await _adopt(self.app, parsed_args, desk, stored)
            deed = deeds.fail if parsed_args.failed else deeds.send_again
            return await deed(desk, stored.record)

        return cells.whole(at_desk(self.app, parsed_args, resolve))


async def _adopt(app: Dedupd, arguments: argparse.Namespace, desk: Desk, stored: Stored) -> Record:
    settings = configured(app, arguments)
    async with wiring.open_cloud(settings) as cloud, wiring.service_user(settings) as user:
        job = Opener(desk.keys, cloud, user, wiring.ASK_SECONDS).open(stored)
        return await deeds.adopt(desk, job, arguments.adopt)
