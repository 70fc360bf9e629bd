"""The Cloud port on Nova's HTTP API, through aiohttp."""

from __future__ import annotations

import asyncio

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from dedupd.exchange import Answer, Call
from dedupd.ports import Lost, NotSent

_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""aiohttp raises these while it connects (refused, DNS, TLS, connect timeout), never after."""

_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""What aiohttp would add where it is missing: with its Accept-Encoding an answer would be kept
that nobody can read, and its Content-Type is one that Nova refuses."""


class Nova:
    """Sends calls to one endpoint. aiohttp repeats no POST (client.py: only idempotent methods).

    The session is given by whoever owns it; it must keep no cookies and unpack nothing.

    Args:
        session: The HTTP client.
        endpoint: Nova's URL; its path, if any, stands before each call's target.
        connect_seconds: How long a connection may take, the wait for a free one included.
    """

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: str, connect_seconds: float
    ) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._connect_seconds = connect_seconds

    async def send(self, call: Call, timeout: float) -> Answer:
        """See ``Cloud.send``. The connection's own deadline comes before the timeout."""
        try:
            async with asyncio.timeout(self._connect_seconds + timeout):
                return await self._exchange(call, timeout)
        except _NEVER_SENT as error:
            raise NotSent(f"Nova at {self._endpoint} cannot be reached: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(f"Nova broke off: {type(error).__name__} {error}".rstrip()) from None

    async def _exchange(self, call: Call, timeout: float) -> Answer:
        limits = aiohttp.ClientTimeout(
            connect=self._connect_seconds,
            sock_connect=self._connect_seconds,
            sock_read=timeout,
        )
        async with self._session.request(
            call.method,
            URL(self._endpoint + call.target, encoded=True),
            data=call.body or None,
            headers=CIMultiDict(
                (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
                for name, value in call.headers
            ),
            skip_auto_headers=_ADDED,
            allow_redirects=False,
            timeout=limits,
        ) as response:
            body = await response.read()
            return Answer(response.status, response.raw_headers, body)
