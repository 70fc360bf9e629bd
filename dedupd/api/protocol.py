"""How the front reads HTTP: uvicorn's protocol, with bounds and errors where uvicorn has none.

================================== ==============================================================
request                            what becomes of it
================================== ==============================================================
that cannot be read                400 in Nova's fault form, which says what the parser met
with a method that is not known    501; known are httptools's (llhttp's): of HTTP, WebDAV and others
with an absolute http(s) target    its authority takes the place of Host (RFC 9112, 3.2.2)
whose head is larger than allowed  431
whose head does not come in time   408; where not a byte of it came, the connection is closed
that asks for an upgrade           answered over HTTP/1.1, as RFC 9110, 7.8 allows (curl ``--http2``
                                   and Java's HttpClient ask for ``h2c`` with every request)
with trailers                      they are dropped: a trailer is no header (RFC 9110, 6.5.1)
================================== ==============================================================
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from typing import Any, cast

import httptools
from oslo_log import log
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from dedupd.api.outgoing import Outgoing
from dedupd.api.respond import http_date
from dedupd.errors import BadRequest, DedupdError, HeadTooLarge, RequestTimeout, UnknownMethod

LOG = log.getLogger(__name__)

HEAD_BYTES = 256 * 1024
"""How large a request line and its header fields may be: two tokens of 64 KiB, and room."""

HEAD_SECONDS = 60.0
"""How long they may take to come, from the connection, or their first byte, on."""


_HOST = re.compile(
    rb"(?:\[[0-9A-Za-z:.\-_~!$&'()*+,;=]+\]|(?:[0-9A-Za-z.\-_~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*+)"
    rb"(?::[0-9]*)?[ \t]*"
)
"""RFC 9110, 7.2, and the blanks that the parser leaves behind a value."""

_AUTHORITY = re.compile(rb"https?://(?:[^/?#]*@)?([^/?#]*)", re.IGNORECASE)
"""Of an absolute target, without the user."""

_HEAD = (
    b"content-type: application/json\r\nconnection: close\r\ndate: %b\r\ncontent-length: %d\r\n\r\n"
)
_BESIDE_FIELD = len(": \r\n")
_NOWHERE: Any = deque(maxlen=0)
"""Takes every trailer and keeps none."""


class FrontProtocol(HttpToolsProtocol):
    """One connection of a caller."""

    head_bytes = HEAD_BYTES
    head_seconds = HEAD_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._cycles: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and do not wait for ever for the first request."""
        super().connection_made(cast(asyncio.Transport, Outgoing(transport, self.loop)))
        self._head_timer = self.loop.call_later(self.head_seconds, self._overdue)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; all that are still to be answered hear of it, not the latest alone."""
        self._stop_timer()
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; see the module for what uvicorn would do otherwise."""
        again: bytes | None = data
        while again is not None:
            again = self._parse(again)

    def _parse(self, data: bytes) -> bytes | None:
        """Parse; what is to be read once more.

        What begins no request (blank lines, a body that nobody wanted) does not keep the
        connection.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(_refusal(error))
        else:
            if self._in_head:
                self._unset_keepalive_if_required()
                self._wait_for_head(len(data))
        return None

    def on_message_begin(self) -> None:
        """A request begins."""
        self._unset_keepalive_if_required()
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The application takes over; fields that come later are trailers, and go nowhere.

        Raises:
            DedupdError: it does not, and nothing more is parsed: what follows would be taken for
                the body of the request before.
        """
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._stop_timer()
        if not self.url.startswith(b"/"):
            self._take_authority()
        self._check_head()
        super().on_headers_complete()
        if self.cycle is not None:  # it is, where an upgrade was asked for
            self._cycles = [*self._unanswered(), self.cycle]
        self.headers = _NOWHERE

    def _take_authority(self) -> None:
        """Let the authority of an absolute target stand for Host, whatever that says."""
        match = _AUTHORITY.match(self.url)
        if match is None:
            return
        authority, rest = match[1], self.url[match.end() :]
        self.headers[:] = [
            (name, authority if name == b"host" else value) for name, value in self.headers
        ]
        if not rest.startswith(b"/"):  # an empty path is a slash (RFC 9110, 4.2.3)
            self.url = match[0] + b"/" + rest

    def _check_head(self) -> None:
        """Refuse what the parser lets pass, and HTTP/1.1 does not (RFC 9112, 2.3 and 3.2)."""
        size, hosts, host = len(self.url), 0, b""
        for name, value in self.headers:
            size += len(name) + len(value) + _BESIDE_FIELD
            if name == b"host":
                hosts, host = hosts + 1, value
        if size > self.head_bytes:
            raise self._too_large()
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise BadRequest(f"HTTP/{version} is not spoken here: send HTTP/1.1.")
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise BadRequest(f"The request has {hosts} Host fields: HTTP/1.1 wants exactly one.")
        if _HOST.fullmatch(host) is None:
            raise BadRequest("Host is malformed: it is a name or an address, and may have a port.")

    def _too_large(self) -> DedupdError:
        return HeadTooLarge(
            f"The request line and the header fields are larger than {self.head_bytes} "
            "bytes together; send less."
        )

    def _should_upgrade(self) -> bool:
        """Keep uvicorn from starting a request that asks for an upgrade: its body is not parsed."""
        return True

    def _decline_upgrade(self, rest: bytes) -> bytes | None:
        """The request to be read once more, without what asks for the upgrade."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(BadRequest("CONNECT is for proxies, which this is not."))
            return None
        fields = [b"%b: %b" % field for field in self.scope["headers"] if field[0] != b"upgrade"]
        line = b"%b %b HTTP/%b" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join((line, *fields, b"", rest))

    def _wait_for_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self.head_bytes:
            self._refuse(self._too_large())
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._overdue)

    def _overdue(self) -> None:
        if self._busy():
            self._head_timer = self.loop.call_later(self.head_seconds, self._overdue)
        elif self._head_size:
            message = f"The request's head did not come within {self.head_seconds:g} s."
            self._refuse(RequestTimeout(message))
        else:
            self.transport.close()

    def _unanswered(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._cycles if not cycle.response_complete]

    def _busy(self) -> bool:
        """Whether a request is still to be answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _may_answer(self) -> bool:
        """Whether what is written now will be taken for the answer to what cannot be read."""
        if not self._busy():
            return True
        return self.cycle.more_body and not (self.cycle.response_started or self.pipeline)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: DedupdError) -> None:
        """Answer and close; where another request is yet to be answered before, only close."""
        LOG.info("%s: %s", self.client, error.message)
        if self.transport.is_closing():
            return
        if self._may_answer():
            body = error.fault_body()
            head = _HEAD % (http_date(time.time()), len(body))
            self.transport.write(b"".join((STATUS_LINE[error.status], head, body)))
        self.transport.close()


def _refusal(error: httptools.HttpParserError) -> DedupdError:
    """What is answered to what the parser, or this protocol while it parses, refuses."""
    cause = error.__context__ or error
    if isinstance(cause, DedupdError):
        return cause
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return UnknownMethod(
            "The request begins with no method that is known here: the methods are those of HTTP "
            "and WebDAV, in capitals, as in GET / HTTP/1.1."
        )
    reason = str(cause) or type(error).__name__
    return BadRequest(f"This is not HTTP/1.1 that can be read: {reason}.")
