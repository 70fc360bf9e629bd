"""The one table of what the simulation serves: method, path, microversions, handler."""

from __future__ import annotations

import re
from collections.abc import Callable

from dedupd.sim.nova import (
    catalogue,
    keypairs,
    server_actions,
    server_create,
    server_groups,
    server_parts,
    servers,
    services,
)
from dedupd.sim.nova.call import MAXIMUM_MINOR, Caller
from dedupd.sim.nova.wire import Fault, PlainFault, Reply

Handler = Callable[..., Reply]
"""Called with the world, the call, and what the `*` in the path stand for."""

_ALWAYS = (1, MAXIMUM_MINOR)
_WITH_TAGS = (26, MAXIMUM_MINOR)
_WITH_IMAGES = (1, 35)

ROUTES: dict[tuple[str, str], tuple[Handler, tuple[int, int]]] = {
    ("GET", "servers"): (servers.index, _ALWAYS),
    ("POST", "servers"): (server_create.create, _ALWAYS),
    ("GET", "servers/detail"): (servers.detail, _ALWAYS),
    ("GET", "servers/*"): (servers.show, _ALWAYS),
    ("PUT", "servers/*"): (servers.update, _ALWAYS),
    ("DELETE", "servers/*"): (servers.delete, _ALWAYS),
    ("POST", "servers/*/action"): (server_actions.act, _ALWAYS),
    ("GET", "servers/*/tags"): (server_parts.tags, _WITH_TAGS),
    ("PUT", "servers/*/tags"): (server_parts.set_tags, _WITH_TAGS),
    ("GET", "servers/*/tags/*"): (server_parts.tag, _WITH_TAGS),
    ("PUT", "servers/*/tags/*"): (server_parts.add_tag, _WITH_TAGS),
    ("GET", "servers/*/metadata"): (server_parts.metadata, _ALWAYS),
    ("POST", "servers/*/metadata"): (server_parts.add_metadata, _ALWAYS),
    ("GET", "servers/*/os-instance-actions"): (server_parts.actions, _ALWAYS),
    ("GET", "servers/*/os-instance-actions/*"): (server_parts.action, _ALWAYS),
    ("GET", "os-keypairs"): (keypairs.index, _ALWAYS),
    ("POST", "os-keypairs"): (keypairs.create, _ALWAYS),
    ("GET", "os-keypairs/*"): (keypairs.show, _ALWAYS),
    ("DELETE", "os-keypairs/*"): (keypairs.delete, _ALWAYS),
    ("GET", "os-server-groups"): (server_groups.index, _ALWAYS),
    ("POST", "os-server-groups"): (server_groups.create, _ALWAYS),
    ("GET", "os-server-groups/*"): (server_groups.show, _ALWAYS),
    ("DELETE", "os-server-groups/*"): (server_groups.delete, _ALWAYS),
    ("GET", "flavors"): (catalogue.flavors, _ALWAYS),
    ("GET", "flavors/detail"): (catalogue.flavors_in_detail, _ALWAYS),
    ("GET", "flavors/*"): (catalogue.flavor, _ALWAYS),
    ("GET", "images"): (catalogue.images, _WITH_IMAGES),
    ("GET", "images/detail"): (catalogue.images_in_detail, _WITH_IMAGES),
    ("GET", "images/*"): (catalogue.image, _WITH_IMAGES),
    ("GET", "limits"): (catalogue.limits, _ALWAYS),
    ("GET", "os-services"): (services.index, _ALWAYS),
}
"""(method, path) -> (handler, first and last minor microversion)."""

RESOURCES = frozenset(path.split("/")[0] for _, path in ROUTES)
_PROJECT = re.compile(r"[0-9a-f\-]+")


def without_project(segments: tuple[str, ...], caller: Caller) -> tuple[str, ...]:
    """Return the path without the project's id, which older clients put first.

    Nova takes a first segment of hexadecimal digits and dashes for one; 400 if it is not the
    caller's.
    """
    first = segments[0]
    if first in RESOURCES or not _PROJECT.fullmatch(first):
        return segments
    if first != caller.project:
        told = f"URL's project_id '{first}' doesn't match Context's project_id"
        raise Fault(400, f"Malformed request URL: {told} '{caller.project}'")
    return segments[1:]


def route(method: str, segments: tuple[str, ...], minor: int) -> tuple[Handler, tuple[str, ...]]:
    """Return the handler and what the path's `*` stand for.

    Raises WebOb's plain 404 for an unknown path, and Nova's own where the path exists but not at
    this microversion.
    """
    for path, identities in _readings(segments):
        entry = ROUTES.get((method, path))
        if entry is not None:
            handler, (first, last) = entry
            if not first <= minor <= last:
                raise Fault(404, "The resource could not be found.")
            return handler, identities
    raise PlainFault(404, "Not Found", "The resource could not be found.")


def _readings(segments: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the path as it stands, and with `*` where ids stand (second and fourth)."""
    starred = [
        "*" if segment and index in (1, 3) else segment for index, segment in enumerate(segments)
    ]
    return ("/".join(segments), ()), ("/".join(starred), segments[1::2])
