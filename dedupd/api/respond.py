"""Writing an answer to the caller."""

from __future__ import annotations

from starlette.types import Send

from dedupd.api.answers import http_date
from dedupd.exchange import Answer


async def respond(send: Send, answer: Answer) -> None:
    """Send a whole answer, with its length and the date."""
    length = str(len(answer.body)).encode()
    headers = [*answer.headers, (b"Content-Length", length), (b"Date", http_date())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
