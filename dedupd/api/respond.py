"""Writing an answer to the caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dedupd.exchange import Answer


class Dated:
    """The application, every answer of which gets the date; Nova's own have theirs."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.time) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = (b"Date", http_date(self._clock()))
                message = {**message, "headers": [*message["headers"], date]}
            await send(message)

        await self._app(scope, receive, dated)


async def respond(send: Send, answer: Answer, now: float) -> None:
    """Send a whole answer, with its length and the date, ``now`` in seconds since the epoch."""
    length = str(len(answer.body)).encode()
    headers = [
        *answer.headers,
        (b"Content-Length", length),
        (b"Date", http_date(now)),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def http_date(now: float) -> bytes:
    """The Date header's form of a time (RFC 9110, 6.6.1), in seconds since the epoch."""
    return _of_second(int(now))


@lru_cache(maxsize=100)
def _of_second(second: int) -> bytes:
    """Made once a second for each clock."""
    return formatdate(second, usegmt=True).encode()
