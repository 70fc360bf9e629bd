"""Calling an ASGI application as a server would, without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp, Message

Fields = list[tuple[bytes, bytes]]


class Reply:
    """What a caller is answered."""

    def __init__(self, status: int, headers: Fields, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def all(self, name: str) -> list[str]:
        """The values of a header, however often it is there."""
        return [value.decode() for key, value in self.headers if key.decode().lower() == name]

    def header(self, name: str) -> str | None:
        """A header's only value, or None."""
        found = self.all(name)
        assert len(found) < 2, f"{name} is there {len(found)} times"
        return found[0] if found else None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def message(self) -> str:
        """What Nova's clients show of an error."""
        [fault] = self.json.values()
        assert fault["code"] == self.status
        text: str = fault["message"]
        return text

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.body!r}"


class Exchange:
    """One request on its way; the caller may hang up."""

    def __init__(
        self,
        app: ASGIApp,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        chunks: Iterable[bytes] = (b"",),
    ) -> None:
        path, _, query = target.partition("?")
        fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": fields,
            "client": ("192.0.2.7", 40000),
            "server": ("127.0.0.1", 8775),
        }
        self._app = app
        self._chunks = list(chunks)
        self._gone = asyncio.Event()
        self.received = 0
        self.unfinished = False
        """Whether more of the body is announced than will ever come."""
        self._sent: list[Message] = []

    def hang_up(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def __call__(self) -> Reply | None:
        """The reply; None where nothing was answered."""
        await self._app(self.scope, self._receive, self._send)
        if not self._sent:
            return None
        start, *bodies = self._sent
        body = b"".join(part["body"] for part in bodies)
        reply = Reply(start["status"], list(start["headers"]), body)
        length = reply.header("content-length")
        assert length is None or int(length) == len(body)
        return reply

    async def _receive(self) -> Message:
        if self._chunks:
            self.received += 1
            part = self._chunks.pop(0)
            more = bool(self._chunks) or self.unfinished
            return {"type": "http.request", "body": part, "more_body": more}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self._sent.append(dict(message))


async def call(
    app: ASGIApp,
    method: str,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    chunks: Iterable[bytes] = (b"",),
) -> Reply:
    """The reply to one request."""
    reply = await Exchange(app, method, target, headers, chunks)()
    assert reply is not None, "no answer"
    return reply
