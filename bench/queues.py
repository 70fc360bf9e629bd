"""dedupd beside peers with a queue, on the same RabbitMQ: how fast, and what a killed worker costs.

All carry the same requests to the same stub, taking turns. Then each in front of a simulated Nova,
which remembers what it made: 64 requests are under way in it when the worker is killed (kill -9),
a new worker is started at once, and callers who are refused or cut off repeat with the same token.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.cell import Cell, Measurement
from bench.chain import progress
from bench.processes import PEERS, Service, Services, free_port
from bench.site import Site
from tests.integration.simulated import Simulated

MANY, ONE = Cell("new-token", 64), Cell("new-token", 1)
AT_ONCE = 64
NOVA_SECONDS = 2.0
"""How long a killed worker's requests are under way in Nova: made at once, answered late."""

PATIENCE_SECONDS = 60.0
HEADER = "Idempotency-Key"
OURS = "dedupd"
QUEUES = ("dramatiq", "celery")
KILLED = (OURS, "dramatiq", "celery", "celery-early")


class Subject(Protocol):
    """A front and a worker of some kind."""

    @property
    def urls(self) -> list[str]:
        """The front's."""

    @property
    def processes(self) -> dict[int, str]:
        """What its processes are."""

    def kill_worker(self) -> None:
        """kill -9."""

    def start_worker(self) -> None:
        """Another one in its place."""


class Peer:
    """One of bench/peers/queues.py."""

    def __init__(self, services: Services, name: str, site: Site, redis: int, nova: str) -> None:
        self.services = services
        self.name = name
        self.command = [str(PEERS), "bench/peers/queues.py", name]
        self.options = ["--amqp", site.broker.url, "--redis", str(redis), "--nova", nova]
        self.start_worker()
        self.front = self.start_front()

    @property
    def urls(self) -> list[str]:
        """The front's."""
        return [self.front.url]

    @property
    def processes(self) -> dict[int, str]:
        """What its processes are."""
        return {self.front.pid: "front", self.worker.pid: "worker"}

    def start_front(self) -> Service:
        """The front; it listens when this returns."""
        port = free_port()
        command = [*self.command, "front", *self.options, "--port", str(port)]
        return self.services.listening(f"{self.name}-front", port, *command)

    def start_worker(self) -> None:
        """A worker; it has nothing by which to tell that it is ready."""
        command = [*self.command, "worker", *self.options]
        self.worker = self.services.spawn(f"{self.name}-worker", *command)

    def kill_worker(self) -> None:
        """kill -9."""
        self.worker.kill()
        self.worker.wait()


@dataclass
class Storm:
    """Callers with a token each, who repeat until they have an answer that says it is made."""

    subject: Subject
    nova: Simulated
    answered: set[str] = field(default_factory=set)
    names: list[str] = field(
        default_factory=lambda: [f"storm-{secrets.token_hex(8)}" for _ in range(AT_ONCE)]
    )

    async def run(self) -> Measurement:
        """Kills the worker when all are under way; counts when all have ended or given up."""
        await self.ask([f"first-{secrets.token_hex(8)}"])
        self.delay(NOVA_SECONDS)
        asking = asyncio.create_task(self.ask(self.names))
        await asyncio.to_thread(self.wait_for_all)
        self.delay(0)
        began = time.monotonic()
        await asyncio.to_thread(self.subject.kill_worker)
        await asyncio.to_thread(self.subject.start_worker)
        await asking
        made = self.made()
        return {
            "in_flight": len(self.names),
            "duplicates": sum(max(0, made[name] - 1) for name in self.names),
            "lost": sum(not made[name] or name not in self.answered for name in self.names),
            "seconds": time.monotonic() - began,
        }

    def delay(self, seconds: float) -> None:
        """Nova does what it is asked at once, and says so after so many seconds."""
        rule = {"method": "POST", "path": "/servers$", "fault": "delay-after", "times": 10**6}
        self.nova.faults([rule | {"seconds": seconds}] if seconds else [])

    def made(self) -> Counter[str]:
        """How often each name was made."""
        return Counter(name for effect in self.nova.ledger() for name in effect["names"])

    def wait_for_all(self) -> None:
        """Returns when Nova has made all, and answered none."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not set(self.names) <= self.made().keys():
            assert time.monotonic() < deadline, "they never were all under way"
            time.sleep(0.02)

    async def ask(self, names: list[str]) -> None:
        """All of them at once."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self.until_made(session, name, deadline) for name in names))

    async def until_made(self, session: aiohttp.ClientSession, name: str, deadline: float) -> None:
        """One caller."""
        server = {"name": name, "imageRef": self.nova.image, "flavorRef": self.nova.flavor}
        headers = {HEADER: f'"{name}"', "X-Auth-Token": "demo:demo"}
        while (left := deadline - time.monotonic()) > 0:
            try:
                async with session.post(
                    self.subject.urls[0] + "/v2.1/servers",
                    json={"server": server},
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=left),
                ) as answer:
                    if answer.status == 202:
                        self.answered.add(name)
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.2)


def queues(rounds: int, seconds: float, directory: Path, console: Console) -> dict[str, Any]:
    """Measures how fast they are, prints the table, and returns all there is to keep."""
    with progress(console) as shown:
        rows = speed(rounds, seconds, directory, shown)
    console.print(speed_table(rows))
    return {"rows": rows}


def kills(directory: Path, console: Console) -> dict[str, Any]:
    """Kills the worker of each, prints the table, and returns all there is to keep."""
    with progress(console) as shown:
        found = killed(directory, shown)
    console.print(kill_table(found))
    return found


def speed(rounds: int, seconds: float, directory: Path, shown: Progress) -> list[Measurement]:
    """All at once on one broker, measured one at a time."""
    task = shown.add_task("all start", total=rounds * 2 * (1 + len(QUEUES)))
    found: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    with Services(directory) as services:
        stub, redis = services.stub(), services.redis()
        site = Site(services, directory / "beside", stub.url)
        subjects: dict[str, Subject] = {OURS: site}
        subjects |= {name: Peer(services, name, site, redis, stub.url) for name in QUEUES}
        for _ in range(rounds):
            for cell in (MANY, ONE):
                for name, subject in subjects.items():
                    shown.update(task, description=f"{name}, {cell.connections} connections")
                    watched = list(subject.processes)[:2]
                    measured = cell.load(subject.urls, watched, seconds, header=HEADER)
                    found[name, cell.connections].append(measured)
                    shown.advance(task)
    return [medians(name, found) for name in subjects]


def medians(name: str, found: dict[tuple[str, int], list[Measurement]]) -> Measurement:
    """The medians of one subject over the rounds."""

    def median(cell: Cell, take: Callable[[Measurement], float]) -> float:
        return statistics.median(take(one) for one in found[name, cell.connections])

    return {
        "subject": name,
        "per_second": median(MANY, lambda one: one["per_second"]),
        "p50_ms": median(MANY, lambda one: one["p50_ms"]),
        "p99_ms": median(MANY, lambda one: one["p99_ms"]),
        "p50_alone_ms": median(ONE, lambda one: one["p50_ms"]),
        "front_us": median(MANY, lambda one: one["cpu_us"][0]),
        "worker_us": median(MANY, lambda one: one["cpu_us"][1]),
        "errors": sum(
            one["errors"] for cell in (MANY, ONE) for one in found[name, cell.connections]
        ),
    }


def killed(directory: Path, shown: Progress) -> dict[str, Measurement]:
    """A kill for each, one after the other."""
    task = shown.add_task("kills", total=len(KILLED))
    found: dict[str, Measurement] = {}
    for name in KILLED:
        shown.update(task, description=f"{name}: kill -9 of the worker")
        with Services(directory) as services:
            nova = services.enter_context(Simulated(7))
            site = Site(services, directory / f"killed-{name}", nova.url)
            subject: Subject = site
            if name != OURS:
                subject = Peer(services, name, site, services.redis(), nova.url)
            found[name] = uvloop.run(Storm(subject, nova).run())
        shown.advance(task)
    return found


def speed_table(rows: list[Measurement]) -> Table:
    """What was found, for people."""
    shown = Table(title=f"new tokens: {AT_ONCE} connections, and one alone (medians)")
    shown.add_column("subject")
    headings = ("req/s", "p50 ms", "p99 ms", "p50 alone", "CPU us: front", "worker", "errors")
    for heading in headings:
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row["subject"],
            f"{row['per_second']:.0f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['p50_alone_ms']:.2f}",
            f"{row['front_us']:.0f}",
            f"{row['worker_us']:.0f}",
            str(row["errors"]),
        )
    return shown


def kill_table(found: dict[str, Measurement]) -> Table:
    """What was found, for people."""
    shown = Table(title=f"kill -9 of the worker with {AT_ONCE} requests under way")
    shown.add_column("subject")
    for heading in ("duplicates", "lost", "seconds until all had ended"):
        shown.add_column(heading, justify="right")
    for name, row in found.items():
        shown.add_row(name, str(row["duplicates"]), str(row["lost"]), f"{row['seconds']:.1f}")
    return shown
