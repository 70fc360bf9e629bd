"""Writing an answer to the caller."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from starlette.types import Send

from dedupd.exchange import Answer


async def respond(send: Send, answer: Answer, now: float) -> None:
    """Send a whole answer, with its length and the date, ``now`` in seconds since the epoch."""
    length = str(len(answer.body)).encode()
    headers = [
        *answer.headers,
        (b"Content-Length", length),
        (b"Date", _http_date(int(now))),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


@lru_cache(maxsize=100)
def _http_date(second: int) -> bytes:
    """The Date header's form of a time (RFC 9110, 6.6.1); made once a second for each clock."""
    return formatdate(second, usegmt=True).encode()
