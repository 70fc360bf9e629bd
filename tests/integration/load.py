"""What a fleet is given to do, for how long, and what goes wrong in Nova meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.fleet import Catalogue, Fleet, Order
from tests.integration.simulated import Rule
from tests.nova.call import call

QUIET_SECONDS = 120.0
"""How long no order at all may be answered when nothing is disturbed any more, and some are open.

What is lost is never answered. What is in doubt is; but one turn of it (send again, settle, look)
was seen to take 70 s where each look waited in Nova's line; and that send may be lost again.
"""

USER = "demo:demo"
"""Who orders: the simulated Nova's token of a user and a project."""

ORDERING = ({"X-Auth-Token": USER}, {"X-Auth-Token": "colleague:demo"})
"""The headers of who orders, and of a colleague."""

SERVICE_USER = {
    "service_user.auth_type": "admin_token",
    "service_user.endpoint": "http://127.0.0.1",
    "service_user.token": "dedupd:service:admin",
}
"""An administrator, without whom what was lost of more servers than Nova lists at once is unknown:
of the simulated Nova, and of the real one without Keystone, whose tokens are names."""

SHORT = {
    **SERVICE_USER,
    "nova.connect_timeout": "1",
    "nova.send_timeout": "1",
    "nova.settle_seconds": "10",
    "nova.retry_seconds": "60",
    "worker.lease_seconds": "1",
    "worker.sweep_seconds": "0.1",
}
"""Seconds in dedupd's configuration; what commits late in MISHAPS does so within LATE of them.

settle_seconds is what dedupd is promised of Nova: what was sent takes effect by then, or never. The
simulated Nova keeps that on a machine where it has to wait for seconds until it runs at all.
"""

LATE = 0.5

MISHAPS: list[Rule] = [
    {"method": "POST", "fault": "drop-after", "probability": 0.05},
    {"method": "POST", "fault": "503-after", "probability": 0.05},
    {"method": "POST", "fault": "500-after", "probability": 0.02},
    {"method": "POST", "fault": "drop-before", "probability": 0.01},
    {"method": "POST", "fault": "503-before", "probability": 0.01},
    {"method": "POST", "fault": "delay-after", "probability": 0.02, "seconds": 1.5},
    {"method": "POST", "fault": "delay-after", "probability": 0.1, "seconds": 0.2},
    {"method": "POST", "fault": "late-commit", "probability": 0.02, "seconds": LATE},
    {"method": "POST", "fault": "late-commit", "probability": 0.02, "seconds": LATE, "status": 0},
    {"method": "GET", "fault": "503-before", "probability": 0.05},
    {"method": "DELETE", "fault": "drop-after", "probability": 0.2},
]

SLOW: list[Rule] = [{"method": "POST", "fault": "delay-after", "seconds": 0.5, "times": 10**9}]
"""Nothing goes wrong, but what is made is answered late: whoever dies has something under way."""


def mishaps(chance: random.Random) -> list[Rule]:
    """MISHAPS, as often as it takes, at moments that ``chance`` decides."""
    return [{**rule, "times": 10**9, "seed": chance.getrandbits(32)} for rule in MISHAPS]


@asynccontextmanager
async def working(fleet: Fleet, orders: Iterator[Order], clients: int) -> AsyncIterator[None]:
    """The fleet works as long as the block; then the orders begun are brought to their end.

    What is left when nothing was answered for QUIET_SECONDS stays in ``fleet.open``.
    """
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        work = group.create_task(fleet.work(orders, clients, stop))
        yield
        stop.set()
        while not work.done() and await _answered_any(fleet, work):
            pass
        work.cancel()


async def _answered_any(fleet: Fleet, work: asyncio.Task[None]) -> bool:
    """Wait for the end of the work, for QUIET_SECONDS; whether anything was answered meanwhile."""
    before = len(fleet.answered)
    await asyncio.wait([work], timeout=QUIET_SECONDS)
    return len(fleet.answered) > before


class Stock(Protocol):
    """A Nova, and what servers are made of there."""

    @property
    def url(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def flavor(self) -> str: ...
    @property
    def network(self) -> str: ...


def stocked(nova: Stock) -> Catalogue:
    """A server to make images of, and a key to import."""
    server = {"name": "model", "imageRef": nova.image, "flavorRef": nova.flavor}
    headers = {"X-Auth-Token": USER}
    made = call("POST", f"{nova.url}/v2.1/servers", {"server": server}, headers)
    key = Ed25519PrivateKey.generate().public_key()
    text = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Catalogue(nova.image, nova.flavor, nova.network, made.json["server"]["id"], text)
