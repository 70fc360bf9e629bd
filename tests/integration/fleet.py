"""A fleet of clients that repeat each POST until it is answered, whatever happens to the front."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

_PATIENCE = (0.5, 4.0)
"""Between how many seconds, at random, a client gives up one try."""

_PAUSE = (0.01, 0.1)
"""And between two tries, unless a fleet has other manners."""

_IDLE = (0.0, 0.2)
"""And between two orders."""
_PASSING = frozenset({409, 502, 503, 504})
"""Statuses after which a client repeats, unless they are what is stored, or all that is known."""

_ASYNC = 0.1
"""In how many tries the request's status is waited for, and only then its answer."""

_GOES_ON = frozenset({"queued", "sending"})

NEIGHBOUR = "neighbour:elsewhere"
"""A user of another project, who knows nothing of the fleet's, and uses the same client tokens."""

_SHARED = 0.1
"""How many servers are ordered under a token that the neighbour uses at the same time."""


@dataclass(frozen=True)
class Order:
    """One thing to be made, under one client token."""

    client_token: str
    path: str
    body: Mapping[str, Any]
    microversion: str
    names: tuple[str, ...]
    """The names of what it makes: as many as it makes."""
    kind: str
    """What the ledger calls it."""
    probed: bool = True
    """Whether it is found again in Nova; otherwise its outcome may stay unknown."""
    user: str | None = None
    """Whose it is, as Nova's token of a user and a project; None: the fleet's."""

    def __hash__(self) -> int:
        return hash(self.client_token)

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that say whose it is, where it is not the fleet's."""
        return {} if self.user is None else {"X-Auth-Token": self.user}


Maker = Callable[[str], Order]
"""Makes an order of some kind under a name."""


@dataclass(frozen=True)
class Answer:
    """What a client was told in the end."""

    status: int
    body: bytes
    location: str | None
    unknown: bool = False

    @property
    def json(self) -> dict[str, Any]:
        """The body read as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass
class Fleet:
    """Clients, each with an order at a time that several of its connections send at once.

    Args:
        urls: The fronts'; each try goes to one of them, by chance.
        headers: What they all send.
        colleague: What somebody else of their project sends.
        chance: Where their impatience comes from.
        pause: Between how many seconds, at random, a client waits before it tries again.
    """

    urls: Sequence[str]
    headers: Mapping[str, str]
    colleague: Mapping[str, str]
    chance: random.Random
    pause: tuple[float, float] = _PAUSE
    answers: dict[Order, list[Answer]] = field(default_factory=dict)
    """Every answer that ended an order's repeats."""
    open: dict[Order, str] = field(default_factory=dict)
    """Orders without an answer so far, and what came of their last try."""
    tries: int = 0
    answered: list[float] = field(default_factory=list)
    """When (``time.monotonic``) there was an answer, ascending."""
    unexpected: list[str] = field(default_factory=list)

    async def work(self, orders: Iterator[Order], clients: int, stop: asyncio.Event) -> None:
        """Carry orders out until told to stop; then bring those begun to their end."""
        async with _session(self.headers) as session, asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client(session, orders, stop))

    async def repeat_all(self, clients: int) -> None:
        """Send every order once more, which must be answered as before.

        Servers are then ordered by a colleague, too, who must be told the same without its secrets.
        """
        orders = iter(list(self.answers))
        await self.work(orders, clients, asyncio.Event())
        servers = (order for order in list(self.answers) if order.kind == "server")
        servers = (order for order in servers if order.user is None)
        async with _session(self.colleague) as session, asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._redacted(session, servers))

    async def _redacted(self, session: aiohttp.ClientSession, servers: Iterator[Order]) -> None:
        for order in servers:
            told, own = await self._until_answered(session, order), self.answers[order][0]
            del self.open[order]
            public = dict(own.json.get("server", {}))
            public.pop("adminPass", None)
            expected = own.json | ({"server": public} if "server" in own.json else {})
            if (told.status, told.location, told.json) != (own.status, own.location, expected):
                self.unexpected.append(f"{order.client_token}: a colleague was told {told}")

    async def _client(
        self, session: aiohttp.ClientSession, orders: Iterator[Order], stop: asyncio.Event
    ) -> None:
        for order in orders:
            if stop.is_set():
                return
            self.open[order] = "never tried"
            callers = self.chance.choice((1, 1, 2, 3))
            found = await asyncio.gather(
                *(self._until_answered(session, order) for _ in range(callers))
            )
            self.answers.setdefault(order, []).extend(found)
            del self.open[order]
            await asyncio.sleep(self.chance.uniform(*_IDLE))

    async def _until_answered(self, session: aiohttp.ClientSession, order: Order) -> Answer:
        while True:
            answer = await self._try(session, order)
            if answer is not None:
                self.answered.append(time.monotonic())
                return answer
            await asyncio.sleep(self.chance.uniform(*self.pause))

    async def _try(self, session: aiohttp.ClientSession, order: Order) -> Answer | None:
        """One try; None: it was not answered yet."""
        self.tries += 1
        patience = aiohttp.ClientTimeout(total=self.chance.uniform(*_PATIENCE))
        version = f"compute {order.microversion}"
        headers = {"X-Client-Token": order.client_token, "OpenStack-API-Version": version}
        headers |= order.credentials
        if self.chance.random() < _ASYNC:
            headers["Prefer"] = "respond-async"
        front = self.chance.choice(self.urls)
        try:
            async with session.post(
                front + order.path,
                json=order.body,
                headers=headers,
                timeout=patience,
            ) as response:
                body = await response.read()
                self.open[order] = f"{response.status} {body!r}"
                if response.headers.get("Preference-Applied") != "respond-async":
                    return self._taken(order, response, body)
            await self._ended(session, front + response.headers["Location"], order)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.open[order] = repr(error)
        return None

    async def _ended(self, session: aiohttp.ClientSession, status: str, order: Order) -> None:
        """Wait until the status of a request that was accepted says that it has ended."""
        goes_on = True
        while goes_on:
            await asyncio.sleep(self.chance.uniform(*self.pause))
            patience = aiohttp.ClientTimeout(total=_PATIENCE[1])
            async with session.get(status, headers=order.credentials, timeout=patience) as response:
                told = await response.json()
            self.open[order] = f"its status: {response.status} {told}"
            goes_on = response.status == 200 and told["request"]["state"] in _GOES_ON

    def _taken(self, order: Order, response: aiohttp.ClientResponse, body: bytes) -> Answer | None:
        outcome = response.headers.get("Idempotency-Status")
        if outcome == "unknown":
            return Answer(response.status, b"", None, unknown=True)
        if outcome != "stored" and response.status in _PASSING:
            return None
        if outcome != "stored" or response.status >= 300:
            self.unexpected.append(f"{order.client_token}: {outcome} {response.status} {body!r}")
        return Answer(response.status, body, response.headers.get("Location"))


def _session(headers: Mapping[str, str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=headers)


@dataclass(frozen=True)
class Catalogue:
    """What may be ordered of a Nova: mostly servers, of every kind that is found in its own way."""

    image: str
    flavor: str
    network: str
    server_id: str | None
    """A server that images are made of; None: none are."""
    public_key: str
    """What is imported."""

    def orders(self, chance: random.Random, series: str = "order") -> Iterator[Order]:
        """Orders without end, each under a token and a name of its own: ``series`` and a number.

        Some tokens are used once more: by a neighbour, who wants a server of another name.
        """
        kinds = {
            self._server("2.96"): 0.35,
            self._server("2.1"): 0.25,
            self._server("2.96", copies=3, min_count=3): 0.10,
            self._server("2.96", return_reservation_id=True): 0.05,
            self._keypair("2.92", public_key=self.public_key): 0.10,
            self._keypair("2.2"): 0.05,
        }
        if self.server_id is not None:
            kinds[self._snapshot("2.96", self.server_id)] = 0.10
        makers, weights = list(kinds), list(kinds.values())
        for number in itertools.count():
            order = chance.choices(makers, weights)[0](f"{series}-{number}")
            yield order
            if order.kind == "server" and chance.random() < _SHARED:
                theirs = self._server(order.microversion)(f"{order.client_token}-elsewhere")
                yield replace(theirs, client_token=order.client_token, user=NEIGHBOUR)

    def _server(self, microversion: str, copies: int = 1, **more: object) -> Maker:
        def order(name: str) -> Order:
            server = {
                "name": name,
                "imageRef": self.image,
                "flavorRef": self.flavor,
                "networks": [{"uuid": self.network}],
                **more,
            }
            several = tuple(f"{name}-{place}" for place in range(1, copies + 1))
            names = several if copies > 1 else (name,)
            return Order(name, "/v2.1/servers", {"server": server}, microversion, names, "server")

        return order

    def _keypair(self, microversion: str, **more: object) -> Maker:
        def order(name: str) -> Order:
            body = {"keypair": {"name": name, **more}}
            return Order(name, "/v2.1/os-keypairs", body, microversion, (name,), "keypair")

        return order

    def _snapshot(self, microversion: str, server_id: str) -> Maker:
        """Of a server: no probe finds it again, so its outcome may stay unknown."""
        path = f"/v2.1/servers/{server_id}/action"

        def order(name: str) -> Order:
            body = {"createImage": {"name": name}}
            return Order(name, path, body, microversion, (name,), "image", probed=False)

        return order
