"""The front as one ASGI application: who answers which request.

========================================= ======================================================
request                                   answered by
========================================= ======================================================
``/dedupd/``, ``/healthz/``, ``/metrics`` dedupd's own resources (``status.py``, ``health.py``)
POST with a client token                  the token path (``idempotent.py``)
anything else                             Nova, streamed through (``passthrough.py``)
========================================= ======================================================
"""

from __future__ import annotations

import time
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dedupd import token
from dedupd.api import answers
from dedupd.api.health import Health
from dedupd.api.hop import Fields
from dedupd.api.idempotent import Idempotent
from dedupd.api.respond import Dated, respond
from dedupd.api.status import Status
from dedupd.errors import BadRequest, DedupdError, MethodNotAllowed, NotFound
from dedupd.exchange import Answer, header

_OWN = ("/dedupd/", "/healthz/", "/metrics")
_NO_PATH = "The request's target is no path: it must begin with a slash (RFC 9112, 3.2)."
_IGNORED = [(b"Idempotency-Status", b"ignored")]
_HTTP_ERRORS: dict[int, type[DedupdError]] = {404: NotFound, 405: MethodNotAllowed}


class Untagged(Protocol):
    """Answers what carries no token; ``extra`` header fields are added to the answer."""

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, *, extra: Fields | None = None
    ) -> None:
        """Answer one request; one of dedupd's errors is raised before anything was answered."""


class App:
    """Dispatches by path, method and token; errors of dedupd's own become answers here."""

    def __init__(self, own: ASGIApp, idempotent: Idempotent, passthrough: Untagged) -> None:
        self._own = own
        self._idempotent = idempotent
        self._passthrough = passthrough

    def let_go(self) -> None:
        """Hold no caller any longer, since this process is about to end."""
        self._idempotent.let_go()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if not scope["raw_path"].startswith(b"/"):
            await _answer_no_path(scope, send)
            return
        if scope["path"].startswith(_OWN):
            await self._own(scope, receive, send)
            return
        tagged = any(name in token.HEADERS for name, _ in scope["headers"])
        if tagged and scope["method"] == "POST":
            await self._idempotent(scope, receive, send)
            return
        try:
            await self._passthrough(scope, receive, send, extra=_IGNORED if tagged else None)
        except DedupdError as error:
            await _answer_error(scope, send, error)


def own_resources(status: Status, health: Health) -> Starlette:
    """The application of dedupd's own paths."""
    requests = answers.STATUS_PATH.rstrip("/")
    routes = [
        Route(requests, status.index, methods=["GET"]),
        Route(requests + "/{name:path}", status.one, methods=["GET", "DELETE"]),
    ]
    return _application([*routes, *_health_routes(health)])


def health_resources(health: Health) -> Starlette:
    """The application of a process that serves nobody but its operator."""
    return _application(_health_routes(health))


def _health_routes(health: Health) -> list[Route]:
    return [
        Route("/healthz/live", health.live, methods=["GET"]),
        Route("/healthz/ready", health.ready, methods=["GET"]),
        Route("/metrics", health.prometheus, methods=["GET"]),
    ]


def _application(routes: list[Route]) -> Starlette:
    return Starlette(
        routes=routes,
        middleware=[Middleware(Dated)],
        exception_handlers={DedupdError: _own_error, HTTPException: _http_error},
    )


async def _own_error(request: Request, error: Exception) -> Response:
    """One of dedupd's errors on its own paths."""
    failure = error if isinstance(error, DedupdError) else DedupdError(str(error))
    answer = answers.error(failure, accept=header(request.scope["headers"], b"accept") or b"")
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, status_code=answer.status, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, or not with this method."""
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    kind = _HTTP_ERRORS.get(known.status_code, DedupdError)
    path, headers = request.url.path, dict(known.headers or {})
    message = f"{path} is not there."
    if "Allow" in headers:  # in no order, which would be another one in each process
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        message = f"{path} has no {request.method}: it has {headers['Allow']}."
    return await _own_error(request, kind(message, headers=headers))


async def _answer_no_path(scope: Scope, send: Send) -> None:
    """``OPTIONS *`` asks whether the server is there (RFC 9110, 9.3.7); nothing else is no path."""
    if (scope["method"], scope["raw_path"]) == ("OPTIONS", b"*"):
        await respond(send, Answer(200, ()), time.time())
    else:
        await _answer_error(scope, send, BadRequest(_NO_PATH))


async def _answer_error(scope: Scope, send: Send, error: DedupdError) -> None:
    accept = header(scope["headers"], b"accept") or b""
    await respond(send, answers.error(error, accept=accept), time.time())
