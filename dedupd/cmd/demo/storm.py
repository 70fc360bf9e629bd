"""The storm: many clients for each token, who repeat their POST until it is answered.

Nothing here knows how dedupd works: the clients do what clients do, and what they were answered
is written down.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec
import tenacity

from dedupd.sim.nova.world import IMAGE

CONNECTIONS = 256
PATIENCE_SECONDS = 2.0
"""How long a client waits for an answer before it breaks off and repeats."""

ARRIVALS_PER_SECOND = 600.0
BURST_SECONDS = 0.3
"""Within this time the clients of one token arrive."""

NOT_FINAL = frozenset({408, 409, 425, 429})
"""Statuses that tell a client to come back; so does every 5xx."""

AGAIN = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_result(lambda answer: answer is None),
    wait=tenacity.wait_random(0.2, 1.5),
    stop=tenacity.stop_never,
)
"""Every client repeats until it is answered; the storm as a whole has a deadline."""

LATE_SECONDS = 0.4
FAULTS = (
    {"fault": "drop-after", "probability": 0.08},
    {"fault": "503-after", "probability": 0.07},
    {"fault": "late-commit", "probability": 0.05, "seconds": LATE_SECONDS},
    {"fault": "drop-before", "probability": 0.02},
    {"fault": "delay-after", "probability": 0.20, "seconds": LATE_SECONDS},
)
"""What befalls a POST in the simulated Nova; all but the last one lose its answer."""


class Reply(msgspec.Struct, frozen=True):
    """What a client can compare of an answer."""

    status: int
    location: str
    body: bytes

    @property
    def server(self) -> str | None:
        """The id of the server that it names, if it does."""
        if self.status != 202:
            return None
        return str(msgspec.json.decode(self.body)["server"]["id"])


@dataclass
class Tally:
    """What the clients did and were answered, by the name of the server that they wanted."""

    wanted: int
    posts: int = 0
    in_flight: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """POSTs that brought no answer to keep, by the reason."""
    replies: dict[str, Counter[Reply]] = field(default_factory=dict)
    waiting: Counter[str] = field(default_factory=Counter)
    """Clients that are still to be answered."""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    halfway: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when half of what is wanted has been answered."""

    @property
    def answered(self) -> int:
        """How many clients were answered."""
        return sum(replies.total() for replies in self.replies.values())

    def note(self, name: str, reply: Reply) -> None:
        """Write an answer down."""
        replies = self.replies.setdefault(name, Counter())
        replies[reply] += 1
        if 2 * len(self.replies) >= self.wanted:
            self.halfway.set()
        if len(replies) > 1 and replies[reply] == 1:
            self.recent.append(f"{name}: ANOTHER ANSWER, {reply.status} {reply.server or ''}")

    def fail(self, name: str, reason: str) -> None:
        """Write down that a POST brought nothing."""
        self.unanswered[reason] += 1
        self.recent.append(f"{name}: {reason}; the client repeats")

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Count a POST, and that it is under way."""
        self.posts += 1
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


class Storm:
    """Clients that want servers.

    Args:
        session: Their connections.
        url: Where they send.
        project: Whose they are.
        tally: Where they write down what they saw.
        tokens: Whether they send a client token, which is the server's name.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        project: str,
        tally: Tally,
        *,
        tokens: bool,
    ) -> None:
        self._session = session
        self._target = f"{url}/v2.1/servers"
        self._project = project
        self._tally = tally
        self._tokens = tokens

    async def blow(self, names: list[str], clients: int, chance: random.Random) -> None:
        """Let ``clients`` clients for each name arrive at random, until all are answered."""
        spread = len(names) * clients / ARRIVALS_PER_SECOND
        async with asyncio.TaskGroup() as group:
            for name in names:
                start = chance.uniform(0, spread)
                self._tally.waiting[name] += clients
                for _ in range(clients):
                    pause = start + chance.uniform(0, BURST_SECONDS)
                    group.create_task(self._client(name, pause))

    async def _client(self, name: str, pause: float) -> None:
        await asyncio.sleep(pause)
        reply: Reply = await AGAIN.copy()(self._post, name)
        self._tally.waiting[name] -= 1
        self._tally.note(name, reply)

    async def _post(self, name: str) -> Reply | None:
        """Send once; None where a client would repeat."""
        tally = self._tally
        with tally.flying():
            try:
                reply = await self._exchange(name)
            except TimeoutError:
                tally.fail(name, f"no answer within {PATIENCE_SECONDS:g} s")
                return None
            except aiohttp.ClientConnectorError:
                tally.fail(name, "connection refused")
                return None
            except aiohttp.ClientError:
                tally.fail(name, "connection broken before the answer")
                return None
        if reply.status >= 500 or reply.status in NOT_FINAL:
            tally.fail(name, f"answered {reply.status}")
            return None
        return reply

    async def _exchange(self, name: str) -> Reply:
        headers = {
            "X-Auth-Token": f"{self._project}:{self._project}",
            "OpenStack-API-Version": "compute 2.96",
        }
        if self._tokens:
            headers["X-Client-Token"] = name
        server = {"name": name, "imageRef": IMAGE, "flavorRef": "1", "networks": "none"}
        async with self._session.post(
            self._target, json={"server": server}, headers=headers
        ) as response:
            location = response.headers.get("Location", "")
            return Reply(response.status, location, await response.read())


def open_session() -> aiohttp.ClientSession:
    """The clients' connections; the caller closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(sock_connect=PATIENCE_SECONDS, sock_read=PATIENCE_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
