"""The Cloud port on Nova's HTTP API, through aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from dedupd.exchange import Answer, Call, writable
from dedupd.ports import Lost, NotSent

_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""aiohttp raises these while it connects (refused, DNS, TLS, connect timeout), never after."""

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (aiohttp.ClientConnectorDNSError, "its name is not known"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is refused"),
    (aiohttp.ClientSSLError, "the TLS handshake failed"),
)
"""Why there is no connection, where the system's error does not tell; the first that fits."""

_ADDED = ("Accept", "Content-Type", "User-Agent")
"""What aiohttp would add where it is missing; its Content-Type is one that Nova refuses."""

MAX_ANSWER_BYTES = 1024 * 1024
"""The longest answer to a POST that is taken in: what the store can surely keep beside a record.
Nova's longest are some kilobytes."""

PAUSED_SECONDS = 0.5
"""A deadline that is noticed later than this has passed while the process was paused."""

CATCH_UP_SECONDS = 1.0
"""What has arrived during a pause is still taken in for so long."""

_begin: ContextVar[Callable[[aiohttp.connector.Connection], None]] = ContextVar(
    "_begin", default=lambda _: None
)
"""Called in the task that sends, when it has a connection and not one byte has gone out."""


_RESET = struct.pack("ii", 1, 0)


def _resetting(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose close ends the connection with what of it has not been delivered yet.

    Else the kernel goes on to send it, for minutes where the network is away (tcp(7):
    tcp_orphan_retries), and a POST could take effect long after it was given up.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return made


class Connector(aiohttp.TCPConnector):
    """Lets a send know when it begins; it may still be called off then.

    A connection that is given up is reset.
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(**named, socket_factory=_resetting)

    async def connect(self, *arguments: Any, **named: Any) -> aiohttp.connector.Connection:
        """See aiohttp's.

        Raises:
            NotSent: called off; the connection goes back to the others.
        """
        connection = await super().connect(*arguments, **named)
        try:
            _begin.get()(connection)
        except BaseException:
            connection.release()
            raise
        return connection


class _Deadline:
    """The end of a send: later, once, where the process was paused when it came.

    A timer that is overdue then would go off before the answer is read that has come meanwhile.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.timeout = asyncio.timeout(None)
        self._timer = self._loop.call_later(seconds, self._pass)

    def begin_anew(self, seconds: float) -> None:
        """So many seconds from now on."""
        self.cancel()
        self._timer = self._loop.call_later(seconds, self._pass)

    def cancel(self) -> None:
        """It does not come any more."""
        self._timer.cancel()

    def _pass(self) -> None:
        now = self._loop.time()
        if now - self._timer.when() > PAUSED_SECONDS:
            self.begin_anew(CATCH_UP_SECONDS)
        else:
            self.timeout.reschedule(now)


@contextlib.asynccontextmanager
async def _reset(transports: list[asyncio.Transport | None]) -> AsyncIterator[None]:
    """Reset the connections where the block fails: aiohttp closes them only when all is written.

    One that is not closing has brought its answer in the last moment, and may be another's by now.
    """
    try:
        yield
    except BaseException:
        for transport in transports:
            if transport is not None and transport.is_closing():
                transport.abort()
        raise


class Nova:
    """Sends calls to one endpoint. aiohttp repeats no POST (client.py: only idempotent methods).

    The sessions are given by whoever owns them; they keep no cookies and unpack nothing, and
    their connectors are ``Connector``s.

    Args:
        session: The HTTP client.
        afresh: Another, which uses no connection twice.
        endpoint: Nova's URL; its path, if any, stands before each call's target.
        connect_seconds: How long a connection may take, the wait for a free one included.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        afresh: aiohttp.ClientSession,
        endpoint: str,
        connect_seconds: float,
    ) -> None:
        self._session = session
        self._afresh = afresh
        self._endpoint = endpoint.rstrip("/")
        self._connect_seconds = connect_seconds
        self._limits = aiohttp.ClientTimeout(connect=connect_seconds, sock_connect=connect_seconds)

    async def send(
        self,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool] = lambda: True,
        *,
        afresh: bool = False,
    ) -> Answer:
        """See ``Cloud.send``. The connection's own deadline comes before the timeout."""
        deadline = _Deadline(self._connect_seconds + timeout)
        transports: list[asyncio.Transport | None] = []

        def begin(connection: aiohttp.connector.Connection) -> None:
            if not permitted():
                raise NotSent("It was not sent: the worker may not send any more.")
            transports.append(connection.transport)
            deadline.begin_anew(timeout)

        reset = _begin.set(begin)
        try:
            async with deadline.timeout, _reset(transports):
                return await self._exchange(self._afresh if afresh else self._session, call)
        except _NEVER_SENT as error:
            raise _not_sent(error, self._endpoint) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _lost(error) from None
        finally:
            deadline.cancel()
            _begin.reset(reset)

    async def _exchange(self, session: aiohttp.ClientSession, call: Call) -> Answer:
        async with session.request(
            call.method,
            URL(self._endpoint + call.target, encoded=True),
            data=call.body or None,
            headers=_fields(call),
            skip_auto_headers=_ADDED,
            allow_redirects=False,
            timeout=self._limits,
        ) as response:
            body = await (_kept(response) if call.method == "POST" else response.read())
            return Answer(response.status, writable(response.raw_headers), body)


def _fields(call: Call) -> CIMultiDict[str]:
    """The header fields as aiohttp takes them, and that the answer must not be compressed.

    Where nothing is said any coding will do (RFC 9110, 12.5.3), and what is kept must be readable.
    """
    fields = CIMultiDict(
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in call.headers
    )
    fields["Accept-Encoding"] = "identity"
    return fields


def _not_sent(error: aiohttp.ClientError, endpoint: str) -> NotSent:
    """aiohttp's own words have the address in them; of TLS only they tell what is wrong."""
    number = getattr(error, "errno", None)
    known = (reason for kind, reason in _REASONS if isinstance(error, kind))
    reason = next(known, os.strerror(number) if number else "no connection")
    more = f": {error}" if isinstance(error, aiohttp.ClientSSLError) else ""
    return NotSent(
        f"Nova cannot be reached ({reason}).",
        operators=f"Nova at {endpoint} cannot be reached ({reason}){more}",
    )


def in_words(error: BaseException) -> str:
    """What went wrong, in one line: kinds of errors and the system's own words, never aiohttp's.

    Those quote what it could not read: the request with every token, the answer with passwords.
    """
    words = [type(error).__name__]
    if isinstance(error, ssl.SSLError):  # OpenSSL's words quote nothing that was sent
        words.append(getattr(error, "verify_message", "") or getattr(error, "reason", "") or "")
    elif isinstance(error, OSError) and error.errno and error.strerror == os.strerror(error.errno):
        words.append(error.strerror)
    if error.__cause__ is not None:
        words.append(f"({in_words(error.__cause__)})")
    return " ".join(filter(None, words))


def _lost(error: aiohttp.ClientError | OSError) -> Lost:
    return Lost(f"Nova broke off: {in_words(error)}")


async def _kept(response: aiohttp.ClientResponse) -> bytes:
    """The body of what is kept.

    Raises:
        Lost: it is longer than any that can be.
    """
    length, pieces = 0, list[bytes]()
    async for piece in response.content.iter_any():
        pieces.append(piece)
        length += len(piece)
        if length > MAX_ANSWER_BYTES:
            raise Lost(f"Nova's answer is longer than {MAX_ANSWER_BYTES} bytes: it is not kept.")
    return b"".join(pieces)
