"""The routes: every POST that dedupd knows more about, what its answer hides, and its probe.

What no row matches is sent once and never again: an ambiguous answer leaves it unknown.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import unquote

import msgspec

from dedupd.cloud.probes.base import Errand, Probe, effective
from dedupd.cloud.probes.keypairs import KeypairProbe, generates
from dedupd.cloud.probes.servers import REQUEST_ID_SECONDS, ServerProbe
from dedupd.errors import BadRequest
from dedupd.exchange import NOT_JSON, Payload
from dedupd.microversion import Microversion, parse
from dedupd.request import Record


class Route(msgspec.Struct, frozen=True):
    """One row of the table."""

    name: str
    path: re.Pattern[str]
    """Matches the path below the API's root."""
    probe: str = ""
    """Which probe finds it again; none: at most once."""
    secrets: tuple[str, ...] = ()
    """What of its answer only the caller who made it may see; ``x*``: all that begin so."""
    per_user: bool = False
    """Whether Nova keeps it for each user, not for the project."""


SERVERS = "servers"
KEYPAIRS = "keypairs"

_SERVERS = "/(servers|os-volumes_boot)"
"""Two names of one thing until microversion 2.102 (nova/api/openstack/compute/volumes_boot.py).
Nova 34.0 answers creates by the second with 500 (measured): its code calls the first's wrongly."""

_REBUILT = (
    "server.adminPass",
    "server.user_data",
    "server.OS-EXT-SRV-ATTR:*",
    "server.host_status",
)
"""Nova puts a server's user data into the answer to its rebuild from 2.57 on, and from 2.75 on what
it shows of a server to administrators only, but for the host name, which from 2.90 on is anybody's
(``_action_rebuild`` in nova/api/openstack/compute/servers.py)."""

ROUTES: tuple[Route, ...] = (
    Route("server create", re.compile(_SERVERS), SERVERS, ("server.adminPass",)),
    Route("keypair create", re.compile("/os-keypairs"), KEYPAIRS, ("keypair.private_key",), True),
    Route(
        "server action",
        re.compile(f"{_SERVERS}/[^/]+/action"),
        secrets=("adminPass", *_REBUILT, "console.url"),
    ),
    Route(
        "remote console",
        re.compile("/servers/[^/]+/remote-consoles"),
        secrets=("remote_console.url",),
    ),
    Route("other", re.compile(".*", re.DOTALL)),
)
BY_NAME = {route.name: route for route in ROUTES}

_ROOT = re.compile(
    r"(?P<base>.*?/v2(?P<minor>\.1)?(?:/[0-9a-fA-F-]{32,36})?)(?P<rest>/.*)", re.DOTALL
)
"""An optional project id stands behind the version. Decoded, a path may hold line ends: a dot that
does not match them would be tried from each ``/v2`` on, which takes seconds in a long path."""

MAX_DEPTH = 100
"""How deep a document may be nested: what the front can read, the worker can surely write."""


class Reading(msgspec.Struct, frozen=True):
    """A request's path, headers and body, understood."""

    route: Route
    base: str
    legacy: bool
    microversion: Microversion | None
    document: Any
    """The parsed JSON body, or ``msgspec.UNSET`` where it is not JSON."""

    @property
    def generates_key(self) -> bool:
        """Whether it needs a key that must be drawn before it is claimed."""
        version = effective(self.microversion, legacy=self.legacy)
        return self.route.probe == KEYPAIRS and generates(self.document, version)


def read(path: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> Reading:
    """Understand a POST; header names may have any case.

    Nova takes ``//servers`` and ``/%73ervers`` for ``/servers`` (measured), so the path is
    compared decoded and with single slashes.

    Raises:
        BadRequest: a malformed microversion, or a body that must be JSON and is not.
    """
    route, base, legacy = _place(path)
    return Reading(
        route=route,
        base=base,
        legacy=legacy,
        microversion=parse((name.lower(), value) for name, value in headers),
        document=_document(body, route),
    )


@lru_cache(maxsize=256)
def _place(path: str) -> tuple[Route, str, bool]:
    """The row of a path, the API's root in it, and whether that is the legacy one."""
    match = _ROOT.fullmatch(re.sub("/+", "/", unquote(path)))
    rest = match["rest"] if match else path
    route = next(row for row in ROUTES if row.path.fullmatch(rest))
    return route, match["base"] if match else "", match is not None and match["minor"] is None


def errand(record: Record, payload: Payload) -> Errand:
    """The request of a record, read again from what it carries."""
    call = payload.call
    reading = read(call.target.partition("?")[0], call.headers, call.body)
    return Errand(
        record=record,
        payload=payload,
        base=reading.base,
        legacy=reading.legacy,
        microversion=reading.microversion,
        document=reading.document,
    )


def probes(request_id_seconds: float = REQUEST_ID_SECONDS) -> dict[str, Probe]:
    """A new probe of each kind, by the name that stands in the table (see ``ServerProbe``)."""
    return {SERVERS: ServerProbe(request_id_seconds), KEYPAIRS: KeypairProbe()}


def redact(route: Route, body: bytes) -> tuple[bytes, list[str]]:
    """The body without the route's secrets, and the names of those that were removed.

    Nothing is left (``*``) of what cannot be read and may have secrets in it.
    """
    try:
        document = msgspec.json.decode(body)
    except NOT_JSON:
        return (b"", ["*"]) if body and route.secrets else (body, [])
    removed = [name for name in route.secrets if _remove(document, name.split("."))]
    return (msgspec.json.encode(document), removed) if removed else (body, [])


def _remove(document: Any, path: list[str]) -> bool:
    for name in path[:-1]:
        document = document.get(name) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        return False
    removed = [document.pop(name) for name in list(document) if _names(path[-1], name)]
    return any(value is not None for value in removed)


def _names(secret: str, name: str) -> bool:
    return name.startswith(secret[:-1]) if secret.endswith("*") else name == secret


def _document(body: bytes, route: Route) -> Any:
    try:
        document = msgspec.json.decode(body)
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            _check_depth(document)
    except NOT_JSON as error:
        if not route.probe:
            return msgspec.UNSET
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise BadRequest(
            f"The body of a {route.name} is not JSON that can be read in UTF-8 ({why}); "
            "nothing was sent. Correct it and repeat with the same token."
        ) from None
    return document


def _check_depth(document: Any) -> None:
    """Raise RecursionError for a document that is nested too deep."""
    level = [document]
    for _ in range(MAX_DEPTH):
        objects = [value.values() for value in level if isinstance(value, dict)]
        arrays = [value for value in level if isinstance(value, list)]
        level = [*chain.from_iterable(objects), *chain.from_iterable(arrays)]
    if any(isinstance(value, dict | list) for value in level):
        raise RecursionError(f"it is nested deeper than {MAX_DEPTH} levels")
