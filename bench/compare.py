"""dedupd beside its peers: all of them up at once, measured one at a time, round after round.

A round goes through all cells (a mode and a number of connections); in a cell the subjects follow
each other directly, and each round begins with another one. So what else the machine does meets all
alike: ratios are taken within a round, and the median over the rounds is what is shown.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cell import Cell, Measurement
from bench.processes import SUBJECTS, Service, Services, Subject, effects, profiled

MODES = ("get", "post", "new-token", "replay")
MANY = 64
LINE_NUMBER = re.compile(r":\d+\)$")
DIRECT = Subject("stub, directly", lambda services, _nova: services.stub(), frozenset(MODES[:2]))
REFERENCES = {
    "get": "bare proxy",
    "post": "bare proxy",
    "new-token": "fastapi-idempotency, SQLite",
    "replay": "fastapi-idempotency, SQLite",
}


@dataclass(frozen=True)
class Plan:
    """How long and how often is measured."""

    rounds: int
    seconds: float
    only: frozenset[str] = field(default_factory=frozenset)
    """Names of subjects; none: all that can be had."""
    modes: tuple[str, ...] = MODES
    profile: Path | None = None
    """Where py-spy's records of dedupd go."""


class Comparison:
    """The running subjects and what was measured of them."""

    def __init__(self, plan: Plan, services: Services, console: Console) -> None:
        self.plan = plan
        self.console = console
        self.stub = services.stub()
        self.running: list[tuple[Subject, Service]] = [(DIRECT, self.stub)]
        self.rounds: dict[tuple[str, str, int], list[Measurement]] = defaultdict(list)
        for subject in SUBJECTS:
            if plan.only and subject.name not in plan.only:
                continue
            if not subject.available():
                console.print(f"left out: {subject.name} (bench/peers/setup, or redis-server)")
                continue
            self.running.append((subject, subject.start(services, self.stub.url)))

    def run(self) -> None:
        """All rounds."""
        cells = [Cell(mode, many) for many in (MANY, 1) for mode in self.plan.modes]
        for number in range(self.plan.rounds):
            for cell in cells:
                for subject, service in rotated(self.running, number):
                    if cell.mode in subject.modes:
                        self.measure(cell, subject, service)

    def measure(self, cell: Cell, subject: Subject, service: Service) -> None:
        """One measurement; says what it found, and compares what reached Nova."""
        before = effects(self.stub)
        measured = cell.load(
            [service.url], [service.pid], self.plan.seconds, header=subject.token_header
        )
        missing = 0 if subject.answers_itself else measured["effects"]
        measured["surplus"] = effects(self.stub) - before - missing
        self.rounds[subject.name, cell.mode, cell.connections].append(measured)
        self.console.print(
            f"{cell.mode:>9} x{cell.connections:<3} {subject.name:<32}"
            f"{measured['per_second']:9.0f}/s  p50 {measured['p50_ms']:7.2f} ms"
            f"  CPU {measured['cpu_us'][0]:6.0f} us  errors {measured['errors']}",
            highlight=False,
        )

    def profile(self, directory: Path) -> Iterator[Path]:
        """Records dedupd under each mode; yields the files."""
        directory.mkdir(parents=True, exist_ok=True)
        for subject, service in self.running:
            if subject.name == "dedupd":
                for mode in self.plan.modes:
                    path = directory / f"{mode}.folded"
                    with profiled(service.pid, path):
                        Cell(mode, MANY).load([service.url], [], 5 * self.plan.seconds)
                    yield path

    def rows(self) -> list[Measurement]:
        """The medians over the rounds: one row for each subject and mode."""
        return [
            self.row(subject.name, mode)
            for mode in self.plan.modes
            for subject, _ in self.running
            if mode in subject.modes
        ]

    def row(self, name: str, mode: str) -> Measurement:
        """The medians of one subject in one mode."""
        many, one = self.rounds[name, mode, MANY], self.rounds[name, mode, 1]
        direct = self.rounds[DIRECT.name, "get" if mode == "get" else "post", 1]
        reference = self.rounds.get((REFERENCES[mode], mode, MANY))
        return {
            "mode": mode,
            "subject": name,
            "per_second": median(many, "per_second"),
            "ratio": ratio(many, reference) if reference else None,
            "p50_ms": median(many, "p50_ms"),
            "p99_ms": median(many, "p99_ms"),
            "cpu_us": statistics.median(found["cpu_us"][0] for found in many),
            "cpu_ratio": cpu_ratio(many, reference) if reference else None,
            "p50_alone_ms": median(one, "p50_ms"),
            "added_p50_ms": added(one, direct) if direct else None,
            "errors": sum(found["errors"] for found in (*many, *one)),
            "surplus": sum(found["surplus"] for found in (*many, *one)),
        }


def rotated(
    running: list[tuple[Subject, Service]], number: int
) -> Iterable[tuple[Subject, Service]]:
    """The same, beginning with another one each round."""
    start = number % len(running)
    return running[start:] + running[:start]


def median(measurements: list[Measurement], key: str) -> float:
    return statistics.median(float(found[key]) for found in measurements)


def paired(
    ours: list[Measurement], theirs: list[Measurement], how: Callable[[Any, Any], float]
) -> float:
    """The median over the rounds of what two measurements of the same round say together."""
    return statistics.median(how(one, other) for one, other in zip(ours, theirs, strict=True))


def ratio(ours: list[Measurement], theirs: list[Measurement]) -> float:
    return paired(ours, theirs, lambda one, other: one["per_second"] / other["per_second"])


def cpu_ratio(ours: list[Measurement], theirs: list[Measurement]) -> float:
    return paired(ours, theirs, lambda one, other: sum(one["cpu_us"]) / sum(other["cpu_us"]))


def added(ours: list[Measurement], theirs: list[Measurement]) -> float:
    """Milliseconds at the median."""
    return paired(ours, theirs, lambda one, other: one["p50_ms"] - other["p50_ms"])


def table(rows: list[Measurement]) -> Table:
    """What compare found, for people."""
    shown = Table(title=f"{MANY} connections, and one alone (medians over the rounds)")
    for heading in ("mode", "subject"):
        shown.add_column(heading)
    for heading in ("req/s", "x ref.", "p50 ms", "p99 ms", "CPU us", "alone p50", "added", "err"):
        shown.add_column(heading, justify="right")
    shown.add_column("POSTs too many", justify="right")
    previous = None
    for row in rows:
        if previous not in (None, row["mode"]):
            shown.add_section()
        previous = row["mode"]
        shown.add_row(
            row["mode"],
            row["subject"] + (" (ref.)" if row["subject"] == REFERENCES[row["mode"]] else ""),
            f"{row['per_second']:.0f}",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['cpu_us']:.0f}",
            f"{row['p50_alone_ms']:.3f}",
            "" if row["added_p50_ms"] is None else f"{row['added_p50_ms']:.3f}",
            str(row["errors"]),
            str(row["surplus"]),
        )
    return shown


def compare(plan: Plan, directory: Path, console: Console) -> dict[str, Any]:
    """Measures, prints the table, and returns all there is to keep."""
    with Services(directory) as services:
        comparison = Comparison(plan, services, console)
        comparison.run()
        rows = comparison.rows()
        console.print(table(rows))
        if plan.profile:
            for path in comparison.profile(plan.profile):
                console.print(hot_spots(path))
    raw = [{"subject": key[0], "rounds": found} for key, found in comparison.rounds.items()]
    return {"rows": rows, "raw": raw}


def hot_spots(path: Path, lines: int = 25) -> Table:
    """Where the time goes, from folded stacks: by thread, and by the function that is running."""
    own: dict[str, int] = defaultdict(int)
    below: dict[str, int] = defaultdict(int)
    total = 0
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [LINE_NUMBER.sub(")", frame) for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            below[frame] += int(count)
    shown = Table(title=f"{path.stem}: {total} samples")
    for heading in ("own %", "with callees %", "function"):
        shown.add_column(heading, justify="left" if heading == "function" else "right")
    for frame in sorted(own, key=own.__getitem__, reverse=True)[:lines]:
        shares = (own[frame] / total, below[frame] / total)
        shown.add_row(*(f"{share:.1%}" for share in shares), frame)
    return shown
