"""Server groups: their names are not unique, which is why a repeat makes another one."""

from __future__ import annotations

from typing import Any

from dedupd.sim.nova import request_schemas as schemas
from dedupd.sim.nova.call import Call
from dedupd.sim.nova.schema import QUERY, Schema, check
from dedupd.sim.nova.wire import Fault, Reply
from dedupd.sim.nova.world import ServerGroup, World


def create(world: World, call: Call) -> Reply:
    """POST /os-server-groups."""
    body = call.decoded()
    check(schemas.server_group_create(call.minor), body)
    call.require("os-server-groups:create", write=True)
    wish = body["server_group"]
    _refuse_over_quota(world, call)
    policy = wish["policy"] if call.minor >= 64 else wish["policies"][0]
    caller = call.caller
    identity = world.new_id()
    group = ServerGroup(
        identity, caller.project, caller.user, wish["name"], policy, wish.get("rules", {}), []
    )
    world.groups[group.id] = group
    world.record(call, "server_group", (group.id,), names=(group.name,))
    return Reply(200, {"server_group": _view(call, group)})


def _refuse_over_quota(world: World, call: Call) -> None:
    used = sum(group.project == call.caller.project for group in world.groups.values())
    if 0 <= world.settings.server_groups_quota <= used:
        raise Fault(403, "Quota exceeded, too many server groups.")


def _view(call: Call, group: ServerGroup) -> dict[str, Any]:
    view: dict[str, Any] = {"id": group.id, "name": group.name}
    if call.minor >= 64:
        view |= {"policy": group.policy, "rules": group.rules}
    else:
        view |= {"policies": [group.policy], "metadata": {}}
    view["members"] = group.members
    if call.minor >= 13:
        view |= {"project_id": group.project, "user_id": group.user}
    return view


def _found(world: World, call: Call, identity: str) -> ServerGroup:
    group = world.groups.get(identity)
    if group is None or not (call.caller.is_admin or group.project == call.caller.project):
        raise Fault(404, f"Instance group {identity} could not be found.")
    return group


_DIGITS: Schema = {"pattern": "^[0-9]*$"}
_QUERY: dict[str, Schema] = {"all_projects": {}, "limit": _DIGITS, "offset": _DIGITS}


def index(world: World, call: Call) -> Reply:
    """GET /os-server-groups: the project's, or with `all_projects` an administrator's view."""
    call.require("os-server-groups:index", write=False)
    most = world.settings.page_limit
    everything = call.last("all_projects") is not None and call.caller.is_admin
    groups = [
        group
        for group in world.groups.values()
        if everything or group.project == call.caller.project
    ]
    query = dict(call.query)
    check({"additionalProperties": call.minor < 75, "properties": _QUERY}, query, QUERY)
    start, limit = int(query.get("offset") or 0), int(query.get("limit") or most)
    views = [_view(call, group) for group in groups[start : start + limit]]
    return Reply(200, {"server_groups": views})


def show(world: World, call: Call, identity: str) -> Reply:
    """GET /os-server-groups/{id}."""
    group = _found(world, call, identity)
    call.require("os-server-groups:show", write=False)
    return Reply(200, {"server_group": _view(call, group)})


def delete(world: World, call: Call, identity: str) -> Reply:
    """DELETE /os-server-groups/{id}."""
    group = _found(world, call, identity)
    call.require("os-server-groups:delete", write=True)
    del world.groups[group.id]
    return Reply(204)
