"""A load generator: keep-alive connections, one request at a time on each, as light as can be.

    python -m bench.load URL... --mode new-token --connections 64 --seconds 5 --watch PID

Modes:
    get         GET /v2.1/servers/ID
    post        POST /v2.1/servers without a token
    new-token   POST /v2.1/servers, each with a token never used before
    replay      POST /v2.1/servers, each with one of --tokens tokens, all used once beforehand

Prints one JSON object: requests per second, latencies in milliseconds, errors (any status that is
not 2xx, and broken connections), how many POSTs Nova should have seen in all (``effects``), and the
CPU microseconds that each watched process, and this one, used per request. Of several URLs each has
as many of the connections as the others.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
BODY = json.dumps(
    {
        "server": {
            "name": "bench",
            "imageRef": "70a599e0-31e7-49b7-b260-868f441e862b",
            "flavorRef": "1",
            "networks": [{"uuid": "ff608d40-75e9-48cb-b745-77bb55b5eaf2"}],
            "metadata": {"purpose": "measurement"},
        }
    }
).encode()
CALLER = "9f2d8f6a6c3b4e0fb1a2c3d4e5f60718:6f70656e737461636b20342065766572"
"""User and project, as long as Keystone's ids are."""

SEEDING_SECONDS = 600.0
PATIENCE_SECONDS = 60.0
"""For how long the last answers are waited for; an answer that never comes ends the run."""

TICKS = os.sysconf("SC_CLK_TCK")


class Requests:
    """The requests of one mode, endless, as bytes ready to be written."""

    def __init__(self, host: str, mode: str, tokens: int, header: str) -> None:
        fields = [f"Host: {host}", "User-Agent: bench", "Accept: application/json"]
        fields += ["Accept-Encoding: gzip, deflate", f"X-Auth-Token: {CALLER}"]
        common = "\r\n".join(fields)
        self.get = f"GET /v2.1/servers/1 HTTP/1.1\r\n{common}\r\n\r\n".encode()
        framing = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}"
        self.head = f"POST /v2.1/servers HTTP/1.1\r\n{common}\r\n{framing}\r\n".encode()
        self.header = header
        self.run = secrets.token_hex(6)
        self.mode = mode
        self.tokens = [f"{self.run}-replay-{number}" for number in range(tokens)]

    def tagged(self, token: str) -> bytes:
        """A POST with this token."""
        return self.head + f"{self.header}: {token}\r\n\r\n".encode() + BODY

    def seeding(self) -> Iterator[bytes]:
        """The requests that use each token of the mode replay for the first time."""
        return (self.tagged(token) for token in self.tokens)

    def measured(self) -> Iterator[bytes]:
        """The requests that count."""
        if self.mode == "get":
            return itertools.repeat(self.get)
        if self.mode == "post":
            return itertools.repeat(self.head + b"\r\n" + BODY)
        if self.mode == "replay":
            return (self.tagged(random.choice(self.tokens)) for _ in itertools.count())
        return (self.tagged(f"{self.run}-{number}") for number in itertools.count())


class Tally:
    """What one run has counted."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.broken = 0

    def errors(self) -> int:
        """Answers that are not 2xx, and broken connections."""
        bad = sum(count for status, count in self.statuses.items() if not 200 <= status <= 299)
        return bad + self.broken


class Caller(asyncio.Protocol):
    """One connection: writes a request, and the next one as soon as its answer is complete."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, stop: float) -> None:
        self.requests = requests
        self.tally = tally
        self.stop = stop
        self.buffer = b""
        self.expected = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way to answer."""
        self.transport = cast(asyncio.Transport, transport)
        self.next()

    def next(self) -> None:
        """Writes the next request, or ends when time or requests are over."""
        request = next(self.requests, None) if time.perf_counter() < self.stop else None
        if request is None:
            self.finish()
            return
        self.buffer, self.expected = b"", 0
        self.began = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Counts an answer once it is complete."""
        self.buffer = self.buffer + data if self.buffer else data
        if not self.expected and not self.read_head():
            return
        if self.expected < 0:
            if not self.buffer.endswith(b"\r\n0\r\n\r\n"):
                return
        elif len(self.buffer) < self.expected:
            return
        self.tally.latencies.append(time.perf_counter() - self.began)
        self.tally.statuses[int(self.buffer[9:12])] += 1
        self.next()

    def read_head(self) -> bool:
        """Learns how long the answer is; -1 stands for one in chunks."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = CONTENT_LENGTH.search(self.buffer, 0, end)
        if length:
            self.expected = end + 4 + int(length[1])
        else:
            self.expected = -1 if CHUNKED.search(self.buffer, 0, end + 2) else end + 4
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Counts a connection that the server closed."""
        if not self.done.done():
            self.tally.broken += 1
            self.finish()

    def finish(self) -> None:
        """Closes the connection; safe to repeat."""
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()


async def drive(
    addresses: Sequence[tuple[str, int]],
    requests: Iterator[bytes],
    connections: int,
    seconds: float,
) -> tuple[Tally, float]:
    """Runs for that long, or until the requests are used up; returns the tally and the time.

    Raises:
        TimeoutError: answers do not come.
    """
    tally = Tally()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(requests, tally, began + seconds), *address))[
            1
        ].done
        for address in itertools.islice(itertools.cycle(addresses), connections)
    ]
    async with asyncio.timeout(seconds + PATIENCE_SECONDS):
        await asyncio.gather(*callers)
    return tally, time.perf_counter() - began


def cpu_seconds(pid: int) -> float:
    """CPU used by a process and those children of it that have ended, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def measure(options: argparse.Namespace) -> dict[str, object]:
    urls = [urlsplit(url) for url in options.urls]
    addresses = [(url.hostname or "127.0.0.1", url.port or 80) for url in urls]
    requests = Requests(urls[0].netloc, options.mode, options.tokens, options.token_header)
    seeded = Tally()
    if options.mode == "replay":
        seeding = requests.seeding()
        seeded, _ = await drive(addresses, seeding, min(32, options.tokens), SEEDING_SECONDS)
        assert not seeded.errors(), f"using the tokens for the first time failed: {seeded.statuses}"
    measured = requests.measured()  # one for both runs, so that no token comes twice
    warm, _ = await drive(addresses, measured, options.connections, options.warm_up)
    before = {pid: cpu_seconds(pid) for pid in options.watch}
    began = time.process_time()
    tally, elapsed = await drive(addresses, measured, options.connections, options.seconds)
    own = time.process_time() - began
    count = max(1, len(tally.latencies))
    used = {pid: (cpu_seconds(pid) - before[pid]) / count for pid in options.watch}
    sent = len(warm.latencies) + len(tally.latencies)
    effects = {"get": 0, "replay": len(seeded.latencies)}
    ordered = sorted(tally.latencies)
    return {
        "mode": options.mode,
        "connections": options.connections,
        "requests": len(ordered),
        "per_second": len(ordered) / elapsed,
        "p50_ms": percentile(ordered, 0.50) * 1e3,
        "p90_ms": percentile(ordered, 0.90) * 1e3,
        "p99_ms": percentile(ordered, 0.99) * 1e3,
        "errors": tally.errors() + warm.errors(),
        "statuses": dict(tally.statuses),
        "effects": effects.get(options.mode, sent),
        "cpu_us": [used[pid] * 1e6 for pid in options.watch],
        "own_cpu_us": own / count * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--mode", choices=("get", "post", "new-token", "replay"), default="get")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds not measured")
    parser.add_argument("--tokens", type=int, default=1000, help="replay: how many tokens")
    parser.add_argument("--token-header", default="X-Client-Token")
    parser.add_argument("--watch", type=int, nargs="*", default=[], metavar="PID")
    print(json.dumps(uvloop.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
