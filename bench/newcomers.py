"""How long a newcomer waits at a front that serves many who keep their connections.

Callers repeat finished requests as fast as they can, each over one connection; meanwhile some come
at once, again and again, each over a new one, and ask whether the front lives, as a load balancer
does.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from rich.table import Table

from bench.cell import Cell
from bench.chain import progress
from bench.load import percentile
from bench.processes import Service, Services

KEPT = (16, 64, 256)
AT_ONCE = (1, 20)
REST_SECONDS = 0.1
ASKED = b"GET /healthz/live HTTP/1.1\r\nHost: front\r\nConnection: close\r\n\r\n"

Row = dict[str, float]


def newcomers(seconds: float, directory: Path, console: Console) -> dict[str, Any]:
    """Measure, print the table, and return all there is to keep."""
    with Services(directory) as services, progress(console) as shown:
        front = services.dedupd(services.stub().url)
        task = shown.add_task("newcomers", total=len(KEPT) * len(AT_ONCE))
        rows = []
        for kept in KEPT:
            for number in AT_ONCE:
                rows.append(uvloop.run(beside(front, kept, number, seconds)))
                shown.advance(task)
    console.print(table(rows))
    return {"rows": rows}


async def beside(front: Service, kept: int, number: int, seconds: float) -> Row:
    """What so many newcomers at once wait beside so many who are served."""
    url = urlsplit(front.url)
    address = (url.hostname or "127.0.0.1", url.port or 80)
    cell = Cell("replay", kept)
    load = asyncio.create_task(asyncio.to_thread(cell.load, [front.url], [front.pid], seconds))
    waits: list[float] = []
    while not load.done():
        waits += await asyncio.gather(*(waited(address) for _ in range(number)))
        await asyncio.sleep(REST_SECONDS)
    found, ordered = await load, sorted(waits)
    return {
        "kept": kept,
        "rate": found["per_second"],
        "at_once": number,
        "p50": percentile(ordered, 0.5),
        "worst": ordered[-1],
    }


async def waited(address: tuple[str, int]) -> float:
    """Seconds from the first packet of a newcomer to its answer."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(ASKED)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.perf_counter() - began


def table(rows: list[Row]) -> Table:
    """What was found, for people."""
    shown = Table(title="newcomers at a front that is busy; milliseconds")
    for heading in ("kept", "replays/s", "newcomers at once", "p50", "worst"):
        shown.add_column(heading, justify="right")
    for row in rows:
        figures = (row["kept"], row["rate"], row["at_once"], 1e3 * row["p50"], 1e3 * row["worst"])
        shown.add_row(*(f"{figure:,.0f}" for figure in figures))
    return shown
