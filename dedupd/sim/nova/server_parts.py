"""What hangs off a server: its tags, its metadata and its history of actions."""

from __future__ import annotations

from typing import Any

from dedupd.sim.nova import request_schemas as schemas
from dedupd.sim.nova.call import Call, forbidden
from dedupd.sim.nova.schema import check, first_error
from dedupd.sim.nova.server_view import microseconds_text
from dedupd.sim.nova.servers import found, mapped, refuse_building, refuse_locked
from dedupd.sim.nova.wire import Fault, Headers, Reply
from dedupd.sim.nova.world import METADATA_ITEMS, InstanceAction, Server, World

TAGS_LIMIT = 50
_HTML = "text/html; charset=UTF-8"


def _tagged(world: World, call: Call, identity: str, policy: str, *, write: bool) -> Server:
    """Return a server whose tags are meant; 403, not 404, where it is another project's."""
    server = mapped(world, identity)
    if server.deleted is not None:
        raise Fault(404, f"Instance {identity} could not be found.")
    if server.project != call.caller.project and not call.caller.is_admin:
        raise forbidden(f"os-server-tags:{policy}")
    call.require(f"os-server-tags:{policy}", write=write)
    return server


def _hosted(call: Call, server: Server) -> Server:
    """Return the server; Nova's 404 if it has no host, where its tags would be read."""
    if server.host(call.now) is None:
        raise Fault(404, f"Instance {server.id} could not be found.")
    return server


def tags(world: World, call: Call, identity: str) -> Reply:
    """GET /servers/{id}/tags."""
    server = _hosted(call, _tagged(world, call, identity, "index", write=False))
    return Reply(200, {"tags": list(server.tags)})


def tag(world: World, call: Call, identity: str, name: str) -> Reply:
    """GET /servers/{id}/tags/{tag}: 204 if the server has it, else 404."""
    server = _hosted(call, _tagged(world, call, identity, "show", write=False))
    if name not in server.tags:
        raise Fault(404, f"Server {identity} has no tag '{name}'")
    return Reply(204)


def set_tags(world: World, call: Call, identity: str) -> Reply:
    """PUT /servers/{id}/tags: replace them all."""
    body = call.decoded()
    check(schemas.SERVER_TAGS, body)
    server = _tagged(world, call, identity, "update_all", write=True)
    refuse_building(call, server, "update tags")
    world.set_tags(server, body["tags"])
    return Reply(200, {"tags": list(server.tags)})


def add_tag(world: World, call: Call, identity: str, name: str) -> Reply:
    """PUT /servers/{id}/tags/{tag}: 201 if it is new, 204 if the server has it."""
    server = _tagged(world, call, identity, "update", write=True)
    refuse_building(call, server, "update tag")
    error = first_error(schemas.TAG, name)
    if error is not None:
        rule = "It must be a non empty string without characters '/' and ','."
        raise Fault(400, f"Tag '{name}' is invalid. {rule} Validation error message: {error[2]}")
    if name in server.tags:
        return Reply(204, content_type=_HTML)
    if len(server.tags) >= TAGS_LIMIT:
        raise Fault(400, f"The number of tags exceeded the per-server limit {TAGS_LIMIT}")
    world.set_tags(server, (*server.tags, name))
    location: Headers = (("Location", f"{call.api_url}/servers/{identity}/tags/{name}"),)
    return Reply(201, None, location, _HTML)


def metadata(world: World, call: Call, identity: str) -> Reply:
    """GET /servers/{id}/metadata: empty until the server is scheduled, whatever it was given."""
    server = found(world, call, identity)
    call.require("server-metadata:index", write=False)
    return Reply(200, {"metadata": server.metadata if server.is_hosted(call.now) else {}})


def add_metadata(world: World, call: Call, identity: str) -> Reply:
    """POST /servers/{id}/metadata: add to what there is; answers with the whole."""
    body = call.decoded()
    check(schemas.SERVER_METADATA, body)
    server = found(world, call, identity)
    call.require("server-metadata:create", write=True)
    refuse_locked(call, server)
    refuse_building(call, server, "update metadata")
    merged = server.metadata | body["metadata"]
    if len(merged) > METADATA_ITEMS:
        raise Fault(403, f"Maximum number of metadata items exceeds {METADATA_ITEMS}")
    server.metadata = merged
    server.updated = call.now
    world.record(call, "metadata", (server.id,), names=(server.name,), metadata=body["metadata"])
    return Reply(200, {"metadata": merged})


def actions(world: World, call: Call, identity: str) -> Reply:
    """GET /servers/{id}/os-instance-actions: newest first; deleted servers too, from 2.21 on.

    There is nothing, not even the creation, until the server is scheduled.
    """
    server = _remembered(world, call, identity)
    call.require("os-instance-actions:list", write=False)
    kept = server.actions if server.host(call.now) else []
    views = [_action(call, server, action) for action in reversed(kept)]
    return Reply(200, {"instanceActions": views})


def action(world: World, call: Call, identity: str, request_id: str) -> Reply:
    """GET /servers/{id}/os-instance-actions/{request id}. The simulation keeps no events."""
    server = _remembered(world, call, identity)
    call.require("os-instance-actions:show", write=False)
    for entry in reversed(server.actions):
        if entry.request_id == request_id:
            view = _action(call, server, entry)
            if call.minor >= 51 or call.caller.is_admin:
                view["events"] = []
            return Reply(200, {"instanceAction": view})
    raise Fault(404, f"Action {request_id} not found")


def _remembered(world: World, call: Call, identity: str) -> Server:
    server = world.servers.get(identity)
    own = server is not None and server.project == call.caller.project
    if call.minor >= 21 and server is not None and own and not server.left_no_trace:
        return server
    return found(world, call, identity)


def _action(call: Call, server: Server, entry: InstanceAction) -> dict[str, Any]:
    view = {
        "action": entry.action,
        "instance_uuid": server.id,
        "request_id": entry.request_id,
        "user_id": entry.user,
        "project_id": entry.project,
        "start_time": microseconds_text(entry.start),
        "message": None,
    }
    return view | ({"updated_at": view["start_time"]} if call.minor >= 58 else {})
