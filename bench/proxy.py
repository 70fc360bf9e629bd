"""The least that a proxy on uvicorn and aiohttp does: the yardstick for dedupd's pass-through.

It reads a request's body whole, sends it on, reads the answer whole, and sends it back. It has no
deadlines, notices no disconnects, adds no headers, and buffers whatever comes: what a page of code
does when speed is all that counts.
"""

from __future__ import annotations

import argparse

import aiohttp
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send
from yarl import URL

from bench.listen import listen

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"te", b"upgrade"))


class BareProxy:
    """An ASGI application that is nothing but one aiohttp request."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange."""
        if scope["type"] != "http":
            return
        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        body = await read(receive) if scope["method"] == "POST" else None
        headers = CIMultiDict(
            (name.decode(), value.decode())
            for name, value in scope["headers"]
            if name not in HOP_BY_HOP
        )
        path = scope["raw_path"].decode()
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode()
        async with self.session.request(
            scope["method"],
            URL(self.endpoint + path, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
        kept = [field for field in answer.raw_headers if field[0].lower() not in HOP_BY_HOP]
        await send({"type": "http.response.start", "status": answer.status, "headers": kept})
        await send({"type": "http.response.body", "body": content})


async def read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--nova", required=True, help="URL to send on to")
    options = parser.parse_args()
    listen(BareProxy(options.nova), options.port)


if __name__ == "__main__":
    main()
