"""The simulated Nova over HTTP: an ASGI application with faults and the ledger around the model.

Beside the compute API it answers `PUT` and `GET /__fault__` (see `dedupd.sim.faults`) and
`GET /__ledger__`: `effects` (what took effect; `?after=N` leaves out the first N), their `count`,
and `counters` of the requests handled by method, resource and status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from dedupd.sim.faults import BadRule, Effect, Fate, Faults
from dedupd.sim.nova.simulated_nova import SimulatedNova
from dedupd.sim.nova.wire import Answer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FAULT_PATH = "/__fault__"
LEDGER_PATH = "/__ledger__"
ABORT = "dedupd.sim.abort"
"""Name of the ASGI extension by which the server offers to abort the connection."""


class SimulatedNovaApp:
    """ASGI application over one simulated Nova, tormented by one set of fault rules."""

    def __init__(self, nova: SimulatedNova, faults: Faults | None = None) -> None:
        self.nova = nova
        self.faults = faults or Faults()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        body = await _whole_body(receive)
        path = scope["path"]
        if path == FAULT_PATH:
            await _respond(send, self._fault_hook(scope["method"], body))
        elif path == LEDGER_PATH:
            await _respond(send, self._ledger(scope["query_string"]))
        else:
            await self._compute(scope, receive, send, body)

    async def _compute(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        fate = self.faults.strike(scope["method"], scope["path"])
        answer = await self._carried_out(fate, scope, body)
        if fate.after:
            await asyncio.sleep(fate.after)
        if fate.status:
            answer = _injected(fate.status)
        if fate.status == 0 or answer is None:
            await _abort(scope, receive)
        else:
            await _respond(send, answer)

    async def _carried_out(self, fate: Fate, scope: Scope, body: bytes) -> Answer | None:
        """Let the request take effect when its fate says; return Nova's answer if it is known."""
        if fate.effect is Effect.NEVER:
            return None
        if fate.effect is Effect.LATE:
            asyncio.get_running_loop().call_later(fate.before, self._handle, scope, body)
            return None
        if fate.before:
            await asyncio.sleep(fate.before)
        return self._handle(scope, body)

    def _handle(self, scope: Scope, body: bytes) -> Answer:
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        headers = (
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        return self.nova.handle(scope["method"], target.decode("latin-1"), headers, body)

    def _fault_hook(self, method: str, body: bytes) -> Answer:
        try:
            if method == "PUT":
                self.faults.replace(body)
        except BadRule as error:
            return _json(400, msgspec.json.encode({"error": str(error)}))
        return _json(200, self.faults.report())

    def _ledger(self, query: bytes) -> Answer:
        after = int(parse_qs(query.decode("latin-1")).get("after", ["0"])[0])
        effects = self.nova.ledger[after:]
        counts = {"count": len(self.nova.ledger), "counters": self.nova.counters}
        document = {"effects": effects, **counts}
        return _json(200, msgspec.json.encode(document))


async def _whole_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _respond(send: Send, answer: Answer) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _abort(scope: Scope, receive: Receive) -> None:
    """Close the connection without a byte, which is how a lost answer looks to a client."""
    scope["extensions"][ABORT]["abort"]()
    await receive()  # until the server has noticed, so that it does not answer in our place


def _json(status: int, body: bytes) -> Answer:
    headers = (("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    return Answer(status, headers, body)


def _injected(status: int) -> Answer:
    body = b"injected fault\n"
    headers = (("Content-Type", "text/plain"), ("Content-Length", str(len(body))))
    return Answer(status, headers, body)
