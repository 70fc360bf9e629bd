"""Requests without a token: streamed to Nova and back as if dedupd were not there.

Nothing is kept of a body but the part in motion: at most about 64 KiB wait in each direction (what
uvicorn or aiohttp hold before they stop reading, and one read of a socket on top); a side that
stops reading stops the other side.

What ASGI and HTTP's framing do not carry across: the reason phrase, the bytes of chunk headers,
trailers, informational answers (1xx), a lone ``?`` without a query, and the case of header names.
A value that is not UTF-8 would be written as other bytes, and is refused (``hop.as_text``).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator

import aiohttp
from multidict import istr
from starlette.types import Receive, Scope, Send
from yarl import URL

from dedupd.api import hop
from dedupd.api.body import announced_length, check_coding, too_slow
from dedupd.api.disconnect import ClientGone, Disconnect
from dedupd.cloud.nova import in_words
from dedupd.errors import BadGateway, BadRequest, DedupdError, GatewayTimeout
from dedupd.exchange import writable

LOG = logging.getLogger(__name__)

SMALL_BODY = 64 * 1024
"""Bytes up to which a request body of known length is read whole before it is sent on."""

KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection to Nova is kept. Apache, in front of most Novas, closes its side
after 5 s (KeepAliveTimeout); a request that crosses that close is lost."""

_READ_BUFFER = 32 * 1024  # aiohttp stops reading at twice this
_HEADER_LIMIT = 64 * 1024  # uvicorn sets none on what comes in; Keystone's PKI tokens were 8 KiB
_BODYLESS = frozenset((204, 304))
_ALWAYS_ADDED = (istr("Accept"), istr("Accept-Encoding"), istr("User-Agent"))
_ADDED_WITH_BODY = (*_ALWAYS_ADDED, istr("Content-Type"))
_Body = bytes | AsyncIterator[bytes] | None


class BrokenOff(aiohttp.ClientConnectionError):
    """The connection to Nova ended after a request was written to it and before an answer came."""


def open_upstream(
    *,
    connections: int = 1024,
    connect_seconds: float = 10.0,
    tls: ssl.SSLContext | bool = True,
    connector: type[aiohttp.TCPConnector] = aiohttp.TCPConnector,
    keep: bool = True,
) -> aiohttp.ClientSession:
    """A session that adds nothing to a request and takes nothing from an answer.

    No cookies, no decompression, no proxy from the environment; PassThrough sees to it that no
    headers of aiohttp's own are added. The caller closes it. Must be called while the event
    loop runs.

    Args:
        connections: how many may be open to Nova at once; further requests wait for a free one.
        connect_seconds: how long a new connection may take, TLS included.
        tls: how Nova's certificate is checked where the endpoint is https.
        connector: what makes the connections.
        keep: whether a connection is used again.
    """
    return aiohttp.ClientSession(
        connector=connector(
            limit=connections,
            keepalive_timeout=KEEP_ALIVE_SECONDS if keep else None,
            force_close=not keep,
            ssl=tls,
        ),
        timeout=aiohttp.ClientTimeout(sock_connect=connect_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_READ_BUFFER,
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
        max_headers=1024,
    )


class PassThrough:
    """The ASGI application for requests that dedupd only hands on.

    An exchange ends early when the caller disconnects (the connection to Nova is closed) or takes
    too long to send its body, when nothing has moved in either direction for ``idle_seconds``, and
    when Nova breaks off. If Nova's
    answer has begun by then, the caller's connection is broken off as well, so that a part is
    never taken for the whole.

    Args:
        upstream: from open_upstream().
        endpoint: Nova's URL; a path in it is put before the path of each request.
        body_seconds: how long a caller may take to send its body; see ``Disconnect``.
        idle_seconds: how long nothing may move. Nova's slowest answers wait for an RPC call of
            60 s (its rpc_response_timeout), or for several of them.
    """

    def __init__(
        self,
        upstream: aiohttp.ClientSession,
        endpoint: str,
        *,
        body_seconds: float = 60.0,
        idle_seconds: float = 300.0,
    ) -> None:
        self._upstream = upstream
        self._body_seconds = body_seconds
        self._endpoint = endpoint.rstrip("/")
        self._idle_seconds = idle_seconds

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, *, extra: hop.Fields | None = None
    ) -> None:
        """Carries one exchange; ``extra`` header fields are added to Nova's answer.

        Raises:
            BadGateway, GatewayTimeout, RequestTimeout, BadRequest: nothing has been answered yet,
                and the error is the answer to give.
        """
        check_coding(scope["headers"])
        length = announced_length(scope["headers"])
        client = Disconnect(
            receive,
            body_pending=length != 0,
            idle_seconds=self._idle_seconds,
            body_seconds=self._body_seconds,
        )
        began = False
        try:
            with client:
                answer = await self._ask(scope, await _upload(client, length))
                began = True
                await _relay(answer, send, client, extra)
        except ClientGone:
            LOG.debug("The caller of %s is gone", _named(scope))
        except asyncio.CancelledError:
            if not began:
                raise GatewayTimeout(f"dedupd is being stopped. {_NOT_KNOWN}") from None
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            if not began:
                raise self._refusal(error, client, scope) from error
            # Returning without an end makes uvicorn close the caller's connection.
            if isinstance(error, TimeoutError):
                moved = "no part of its answer has moved"
                LOG.warning("%s: %s for %g s", _named(scope), moved, self._idle_seconds)
            else:
                broken = f"{self._endpoint} broke off its answer"
                LOG.warning("%s: %s: %s", _named(scope), broken, in_words(error))

    async def _ask(self, scope: Scope, body: _Body) -> aiohttp.ClientResponse:
        """Sends the request and returns when the head of the final answer has arrived."""
        method = scope["method"]
        headers = hop.as_text(hop.forwarded(scope))
        bodyless = body is None and method not in aiohttp.ClientRequest.POST_METHODS
        added = _ALWAYS_ADDED if bodyless else _ADDED_WITH_BODY
        answer = await self._upstream.request(
            method,
            self._target(scope),
            headers=headers,
            skip_auto_headers=[name for name in added if name not in headers] or None,
            data=body,
            allow_redirects=False,
            middlewares=_ONCE if method in _REPEATED_BY_AIOHTTP else (),
        )
        if not 200 <= answer.status <= 599:
            answer.close()
            raise BadGateway(
                f"Nova answered {answer.status}, which is no status of a final answer."
            )
        return answer

    def _target(self, scope: Scope) -> URL:
        path: bytes = scope["raw_path"]
        if not path.startswith(b"/"):
            raise BadRequest(f"The request target {path.decode('latin-1')!r} is not a path.")
        query: bytes = scope["query_string"]
        target = path + b"?" + query if query else path
        return URL(self._endpoint + target.decode("ascii"), encoded=True)

    def _refusal(self, error: Exception, client: Disconnect, scope: Scope) -> DedupdError:
        """The answer to give for what went wrong before Nova's answer had begun.

        Where Nova is, and what aiohttp says of it, is for the log alone.
        """
        if client.receiving and isinstance(error, TimeoutError):
            return too_slow(self._body_seconds)
        refusal, happened, consequence = next(
            row[1:] for row in _WENT_WRONG if isinstance(error, row[0])
        )
        LOG.warning(
            "%s: %s %s: %s",
            *(_named(scope), self._endpoint, happened, in_words(error)),
        )
        waited = "" if str(error) else f" (waited {self._idle_seconds:g} s)"
        return refusal(f"Nova {happened}{waited}. {consequence}")


def _named(scope: Scope) -> str:
    """A request for the log: its path as it came, since decoded it may hold whole lines."""
    method: str = scope["method"]
    return f"{method} {scope['raw_path'].decode('latin-1')}"


async def _upload(client: Disconnect, length: int | None) -> _Body:
    """The request's body as aiohttp takes it: none, a small one whole, or a stream.

    Args:
        client: gives the body.
        length: as announced; None where only the end of the body will tell.
    """
    if length == 0:
        return None
    if length is None or length > SMALL_BODY:
        return _parts(client)
    body: bytes = (await client.receive()).get("body", b"")
    while client.body_pending:
        body += (await client.receive()).get("body", b"")
    return body


async def _parts(client: Disconnect) -> AsyncIterator[bytes]:
    while client.body_pending:
        yield (await client.receive()).get("body", b"")


async def _relay(
    answer: aiohttp.ClientResponse, send: Send, client: Disconnect, extra: hop.Fields | None
) -> None:
    """Sends the answer down; its connection is free again, or closed, afterwards."""
    headers = hop.end_to_end(writable(answer.raw_headers))
    if answer.status in _BODYLESS:  # uvicorn would insist on as many bytes as were announced
        headers = [field for field in headers if field[0].lower() != b"content-length"]
    if extra:
        headers += extra
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        content, more = answer.content, True
        while more:
            part = await content.readany()
            more = not content.at_eof()
            await send({"type": "http.response.body", "body": part, "more_body": more})
            client.moved()
    finally:
        answer.close()  # nothing is left to close of one that came to its end


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a request again on a connection that turned out to be closed.

    aiohttp does so for idempotent methods, as RFC 9110 section 9.2.2 allows. But a DELETE that is
    carried out twice answers 404 to a caller who deleted something, so only safe methods keep it.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never sent; aiohttp does not try again either
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOff(str(error)) from error


_REPEATED_BY_AIOHTTP = frozenset(("PUT", "DELETE"))  # POST and PATCH never are
_ONCE = (_send_once,)

_NOT_SENT = "The request was not sent."
_NOT_KNOWN = "Whether the request was carried out is not known."
_WENT_WRONG: tuple[tuple[type[Exception], type[DedupdError], str, str], ...] = (
    # the first that fits
    (
        aiohttp.ConnectionTimeoutError,
        GatewayTimeout,
        "did not take a connection in time",
        _NOT_SENT,
    ),
    (aiohttp.ClientConnectorDNSError, BadGateway, "has a name that is not known", _NOT_SENT),
    (aiohttp.ClientSSLError, BadGateway, "failed the TLS handshake", _NOT_SENT),
    (aiohttp.ClientConnectorError, BadGateway, "cannot be connected to", _NOT_SENT),
    (TimeoutError, GatewayTimeout, "did not answer in time", _NOT_KNOWN),
    (aiohttp.ClientResponseError, BadGateway, "answered what is not HTTP", _NOT_KNOWN),
    (aiohttp.ClientError, BadGateway, "closed the connection before it answered", _NOT_KNOWN),
)
