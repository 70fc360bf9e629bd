"""The command itself: options, a private directory, signals, the summary, the exit status."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop
from cliff.command import Command
from rich.console import Console

from dedupd.cmd.arguments import whole_number
from dedupd.cmd.demo.findings import Findings
from dedupd.cmd.demo.play import Play, Script
from dedupd.cmd.demo.screen import Screen, summary

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

MAX_TOKENS = 5000
MAX_CLIENTS = 100


class Demo(Command):
    """Show it: a retry storm, lost answers, a kill -9, and no server twice. Needs nothing else.

    A simulated Nova loses answers, answers 503 although it did the work, and does work late.
    Plain clients that repeat a POST make servers twice. Then many clients for each client token
    send through dedupd, which is killed in the middle and started again on the same files. What
    the table at the end says was counted in the simulated Nova and in the clients' answers; the
    exit status is 1 if a server was made twice, a request was lost, or answers differed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--tokens",
            type=whole_number(MAX_TOKENS),
            default=200,
            metavar="N",
            help="how many servers are wanted, each under a token of its own (default: 200)",
        )
        parser.add_argument(
            "--clients",
            type=whole_number(MAX_CLIENTS),
            default=6,
            metavar="N",
            help="how many clients send each token (default: 6)",
        )
        parser.add_argument(
            "--seed",
            type=whole_number(2**31, low=0),
            metavar="N",
            help="fixes arrivals and faults (default: drawn, and shown at the end)",
        )
        parser.add_argument(
            "--json", action="store_true", help="print the findings as JSON, the progress on stderr"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run the demo."""
        seed = parsed_args.seed
        script = Script(
            tokens=parsed_args.tokens,
            clients=parsed_args.clients,
            seed=random.SystemRandom().randrange(10_000) if seed is None else seed,
        )
        console = Console(stderr=parsed_args.json)
        with tempfile.TemporaryDirectory(prefix="dedupd-demo-") as directory:
            found = uvloop.run(_until_stopped(Play(script, Screen(console), Path(directory))))
        if found is None:
            console.print("Interrupted; everything that was started has been stopped.")
            return INTERRUPTED
        if parsed_args.json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        else:
            console.print(summary(found))
        return 0 if found.passed else 1


async def _until_stopped(play: Play) -> Findings | None:
    """The findings, or None where a signal said to stop; children are gone in either case."""
    with _stop_signals() as stop:
        playing = asyncio.create_task(play.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([playing, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await playing
    return None


@contextlib.contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets; a second one changes nothing."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
