"""Every error that dedupd answers or refuses to start with.

An error carries its HTTP status, the name under which Nova's fault form shows it, and a message
that names the thing, the rule and what to do. Nova's clients (python-novaclient, keystoneauth,
openstacksdk) all show the ``message`` of the first object in such a body.

Where Nova or an engine is, callers are not told: ``str`` of an error is for operators and may say
it (logs, commands), ``message`` is for callers and does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

PROBLEM_JSON = "application/problem+json"
"""RFC 9457's media type: answered to a client whose Accept names it."""


class Engine(NamedTuple):
    """A store or a broker, as errors name it: to callers by its kind alone."""

    kind: str
    place: str

    def __str__(self) -> str:
        """As operators know it."""
        return f"{self.kind} {self.place}"


class DedupdError(Exception):
    """The base of all: an HTTP status, a fault name, a message, and headers to answer with.

    Args:
        message: For callers.
        headers: To answer with.
        operators: What ``str`` gives, for the log and the commands; the message unless told.
    """

    status: ClassVar[int] = 500
    name: ClassVar[str] = "computeFault"

    def __init__(
        self, message: str, *, headers: Mapping[str, str] | None = None, operators: str = ""
    ) -> None:
        super().__init__(operators or message)
        self.message = message
        self.headers: dict[str, str] = dict(headers or {})

    def fault_body(self) -> bytes:
        """The body in Nova's fault form, ``{"name": {"code": 409, "message": "..."}}``."""
        return msgspec.json.encode({self.name: {"code": self.status, "message": self.message}})

    def problem_body(self) -> bytes:
        """The same as RFC 9457 problem details."""
        return msgspec.json.encode(
            {"type": "about:blank", "title": self.name, "status": self.status}
            | {"detail": self.message}
        )


class ConfigError(DedupdError):
    """The configuration, a key file or a database does not allow a start; nothing was changed."""


class BadRequest(DedupdError):
    """The request is malformed: sent again unchanged, it will fail again. Nothing is stored."""

    status = 400
    name = "badRequest"


class Unauthorized(DedupdError):
    """No credentials, or bad ones."""

    status = 401
    name = "unauthorized"


class Forbidden(DedupdError):
    """The caller is known, but may not do this."""

    status = 403
    name = "forbidden"


class NotFound(DedupdError):
    """There is no such record in the caller's project."""

    status = 404
    name = "itemNotFound"


class MethodNotAllowed(DedupdError):
    """One of dedupd's own resources was called with a method that it does not have."""

    status = 405
    name = "badMethod"


class RequestTimeout(DedupdError):
    """The caller did not send its request in time; the connection ends with this answer."""

    status = 408
    name = "requestTimeout"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"Connection": "close"})


class Conflict(DedupdError):
    """The record's state does not allow it: still running, cancelled, or sent already."""

    status = 409
    name = "conflictingRequest"


class TokenExpired(DedupdError):
    """The token was used, its answer has expired, and its tombstone still stands."""

    status = 412
    name = "preconditionFailed"


class BodyTooLarge(DedupdError):
    """The body is larger than ``[api] max_body_bytes``; nothing is stored."""

    status = 413
    name = "overLimit"


class FingerprintMismatch(DedupdError):
    """The token belongs to another request; the message names the parts that differ."""

    status = 422
    name = "unprocessableEntity"


class HeadTooLarge(DedupdError):
    """The request line and the header fields are larger than a front takes."""

    status = 431
    name = "requestHeaderFieldsTooLarge"


class UnknownMethod(DedupdError):
    """The front's parser does not know the method, so that it cannot even be passed on."""

    status = 501
    name = "notImplemented"


class UnknownOutcome(DedupdError):
    """Nobody can tell whether Nova carried the request out; it is not sent again by itself."""

    status = 502
    name = "badGateway"


class BadGateway(DedupdError):
    """Nova could not be reached, or broke off before it answered."""

    status = 502
    name = "badGateway"


class Unavailable(DedupdError):
    """It cannot be done safely now: store, queue or Keystone away, or the queue full.

    Nothing was executed, and the same request may be repeated: Retry-After says when, in seconds,
    5 unless ``headers`` say otherwise.
    """

    status = 503
    name = "serviceUnavailable"

    def __init__(
        self, message: str, *, headers: Mapping[str, str] | None = None, operators: str = ""
    ) -> None:
        headers = {"Retry-After": "5"} | dict(headers or {})
        super().__init__(message, headers=headers, operators=operators)

    @classmethod
    def of(cls, engine: Engine, said: str, why: str = "", **more: Any) -> Self:
        """An error of an engine: ``said`` follows its name, ``why`` is for operators alone.

        ``why`` is what an engine or the network says in its own words, which may name addresses.
        """
        whole = f"{said}: {why}" if why else said
        return cls(f"{engine.kind}{said}.", operators=f"{engine}{whole}.", **more)


class GatewayTimeout(DedupdError):
    """Nova, or the request that was waited for, did not finish in time."""

    status = 504
    name = "gatewayTimeout"
