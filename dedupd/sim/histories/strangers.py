"""Clients that know of no tokens: their requests pass through, once, and come back as they were."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec

from dedupd.exchange import Answer
from dedupd.sim.histories.clients import Door, scope_of
from dedupd.sim.histories.cloud import SUBJECT
from dedupd.sim.histories.faults import Stream
from dedupd.sim.histories.intents import PROJECTS, SERVERS, document
from dedupd.sim.histories.programs import Exchange, Reply
from dedupd.sim.histories.stage import Stage

PATIENCE_SECONDS = 12.0
NAME = "stranger"
"""What they and all that they make are called."""


class Stranger:
    """Somebody who asks Nova through dedupd, and knows of no tokens."""

    def __init__(self, stage: Stage, doors: list[Door], stream: Stream, name: str) -> None:
        self._stage = stage
        self._doors = doors
        self._stream = stream
        self._name = name

    async def run(self) -> None:
        """Make some servers, and list them; each request is sent once, whatever comes back."""
        chance = self._stream.chance
        for number in range(3):
            await asyncio.sleep(4.0 * chance.random())
            name = f"{self._name}-{number}"
            if chance.random() < 0.7:
                body = msgspec.json.encode(document("server by tag", name))
                await self._ask("POST", SERVERS, name, body)
            else:
                await self._ask("GET", f"{SERVERS}/detail?name={self._name}", name, b"")

    async def _ask(self, method: str, target: str, name: str, body: bytes) -> None:
        door = self._stream.chance.choice(self._doors)
        if not door.node.reachable:
            return
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-auth-token", f"mallory:{PROJECTS[0]}".encode()),
            (b"openstack-api-version", b"compute 2.96"),
            (SUBJECT, name.encode()),
        ]
        exchange = Exchange(door.node, door.program.app, scope_of(method, target, headers), body)
        self._stage.chronicle.note(self._stream.name, method, name, door.node.name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                reply = await exchange.ended
                if reply is not None:
                    self._stage.ledger.passed[name] = (reply.status, reply.body)
                    self._stage.chronicle.note(self._stream.name, "gets", reply.status)
                    self._stage.ledger.violations += _marked(name, reply)
                return
        exchange.hang_up()


def _marked(name: str, reply: Reply) -> Iterator[str]:
    if any(header.startswith(b"idempot") for header in reply.headers):
        yield f"7: {name} had no token, and its answer speaks of one"


def passed_on(stage: Stage) -> Iterator[str]:
    """What is wrong with what was passed on: it goes out once, and comes back as it was."""
    for name, answers in stage.ledger.made.items():
        if name.startswith(NAME) and len(answers) > 1:
            yield f"{name} had no token, and was sent {len(answers)} times"
    for name, (status, body) in stage.ledger.passed.items():
        answers = stage.ledger.made.get(name, [])
        if b"was not sent" in body and answers:
            yield f"{name} was said not to be sent, and was"
        if status < 500 and status != 429 and (status, body) not in _told(answers):
            yield f"{name} was answered what Nova never said: {status} {body!r}"


def _told(answers: list[Answer]) -> list[tuple[int, bytes]]:
    return [(answer.status, answer.body) for answer in answers]
