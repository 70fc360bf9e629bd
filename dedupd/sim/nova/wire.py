"""What goes over the wire: answers, replies and faults, in the forms that Nova gives them."""

from __future__ import annotations

from typing import Any

import msgspec

Headers = tuple[tuple[str, str], ...]

FAULT_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
"""Nova's name for a fault by HTTP status (nova/api/openstack/wsgi.py: Fault._fault_names)."""

JSON = "application/json"
JSON_FAULT = "application/json; charset=UTF-8"


class Answer(msgspec.Struct, frozen=True):
    """A complete HTTP answer: status, headers in order (names may repeat), body."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of that name, whatever its case, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def json(self) -> Any:
        """Return the body decoded from JSON; raises msgspec.DecodeError if it is not JSON."""
        return msgspec.json.decode(self.body)


class Reply(msgspec.Struct, frozen=True):
    """What a route answers; the common headers are added around it.

    `payload` is encoded as JSON unless it is bytes; None means an empty body, which Nova calls
    JSON too.
    """

    status: int = 200
    payload: Any = None
    headers: Headers = ()
    content_type: str = JSON

    def encoded(self) -> bytes:
        """Return the body."""
        if self.payload is None:
            return b""
        return (
            self.payload if isinstance(self.payload, bytes) else msgspec.json.encode(self.payload)
        )


class Fault(Exception):
    """An error answer in Nova's fault form, `{"badRequest": {"code": 400, "message": ...}}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def reply(self) -> Reply:
        """Return this fault as a reply."""
        name = FAULT_NAMES.get(self.status, "computeFault")
        payload = {name: {"code": self.status, "message": self.message}}
        return Reply(self.status, payload, content_type=JSON_FAULT)


class PlainFault(Exception):
    """An error that Nova leaves to WebOb: its form follows the Accept header, no version headers.

    Seen on unknown URLs (404) and on bodies over 114,688 bytes (413).
    """

    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.title = title
        self.message = message

    def reply(self, accept: str) -> Reply:
        """Return this error as JSON, HTML or plain text, as WebOb chooses by `accept`."""
        title = f"{self.status} {self.title}"
        if "html" in accept or "*/*" in accept:
            return Reply(self.status, _html(title, self.message), content_type=_TEXT.format("html"))
        if "json" in accept:
            message = f"{self.message}<br /><br />\n\n\n"
            payload = {"message": message, "code": title, "title": self.title}
            return Reply(self.status, payload)
        text = f"{title}\n\n{self.message}\n\n   "
        return Reply(self.status, text.encode(), content_type=_TEXT.format("plain"))


_TEXT = "text/{}; charset=UTF-8"


def _html(title: str, message: str) -> bytes:
    lines = ["<html>", " <head>", f"  <title>{title}</title>", " </head>", " <body>"]
    lines += [f"  <h1>{title}</h1>", f"  {message}<br /><br />\n\n\n", " </body>", "</html>"]
    return "\n".join(lines).encode()
