"""What a front costs that serves nobody: it hears of every request that ends on any other.

One front bears the load; others are added that only listen. Per request, the CPU of the others and
what etcd uses more with each of them tell how far the number of fronts can grow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cell import Cell
from bench.chain import progress
from bench.processes import Services
from bench.site import Site

LOAD = Cell("new-token", 64)
LISTENERS = (0, 4, 8)


def fan_out(seconds: float, directory: Path, console: Console) -> dict[str, Any]:
    """Measures, prints the table, and returns all there is to keep."""
    rows: list[dict[str, float]] = []
    with Services(directory) as services, progress(console) as shown:
        shown.add_task("fronts are added that only listen", total=None)
        site = Site(services, directory / "fan-out", services.stub().url)
        for listeners in LISTENERS:
            while len(site.fronts) <= listeners:
                site.add("api")
            rows.append(measured(site, seconds))
    console.print(table(rows))
    return {"rows": rows}


def measured(site: Site, seconds: float) -> dict[str, float]:
    """CPU microseconds per request of etcd, and of each front that only listens."""
    listening = [front.pid for front in site.fronts[1:]]
    watched = [site.etcd.members[0].pid, *listening]
    found = LOAD.load(site.urls[:1], watched, seconds)
    etcd, *others = found["cpu_us"]
    return {
        "listeners": len(listening),
        "rate": found["per_second"],
        "etcd_us": etcd,
        "listener_us": sum(others) / len(others) if others else 0.0,
    }


def table(rows: list[dict[str, float]]) -> Table:
    """What was found, for people."""
    shown = Table(title="fronts that only listen; CPU in microseconds per request")
    for heading in ("listeners", "req/s", "etcd", "each listener"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            *(f"{row[key]:,.0f}" for key in ("listeners", "rate", "etcd_us")),
            f"{row['listener_us']:,.1f}",
        )
    return shown
