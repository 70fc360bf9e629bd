"""The clients of a history: they repeat, give up, come back elsewhere, ask for the status."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import msgspec

from dedupd.sim.histories.cloud import SUBJECT
from dedupd.sim.histories.faults import Fault, Operation, Stream
from dedupd.sim.histories.intents import Intent
from dedupd.sim.histories.ledger import Given
from dedupd.sim.histories.programs import HOLD_SECONDS, HOST, Exchange, FrontProgram, Reply
from dedupd.sim.histories.stage import Node, Stage
from dedupd.sim.histories.themes import Emphasis

PATIENCE_SECONDS = HOLD_SECONDS + 4.0
STATUS = "/dedupd/v1/requests/"


@dataclass(frozen=True)
class Door:
    """One front, as clients reach it."""

    node: Node
    program: FrontProgram


@dataclass(frozen=True)
class Habits:
    """How one caller goes about it."""

    user: str
    begins: float
    tries: int
    prefer: str
    """A Prefer header, or nothing."""
    alters: bool = False
    """Whether it sends another request under the token, by mistake."""
    cancels: bool = False
    asks: bool = False
    """Whether it asks for the status meanwhile, and for what Nova shows."""


def habits(chance: random.Random, intent: Intent, spread: float, emphasis: Emphasis) -> Habits:
    """The habits of one more caller."""
    draw = chance.random
    prefer = chance.choice(("", "", "", "respond-async", "wait=2"))
    return Habits(
        user=intent.user if draw() < 0.85 else f"{intent.user}-friend",
        begins=spread * draw(),
        tries=chance.choice(emphasis.tries),
        prefer=prefer,
        alters=draw() < 0.06,
        cancels=draw() < emphasis.cancels,
        asks=draw() < emphasis.asks,
    )


class Caller:
    """One client with one intent."""

    def __init__(
        self, stage: Stage, doors: list[Door], stream: Stream, intent: Intent, habits: Habits
    ) -> None:
        self._stage = stage
        self._doors = doors
        self._stream = stream
        self._intent = intent
        self._habits = habits

    async def run(self) -> None:
        """Go about it until there is an answer, or patience ends."""
        pause = self._stream.chance.random
        await asyncio.sleep(self._habits.begins)
        for _ in range(self._habits.tries):
            reply = await self._post()
            if self._habits.cancels:
                await self._exchange("DELETE", STATUS + self._intent.token, b"")
            if self._habits.asks or (reply and reply.headers.get(b"preference-applied")):
                await self._ask()
            elif reply is not None and _final(reply) and pause() < 0.6:
                return
            await asyncio.sleep(0.2 + 4.0 * pause())

    async def _post(self) -> Reply | None:
        habits, intent = self._habits, self._intent
        body = intent.altered if habits.alters else intent.body
        began = self._stage.loop.time()
        reply = await self._exchange("POST", intent.path, body)
        if reply is not None:
            self._note(reply, began)
        return reply

    async def _ask(self) -> None:
        """Read the status, as one does who was told that it goes on."""
        live = "?live=true" if self._habits.asks else ""
        reply = await self._exchange("GET", f"{STATUS}{self._intent.token}{live}", b"")
        if reply is not None and reply.status == 200:
            state = msgspec.json.decode(reply.body)["request"]["state"]
            self._stage.chronicle.note(self._stream.name, "reads", state)

    async def _exchange(self, method: str, target: str, body: bytes) -> Reply | None:
        """One exchange with any front; None: the connection broke, or nobody answered."""
        door = self._stream.chance.choice(self._doors)
        began = self._stage.loop.time()
        draw = self._stage.torment.draw(self._stream, Operation.REPLY, self._intent.id)
        if not door.node.reachable:
            await asyncio.sleep(0.05)
            return None
        scope = self._scope(method, target)
        exchange = Exchange(door.node, door.program.app, scope, body)
        gone = draw.fault is Fault.CALLER_GONE
        patience = HOLD_SECONDS * draw.size if gone else PATIENCE_SECONDS
        self._stage.chronicle.note(self._stream.name, method, self._intent.id[:8], door.node.name)
        try:
            async with asyncio.timeout(patience):
                reply = await exchange.ended
        except TimeoutError:
            exchange.hang_up()
            return None
        told = "broken off" if reply is None else reply.status
        lost = draw.fault is Fault.REPLY_LOST
        self._stage.chronicle.note(self._stream.name, "gets", told, "lost" if lost else "")
        if reply is not None and reply.headers.get(b"preference-applied"):
            standing = self._stage.standing(self._intent.id)
            self._stage.ledger.accepted(standing, self._intent.id, began)
        return None if lost else reply

    def _scope(self, method: str, target: str) -> dict[str, object]:
        intent, habits = self._intent, self._habits
        headers = [
            (b"host", HOST.encode()),
            (b"content-type", b"application/json"),
            (b"x-auth-token", f"{habits.user}:{intent.project}".encode()),
            (SUBJECT, intent.id.encode()),
        ]
        if method == "POST":
            headers.append((b"x-client-token", intent.token.encode()))
            headers.append((b"openstack-api-version", f"compute {intent.version}".encode()))
            if habits.prefer:
                headers.append((b"prefer", habits.prefer.encode()))
        return scope_of(method, target, headers)

    def _note(self, reply: Reply, began: float) -> None:
        self._stage.ledger.given.append(
            Given(
                began=began,
                when=self._stage.loop.time(),
                request_id=self._intent.id,
                user=self._habits.user,
                project=self._intent.project,
                name=self._intent.name + "-altered" * self._habits.alters,
                status=reply.status,
                replayed=reply.headers.get(b"idempotent-replayed") == "true",
                standing=reply.headers.get(b"idempotency-status", ""),
                applied=b"preference-applied" in reply.headers,
                body=reply.body,
            )
        )


def _final(reply: Reply) -> bool:
    """Whether a repeat would bring nothing new."""
    return reply.status < 500 and reply.status != 409


def scope_of(method: str, target: str, headers: list[tuple[bytes, bytes]]) -> dict[str, object]:
    """A request as a front's server hands it on."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.7", 40000),
        "server": ("127.0.0.1", 8775),
    }
