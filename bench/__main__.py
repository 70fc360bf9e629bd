"""``python -m bench``: runs the measurements, prints tables, and writes all figures as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.chain import chain
from bench.compare import MODES, Plan, compare
from bench.fan_out import fan_out
from bench.group_commit import group_commit
from bench.newcomers import newcomers
from bench.processes import ROOT, SUBJECTS
from bench.queues import kills, queues
from bench.records import stored
from bench.room import room
from bench.waiters import waiters

TABLE_WIDTH = 130
PARTS = (
    *("compare", "waiters", "newcomers", "records", "site-records"),
    *("chain", "queues", "kills", "room", "fan-out", "group-commit"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and rough: two minutes")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--subjects", nargs="+", choices=names, default=[], metavar="NAME")
    parser.add_argument("--rounds", type=int, help="default: 5; quick: 2")
    parser.add_argument("--seconds", type=float, help="of each measurement; default: 4; quick: 1")
    parser.add_argument("--sustained", type=float, help="seconds (chain); default: 60; quick: 4")
    parser.add_argument("--callers", type=int, default=5000, help="who wait (waiters)")
    parser.add_argument(
        "--records", type=int, help="default: 1000000, half for a site; quick: 50000"
    )
    parser.add_argument("--profile", type=Path, metavar="DIR", help="py-spy's records of dedupd")
    parser.add_argument("--json", type=Path, default=ROOT / "var/bench.json")
    parser.add_argument("--no-peers", action="store_true", help="do not install the peers")
    return parser.parse_args()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_before": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


Part = Callable[[Path], dict[str, Any]]
"""Measures in a directory of its own, and returns all there is to keep."""


def parts(options: argparse.Namespace, console: Console) -> dict[str, Part]:
    """What can be measured."""
    quick = options.quick
    rounds = options.rounds or (2 if quick else 5)
    seconds = options.seconds or (1.0 if quick else 4.0)
    sustained = options.sustained or (4.0 if quick else 60.0)
    number = options.records or (50_000 if quick else 1_000_000)
    in_one, in_site = (1000, number), (1000, number // 2)
    modes, only = tuple(options.modes), frozenset(options.subjects)
    plan = Plan(rounds, seconds, only, modes, options.profile)
    return {
        "compare": lambda at: compare(plan, at, console),
        "waiters": lambda at: waiters(options.callers, at, console),
        "newcomers": lambda at: newcomers(seconds, at, console),
        "records": lambda at: stored("records", in_one, rounds, seconds, at, console),
        "site-records": lambda at: stored("site-records", in_site, rounds, seconds, at, console),
        "chain": lambda at: chain(sustained, options.profile, at, console),
        "queues": lambda at: queues(rounds, seconds, at, console),
        "fan-out": lambda at: fan_out(2 * seconds, at, console),
        "kills": lambda at: kills(at, console),
        "room": lambda at: room(5 * seconds, at, console),
        "group-commit": lambda at: group_commit(rounds, seconds, at, console),
    }


def main() -> None:
    options = arguments()
    console = Console()
    if console.width < TABLE_WIDTH:
        console.width = TABLE_WIDTH
    if {"compare", "queues", "kills"} & {*options.parts} and not options.no_peers:
        subprocess.run([ROOT / "bench/peers/setup"], check=True)
    found: dict[str, Any] = {"machine": machine()}
    console.print(found["machine"])
    measures = parts(options, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="dedupd-bench-") as directory:
            found[part] = measures[part](Path(directory))
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"written: {options.json}")


if __name__ == "__main__":
    main()
