"""How much memory a caller takes that waits: thousands of them, while Nova does not answer.

Two kinds: callers who repeat one token (they wait for somebody else's answer), and callers with a
token each (their own request waits to be sent, or for Nova).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from rich.table import Table

from bench.load import Requests
from bench.processes import Service, Services, memory, settle, waiting

NEVER = 3600.0  # seconds until the stub answers
HELD_SECONDS = 40.0


class Waiter(asyncio.Protocol):
    """A caller who has asked and waits; an answer would be one too many."""

    def __init__(self, request: bytes, answered: list[bytes]) -> None:
        self.request = request
        self.answered = answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks."""
        cast(asyncio.Transport, transport).write(self.request)

    def data_received(self, data: bytes) -> None:
        """Counts an answer."""
        self.answered.append(data)


async def hold(service: Service, requests: Iterator[bytes]) -> dict[str, Any]:
    """Lets all of them wait at once and says what that takes; then they leave."""
    url = urlsplit(service.url)
    loop = asyncio.get_running_loop()
    answered: list[bytes] = []
    before = memory(service.pid)
    callers = []
    for request in requests:
        waiter = partial(Waiter, request, answered)
        callers.append(await loop.create_connection(waiter, "127.0.0.1", url.port or 80))
    await asyncio.to_thread(all_wait, service, len(callers))
    held = memory(service.pid)
    for transport, _ in callers:
        transport.abort()
    await asyncio.to_thread(settle, service.pid)
    return {
        "callers": len(callers),
        "answered": len(answered),
        "bytes_each": (held - before) / len(callers),
        "bytes_before": before,
        "bytes_held": held,
        "bytes_after": memory(service.pid),
    }


def all_wait(service: Service, callers: int) -> None:
    """Returns when that many callers are held, and dedupd is at rest."""
    deadline = time.monotonic() + HELD_SECONDS
    while (held := waiting(service)) < callers:
        assert time.monotonic() < deadline, f"only {held} of {callers} callers are held"
        time.sleep(0.1)
    settle(service.pid)


def waiters(callers: int, directory: Path, console: Console) -> dict[str, Any]:
    """Measures both kinds, each with a dedupd of its own."""
    found: dict[str, Any] = {}
    for kind in ("one token", "a token each"):
        with Services(directory) as services:
            service = services.dedupd(services.stub(delay=NEVER).url)
            requests = Requests(urlsplit(service.url).netloc, "new-token", 0, "X-Client-Token")
            warm = (requests.tagged(f"warm-{number}") for number in range(50))
            uvloop.run(hold(service, warm))
            tokens = (
                "one" if kind == "one token" else f"each-{number}" for number in range(callers)
            )
            found[kind] = uvloop.run(hold(service, (requests.tagged(token) for token in tokens)))
    console.print(table(found))
    return found


def table(found: dict[str, Any]) -> Table:
    """What was found, for people."""
    shown = Table(title="memory of callers who wait")
    for heading in ("callers", "number", "answered", "KB each", "MB held", "MB after they left"):
        shown.add_column(heading, justify="right")
    for kind, row in found.items():
        shown.add_row(
            kind,
            str(row["callers"]),
            str(row["answered"]),
            f"{row['bytes_each'] / 1e3:.1f}",
            f"{row['bytes_held'] / 1e6:.1f}",
            f"{row['bytes_after'] / 1e6:.1f}",
        )
    return shown
