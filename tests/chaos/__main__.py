"""`python -m tests.chaos`: torment an installation for some minutes, and show one table."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos.novas import NOVAS
from tests.chaos.play import Script, run
from tests.chaos.screen import Screen

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def parsed() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: 5)")
    parser.add_argument(
        "--pause", type=float, default=5.0, help="seconds between two strikes, on average"
    )
    parser.add_argument("--seed", help="decides all that goes wrong (default: drawn)")
    parser.add_argument("--nova", choices=NOVAS, default="simulated", help="behind dedupd")
    parser.add_argument("--keep", action="store_true", help="keep all files, whatever comes of it")
    return parser.parse_args()


def main() -> int:
    """Do it; 1 where anything is wrong. Its files are kept then."""
    options = parsed()
    seed = options.seed or secrets.token_hex(4)
    script = Script(seed, 60 * options.minutes, options.pause, options.nova)
    directory = Path(tempfile.mkdtemp(prefix="dedupd-chaos-"))
    console = Console()
    screen = Screen(console)
    screen.tell(f"seed {script.seed}, all files in {directory}; what is to come:")
    for strike in script.strikes:
        console.print(str(strike), highlight=False, markup=False)
    try:
        found = asyncio.run(run(script, directory, screen))
    except KeyboardInterrupt:
        return INTERRUPTED
    if found.evidence:
        console.print(found.evidence, highlight=False, markup=False, soft_wrap=True)
    console.print(found.table())
    if found.verdict.found:
        console.print(f"This must never be. Everything is kept in {directory}", style="bold red")
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
