"""Servers: list, show, rename, delete, and how the other routes find one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from dedupd.sim.nova import request_schemas as schemas
from dedupd.sim.nova import server_view
from dedupd.sim.nova.call import Call
from dedupd.sim.nova.schema import check
from dedupd.sim.nova.server_pages import listed
from dedupd.sim.nova.wire import Fault, Reply
from dedupd.sim.nova.world import InstanceAction, Server, World


def history_entry(call: Call, name: str) -> InstanceAction:
    """Return the entry that an action leaves in a server's history."""
    return InstanceAction(name, call.request_id, call.caller.user, call.caller.project, call.now)


def acted(call: Call, server: Server, name: str) -> None:
    """Write an action into the server's history, and its time of change."""
    server.actions.append(history_entry(call, name))
    server.updated = call.now


def refuse_building(call: Call, server: Server, verb: str) -> None:
    """Raise Nova's 409 for what cannot be done to a server that is being built."""
    if server.is_building(call.now):
        text = f"Cannot '{verb}' instance {server.id} while it is in vm_state building"
        raise Fault(409, text)


def refuse_locked(call: Call, server: Server) -> None:
    """Raise Nova's 409 if the server is locked, which does not stop an administrator."""
    if server.locked_by is not None and not call.caller.is_admin:
        raise Fault(409, f"Instance {server.id} is locked")


def mapped(world: World, identity: str) -> Server:
    """Return the server of that id, deleted or not; the 404 of the routes that begin so if none."""
    if identity not in world.servers:
        raise Fault(404, f"Instance {identity} has no mapping to a cell.")
    return world.servers[identity]


def found(world: World, call: Call, identity: str) -> Server:
    """Return the server of that id that the caller may see; Nova's 404 otherwise."""
    server = world.servers.get(identity)
    if server is None or server.deleted is not None or not _visible(call, server):
        raise Fault(404, f"Instance {identity} could not be found.")
    return server


def _visible(call: Call, server: Server) -> bool:
    return call.caller.is_admin or server.project == call.caller.project


def index(world: World, call: Call) -> Reply:
    """GET /servers: ids and names."""
    call.require("servers:index", write=False)
    return _list(world, call, server_view.basic, server_view.basic_out_of_sight, "servers")


def detail(world: World, call: Call) -> Reply:
    """GET /servers/detail: everything about each server."""
    call.require("servers:detail", write=False)
    views = (server_view.detailed, server_view.detailed_out_of_sight)
    return _list(world, call, *views, "servers/detail")


_View = Callable[[Call, Server], dict[str, Any]]


def _list(world: World, call: Call, view: _View, out_of_sight: _View, collection: str) -> Reply:
    page = listed(world, call)
    rows = [out_of_sight(call, server) for server in page.out_of_sight]
    rows += [view(call, server) for server in page.servers]
    payload: dict[str, Any] = {"servers": rows}
    if page.full:
        payload["servers_links"] = [next_link(call, collection, rows[-1]["id"])]
    return Reply(200, payload)


def next_link(call: Call, collection: str, marker: str) -> dict[str, str]:
    """Return the link to the page after `marker`, with the query's other parameters kept."""
    parameters = dict(sorted(call.query)) | {"marker": marker}
    query = urlencode(parameters)
    return {"rel": "next", "href": f"{call.api_url}/{collection}?{query}"}


def show(world: World, call: Call, identity: str) -> Reply:
    """GET /servers/{id}."""
    server = found(world, call, identity)
    call.require("servers:show", write=False)
    return Reply(200, {"server": server_view.shown(call, server)})


def update(world: World, call: Call, identity: str) -> Reply:
    """PUT /servers/{id}: rename, and change the few other things that Nova lets be changed."""
    body = call.decoded()
    check(schemas.server_update(call.minor), body)
    server = found(world, call, identity)
    call.require("servers:update", write=True)
    wish = body["server"]
    world.rename(server, wish.get("name", server.name))
    for key, attribute in _CHANGEABLE.items():
        if key in wish:
            setattr(server, attribute, wish[key])
    server.updated = call.now
    return Reply(200, {"server": server_view.updated(call, server)})


_CHANGEABLE = {
    "description": "description",
    "hostname": "hostname",
    "OS-DCF:diskConfig": "disk_config",
    "accessIPv4": "access_ip_v4",
    "accessIPv6": "access_ip_v6",
}


def delete(world: World, call: Call, identity: str) -> Reply:
    """DELETE /servers/{id}: the row stays, DELETED and without its tags."""
    server = found(world, call, identity)
    call.require("servers:delete", write=True)
    refuse_locked(call, server)
    acted(call, server, "delete")
    world.delete_server(server, call.now)
    world.record(call, "server", (server.id,), names=(server.name,))
    return Reply(204)
