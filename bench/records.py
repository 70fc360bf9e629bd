"""What stored records cost: memory, and CPU per request, with a thousand of them and a million.

The store is filled through its own methods (claim, then swap to DONE with an answer of the size
that Nova's has), so it is what so many requests would have left behind. Once for dedupd standalone,
and once for a whole site, whose CPU is that of front, worker and etcd.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.cell import Cell, Measurement
from bench.compare import cpu_ratio, median, ratio
from bench.processes import Services, memory
from bench.room import Member
from bench.site import Site
from dedupd import seal
from dedupd.ports import Store
from dedupd.request import Record, Resource, begin_send, finish
from dedupd.store.origin import Origin
from dedupd.store.sqlite import SqliteStore

RESULT_BYTES = 200  # a sealed answer to a server create
PAYLOAD_BYTES = 900
TOGETHER = 200
DAY = 86400.0


def records(number: int) -> Iterator[Record]:
    """Records as they stand when requests were just accepted."""
    now = time.time()
    for _ in range(number):
        yield Record(
            id=secrets.token_hex(16),
            birth=secrets.token_hex(8),
            project_id="6f70656e737461636b20342065766572",
            user_id="demo",
            route="servers",
            path="/v2.1/servers",
            fingerprint=os.urandom(32),
            parts={name: os.urandom(8) for name in ("path", "microversion", "server.name")},
            created_at=now,
        )


async def keep(store: Store, record: Record) -> None:
    """Claims a record and finishes it."""
    _, stored = await store.claim(record, os.urandom(PAYLOAD_BYTES))
    now = time.time()
    server = Resource("server", f"6f70656e-7374-6163-6b00-{record.id[:12]}", "bench")
    sending = begin_send(stored.record, "bench", now, 120)
    done = finish(sending, now, status=202, resource=server, keep=DAY)
    assert await store.swap(stored.record, done, result=os.urandom(RESULT_BYTES))


def new_store(state: Path) -> SqliteStore:
    """A key file and a database where dedupd will look for them."""
    state.mkdir()
    seal.create(state / "seal.keys")
    keys = seal.load(state / "seal.keys")
    return SqliteStore(state / "records.db", origin=Origin(keys.check, "RegionOne"))


async def fill(store: Store, number: int, console: Console) -> None:
    """Leaves so many finished records in it."""
    await store.open()
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"{number} records", total=number)
            for start in range(0, number, TOGETHER):
                batch = records(min(TOGETHER, number - start))
                await asyncio.gather(*(keep(store, record) for record in batch))
                progress.advance(task, TOGETHER)
    finally:
        await store.close()


@dataclass(frozen=True)
class Holder:
    """What holds so many records: where it is asked, and the processes whose CPU counts."""

    urls: list[str]
    pids: list[int]
    """The front's first."""


@dataclass(frozen=True)
class Filling:
    """Where records are put."""

    services: Services
    nova: str
    console: Console

    def standalone(self, number: int) -> Holder:
        """One process on SQLite."""
        state = self.services.directory / f"dedupd-with-{number}"
        uvloop.run(fill(new_store(state), number, self.console))
        service = self.services.dedupd(self.nova, state)
        return Holder([service.url], [service.pid])

    def site(self, number: int) -> Holder:
        """A front and a worker on etcd and RabbitMQ of their own."""
        site = Site(self.services, self.services.directory / f"site-with-{number}", self.nova)
        uvloop.run(fill(site.store(), number, self.console))
        Member(site.etcd.endpoints[0]).settled()
        pids = {kind: pid for pid, kind in site.processes.items()}
        return Holder(site.urls, [pids["front"], pids["worker"], pids["etcd"]])


HOLDERS: dict[str, Callable[[Filling, int], Holder]] = {
    "records": Filling.standalone,
    "site-records": Filling.site,
}


def stored(
    part: str,
    numbers: tuple[int, ...],
    rounds: int,
    seconds: float,
    directory: Path,
    console: Console,
) -> dict[str, Any]:
    """Measures one dedupd for each number of records, in turns."""
    with Services(directory) as services:
        filling = Filling(services, services.stub().url, console)
        running = {number: HOLDERS[part](filling, number) for number in {*numbers}}
        started = {number: memory(holder.pids[0]) for number, holder in running.items()}
        measured: dict[tuple[int, str], list[Measurement]] = {}
        for turn in range(rounds):
            for mode in ("new-token", "replay"):
                for number in numbers if turn % 2 else reversed(numbers):
                    holder = running[number]
                    found = Cell(mode, 64).load(holder.urls, holder.pids, seconds)
                    measured.setdefault((number, mode), []).append(found)
        rows = [
            {
                "records": number,
                "mode": mode,
                "per_second": median(found, "per_second"),
                "cpu_us": statistics.median(sum(one["cpu_us"]) for one in found),
                "errors": sum(one["errors"] for one in found),
                "of_the_first": ratio(found, measured[numbers[0], mode]),
                "cpu_of_the_first": cpu_ratio(found, measured[numbers[0], mode]),
                "bytes_started": started[number],
                "bytes_now": memory(running[number].pids[0]),
            }
            for (number, mode), found in measured.items()
        ]
    console.print(table(rows))
    return {"rows": rows}


def table(rows: list[Measurement]) -> Table:
    """What was found, for people."""
    shown = Table(title="requests beside stored records")
    for heading in (
        "records",
        "mode",
        "req/s",
        "x 1st",
        "CPU us",
        "x 1st",
        "errors",
        "MB at start",
        "MB after",
    ):
        shown.add_column(heading, justify="right")
    for row in sorted(rows, key=lambda row: (row["mode"], row["records"])):
        shown.add_row(
            f"{row['records']:,}",
            row["mode"],
            f"{row['per_second']:.0f}",
            f"{row['of_the_first']:.2f}",
            f"{row['cpu_us']:.0f}",
            f"{row['cpu_of_the_first']:.2f}",
            str(row["errors"]),
            f"{row['bytes_started'] / 1e6:.1f}",
            f"{row['bytes_now'] / 1e6:.1f}",
        )
    return shown
