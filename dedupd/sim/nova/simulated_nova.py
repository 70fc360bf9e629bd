"""The simulated Nova: one synchronous, pure entry point over the model.

`handle` is to a request what Nova's paste pipeline is: authentication, version negotiation,
routing, and the common headers. It never blocks, opens nothing, and takes the time only from the
clock it was given, so that the same seed, clock and requests give the same answers.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from urllib.parse import unquote

import msgspec

from dedupd import ssh_key
from dedupd.sim.nova import versions
from dedupd.sim.nova.call import (
    Call,
    UnsupportedVersion,
    caller_from_token,
    parsed_query,
    requested_minor,
)
from dedupd.sim.nova.routes import RESOURCES, route, without_project
from dedupd.sim.nova.wire import Answer, Fault, Headers, PlainFault, Reply
from dedupd.sim.nova.world import Effect, Settings, World

MAXIMUM_BODY = 114_688
"""Bytes that oslo.middleware's sizelimit lets through by default."""

_UNAUTHORIZED = {
    "error": {
        "code": 401,
        "title": "Unauthorized",
        "message": "The request you have made requires authentication.",
    }
}
_CHALLENGE = ("WWW-Authenticate", 'Keystone uri="http://127.0.0.1:5000"')
_VARY = (("Vary", "OpenStack-API-Version"), ("Vary", "X-OpenStack-Nova-API-Version"))


class SimulatedNova:
    """A compute API in memory. Not thread-safe: requests are handled one at a time.

    `clock` gives seconds since the epoch; `seed` fixes ids, passwords and reservation ids;
    `generate_key` makes key pairs (the default: real RSA keys, which no seed can fix).
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
        settings: Settings | None = None,
        generate_key: Callable[[], ssh_key.GeneratedKey] = ssh_key.generate,
    ) -> None:
        self._world = World(settings or Settings(), clock, random.Random(seed), generate_key)
        self.counters: Counter[str] = Counter()

    @property
    def world(self) -> World:
        """The rows themselves, for whoever checks what was made."""
        return self._world

    @property
    def ledger(self) -> list[Effect]:
        """Every request that changed something, in the order of its effect."""
        return self._world.ledger

    def alive(self, project: str) -> int:
        """Return how many servers of a project exist."""
        return self._world.alive[project]

    def handle(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """Answer one request. `target` is the raw path with its query; header names any case."""
        request = _parsed(method, target, headers, body)
        answer = self._answered(request)
        self.counters[f"{method} {request.resource} {answer.status}"] += 1
        return answer

    def _answered(self, request: _Request) -> Answer:
        unversioned = versions.unversioned(request.host_url, request.path, request.segments)
        if unversioned is not None:
            return _encoded(unversioned, ())
        request_id = f"req-{self._world.new_id()}"
        identity = (
            ("x-openstack-request-id", request_id),
            ("x-compute-request-id", request_id),
        )
        try:
            text, reply = self._negotiated(request, request_id)
        except PlainFault as fault:
            return _encoded(fault.reply(request.headers.get("accept", "")), identity)
        except UnsupportedVersion as fault:
            text, reply = fault.text, fault.reply()
        except Fault as fault:
            return _encoded(fault.reply(), identity)
        return _encoded(reply, (*_version_headers(text), *identity))

    def _negotiated(self, request: _Request, request_id: str) -> tuple[str, Reply]:
        """Return the version's text for the headers (empty on /v2) and the reply."""
        prefix, *rest = request.segments
        if len(request.body) > MAXIMUM_BODY:
            message = "Request is too large. Larger than max_request_body_size (%s)."
            raise PlainFault(413, "Request Entity Too Large", message)
        if rest and not request.headers.get("x-auth-token"):
            return "", Reply(401, _UNAUTHORIZED, (_CHALLENGE,))
        text, minor = ("", 1) if prefix == "v2" else requested_minor(request.headers)
        if not rest:
            return text, versions.one_version(request.host_url, prefix)
        try:
            return text, self._carried_out(request, minor, request_id)
        except Fault as fault:
            return text, fault.reply()

    def _carried_out(self, request: _Request, minor: int, request_id: str) -> Reply:
        caller = caller_from_token(request.headers["x-auth-token"])
        segments = without_project(request.segments[1:], caller)
        handler, identities = route(request.method, segments, minor)
        call = Call(
            method=request.method,
            path=request.path,
            segments=segments,
            query=parsed_query(request.query),
            body=request.body,
            caller=caller,
            minor=minor,
            host_url=request.host_url,
            version=request.segments[0],
            request_id=request_id,
            now=self._world.clock(),
        )
        return handler(self._world, call, *identities)


class _Request(msgspec.Struct, frozen=True):
    """A request's parts, before anything is known about it. Header names are lower-case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    segments: tuple[str, ...]

    @property
    def host_url(self) -> str:
        """The address by which the caller knows Nova."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    @property
    def resource(self) -> str:
        """What the counters file the request under."""
        return next((name for name in self.segments[1:3] if name in RESOURCES), "other")


def _parsed(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> _Request:
    """Take a request apart. A trailing slash leaves an empty last segment, which no route has."""
    path, _, query = target.partition("?")
    segments = [unquote(segment) for segment in path.split("/") if segment]
    if path.endswith("/") and len(segments) > 1:
        segments.append("")
    lowered = {name.lower(): value for name, value in headers}
    return _Request(method, path, query, lowered, body, tuple(segments))


def _version_headers(text: str) -> Headers:
    if not text:
        return ()
    return (
        ("OpenStack-API-Version", f"compute {text}"),
        ("X-OpenStack-Nova-API-Version", text),
        *_VARY,
    )


def _encoded(reply: Reply, common: Headers) -> Answer:
    body = reply.encoded()
    length = ("Content-Length", str(len(body)))
    headers = (length, *reply.headers, ("Content-Type", reply.content_type), *common)
    return Answer(reply.status, headers, body)
