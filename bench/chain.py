"""The whole chain on one machine: fronts, workers, etcd, RabbitMQ, the stub and the load generator.

First one front and one worker: new tokens from 256 connections and from one, then replays. Then the
same with two of each. One connection alone is measured for the bare chain as well (``bench.bare``).
The CPU of every process is counted, so that what a machine of more cores gives can be reckoned.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.cell import Cell, Measurement
from bench.processes import Service, Services, effects, free_port, profiled
from bench.site import Site

PROCESSES = ("front", "worker", "etcd", "RabbitMQ", "stub", "load")
ENGINES = ("etcd", "RabbitMQ")
DIRECT = Cell("post", 1)


@dataclass(frozen=True)
class Step:
    """One kind of load, and how many fronts and workers bear it."""

    cell: Cell
    each: int
    share: float = 1.0
    """Of the seconds that the longest step takes."""

    @property
    def name(self) -> str:
        """What is shown while it runs."""
        return f"{self.cell.mode}, {self.cell.connections} connections"


ALONE = Step(Cell("new-token", 1), each=1, share=0.25)
STEPS = (
    Step(Cell("new-token", 256), each=1),
    Step(Cell("new-token", 64), each=1, share=0.25),
    ALONE,
    Step(Cell("replay", 64), each=1, share=0.25),
    Step(Cell("new-token", 256), each=2, share=0.5),
    Step(Cell("replay", 64), each=2, share=0.25),
)


@dataclass
class Chain:
    """A site that grows as the steps ask, and what was measured of it."""

    site: Site
    stub: Service
    seconds: float

    def measure(self, step: Step) -> Measurement:
        """One step; counts what reached the stub beyond what was asked for."""
        while len(self.site.fronts) < step.each:
            self.site.add("worker")
            self.site.add("api")
        return self._load(step, self.site.urls, self.site.processes) | {"each": step.each}

    def _load(self, step: Step, urls: list[str], processes: dict[int, str]) -> Measurement:
        """One step on whatever listens at these URLs; the CPU of these processes and the stub."""
        before = effects(self.stub)
        processes = processes | {self.stub.pid: "stub"}
        measured = step.cell.load(urls, list(processes), self.seconds * step.share)
        measured["surplus"] = effects(self.stub) - before - measured["effects"]
        measured["cpu"] = by_kind(processes, measured)
        return measured

    def direct(self) -> Measurement:
        """The stub by itself, from one connection."""
        return DIRECT.load([self.stub.url], [], min(3.0, self.seconds))

    def bare(self) -> Measurement:
        """The bare chain on the same engines, from one connection; for as long as dedupd's."""
        with Services(self.site.directory) as services:
            worker, front = (self._start_bare(services, role) for role in ("worker", "front"))
            engines = {pid: kind for pid, kind in self.site.processes.items() if kind in ENGINES}
            processes = {front.pid: "front", worker.pid: "worker"} | engines
            measured = self._load(ALONE, [front.url], processes)
        return measured | {"mode": "the bare parts", "each": 1}

    def _start_bare(self, services: Services, role: str) -> Service:
        port = free_port()
        command = [sys.executable, "-m", "bench.bare", role, "--port", str(port)]
        command += ["--etcd", self.site.etcd.endpoints[0], "--amqp", self.site.broker.url]
        return services.listening(f"bare-{role}", port, *command, "--nova", self.stub.url)


def by_kind(processes: dict[int, str], measured: Measurement) -> dict[str, float]:
    """CPU microseconds per request of each kind of process."""
    cpu: Counter[str] = Counter()
    for kind, used in zip(processes.values(), measured["cpu_us"], strict=True):
        cpu[kind] += used
    return {**cpu, "load": measured["own_cpu_us"]}


def chain(
    seconds: float, profile: Path | None, directory: Path, console: Console
) -> dict[str, Any]:
    """Measures, prints the table, and returns all there is to keep."""
    with Services(directory) as services, progress(console) as shown:
        task = shown.add_task("the engines start", total=len(STEPS))
        stub = services.stub()
        running = Chain(Site(services, directory / "chain", stub.url), stub, seconds)
        direct = running.direct()
        rows = []
        for step in STEPS:
            shown.update(task, description=f"{step.name}, {step.each} of each")
            rows.append(running.measure(step))
            if step is ALONE:
                rows.append(running.bare())
            shown.advance(task)
        if profile is not None:
            shown.update(task, description="profiles")
            record(running, profile)
    console.print(table(rows, direct["p50_ms"]))
    return {"rows": rows, "direct": direct}


def record(running: Chain, directory: Path) -> None:
    """Where front and worker spend their time, as py-spy sees it."""
    directory.mkdir(parents=True, exist_ok=True)
    measured: list[tuple[str, Service]] = [
        ("front", running.site.fronts[0]),
        ("worker", running.site.workers[0]),
    ]
    for kind, service in measured:
        with profiled(service.pid, directory / f"{kind}.folded"):
            running.measure(STEPS[0])


def progress(console: Console) -> Progress:
    """A line that says what is being measured, and for how long it has been."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def table(rows: list[Measurement], direct_ms: float) -> Table:
    """What was found, for people."""
    shown = Table(title="the whole chain; CPU in microseconds per request")
    shown.add_column("load")
    for heading in ("of each", "req/s", "p50 ms", "added", "p99 ms", *PROCESSES, "sum", "err"):
        shown.add_column(heading, justify="right")
    shown.add_column("POSTs too many", justify="right")
    for row in rows:
        cpu = row["cpu"]
        shown.add_row(
            f"{row['mode']} x{row['connections']}",
            str(row["each"]),
            f"{row['per_second']:.0f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p50_ms'] - direct_ms:.2f}" if row["connections"] == 1 else "",
            f"{row['p99_ms']:.1f}",
            *(f"{cpu[kind]:.0f}" for kind in PROCESSES),
            f"{sum(cpu.values()):.0f}",
            str(row["errors"]),
            str(row["surplus"]),
        )
    return shown
