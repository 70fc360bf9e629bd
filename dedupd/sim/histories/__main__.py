"""Runs many histories on all cores: ``python -m dedupd.sim.histories``; see docs/simulation.md."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from dedupd.sim.histories import campaign, tally
from dedupd.sim.histories.plan import INTENSITY
from dedupd.sim.histories.run import run
from dedupd.sim.histories.shrink import shrunk, told
from dedupd.sim.histories.tally import Checkpoint, Tally

SAVE_SECONDS = 10.0


def main() -> int:
    """Run the command line."""
    options = _options()
    console = Console()
    if options.show is not None:
        return _show(console, options.show, options.intensity)
    checkpoint = _begun(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), _progress(console) as progress:
        _run(options, checkpoint, progress)
    _report(console, checkpoint, options.processes)
    for seed, _ in checkpoint.tally.failed[: options.shrink]:
        _show(console, seed, options.intensity)
    return 1 if checkpoint.tally.failures else 0


def _run(options: argparse.Namespace, checkpoint: Checkpoint, progress: Progress) -> None:
    """Go on from the checkpoint; what is done by then is saved, however this ends."""
    began = time.monotonic() - checkpoint.seconds
    task = progress.add_task("histories", total=checkpoint.last - checkpoint.first)
    saved = 0.0
    parts = campaign.parts(checkpoint.next, checkpoint.last, options.processes, options.intensity)
    try:
        for part in parts:
            checkpoint.tally.add(part)
            checkpoint.next += part.histories
            checkpoint.seconds = time.monotonic() - began
            progress.update(task, completed=checkpoint.next - checkpoint.first)
            if options.file and time.monotonic() - saved > SAVE_SECONDS:
                tally.save(options.file, checkpoint)
                saved = time.monotonic()
    finally:
        parts.close()
        if options.file:
            tally.save(options.file, checkpoint)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dedupd.sim.histories", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--intensity", type=float, default=INTENSITY, help="how often faults come")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--file", type=Path, help="where the sum is kept; an earlier one goes on")
    parser.add_argument("--shrink", type=int, default=1, help="so many failures are told")
    parser.add_argument("--show", type=int, metavar="SEED", help="tell one history, shrunk")
    return parser.parse_args()


def _begun(options: argparse.Namespace) -> Checkpoint:
    """The campaign of these seeds: a new one, or the one that stands in the file."""
    last = options.first + options.seeds
    found = tally.load(options.file) if options.file else None
    if found is not None and (found.first, found.last) == (options.first, last):
        return found
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Checkpoint(options.first, last, options.first, Tally(), began=now)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _report(console: Console, checkpoint: Checkpoint, processes: int) -> None:
    done = checkpoint.tally
    rate = done.histories / checkpoint.seconds if checkpoint.seconds else 0.0
    console.print(
        f"{done.histories} histories (seeds {checkpoint.first} to {checkpoint.next - 1}), "
        f"{done.failures} violated an invariant; {rate:.0f} a second in {processes} processes, "
        f"{done.struck / max(1, done.histories):.1f} faults and "
        f"{done.virtual_seconds / max(1, done.histories):.1f} virtual seconds each."
    )
    table = Table("fault", "times")
    for fault, number in sorted(done.faults.items(), key=lambda item: -item[1]):
        table.add_row(fault, str(number))
    console.print(table)
    missing = done.missing()
    console.print(f"{len(done.pairs)} pairs of state and fault seen, {len(missing)} not:")
    for state, fault in missing:
        console.print(f"  {state}: {fault}")
    for seed, violation in done.failed:
        console.print(f"seed {seed}: {violation}", style="red")


def _show(console: Console, seed: int, intensity: float) -> int:
    """Tell one history, with the fewest faults if it violates anything."""
    history = run(seed, intensity=intensity)
    if history.violations:
        history = shrunk(history)
    console.print(told(history), markup=False, highlight=False, soft_wrap=True)
    return 1 if history.violations else 0


if __name__ == "__main__":
    sys.exit(main())
