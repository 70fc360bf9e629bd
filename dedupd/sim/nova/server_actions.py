"""POST /servers/{id}/action: the few actions that the simulation knows, and their repeats.

A repeat does what it does in Nova: start, stop, pause and unpause are refused with 409, reboot and
lock are carried out again, createImage makes a second image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dedupd.sim.nova import request_schemas as schemas
from dedupd.sim.nova.call import Call
from dedupd.sim.nova.schema import check
from dedupd.sim.nova.servers import acted, found, mapped, refuse_locked
from dedupd.sim.nova.wire import Fault, Headers, Reply
from dedupd.sim.nova.world import Image, Server, World

_GLANCE = "http://localhost:9292"
_HTML = "text/html; charset=UTF-8"
_ORPHANED = (
    "Unexpected API Error. Please contact the administrator\n"
    "<class 'oslo_versionedobjects.exception.OrphanedObjectError'>"
)
"""What Nova says when a server is locked that is not scheduled yet (measured on 34.0.0)."""


def act(world: World, call: Call, identity: str) -> Reply:
    """Carry out the one action that the body names; 400 for none, several or an unknown one."""
    body = call.decoded()
    if not isinstance(body, dict) or len(body) != 1:
        raise Fault(400, "Malformed request body")
    name = next(iter(body))
    if name not in _ACTIONS:
        raise Fault(400, f"There is no such action: {name}")
    return _ACTIONS[name](world, call, identity, body)


def _target(world: World, call: Call, identity: str, policy: str) -> Server:
    server = found(world, call, identity)
    call.require(policy, write=True)
    return server


def _record(world: World, call: Call, server: Server, name: str, action: str) -> None:
    acted(call, server, action)
    world.record(call, name, (server.id,), names=(server.name,))


class _Transition(msgspec.Struct, frozen=True):
    """An action that takes a server from one of some states into another.

    `needs_host`: the action looks for the server's host first, and gives 404 where there is none.
    """

    verb: str
    policy: str
    sources: tuple[str, ...]
    target: str
    needs_host: bool = False

    def __call__(self, world: World, call: Call, identity: str, body: dict[str, Any]) -> Reply:
        """Carry it out, or 409 where the server's state does not allow it."""
        if self.needs_host and mapped(world, identity).host(call.now) is None:
            raise Fault(404, f"Instance {identity} could not be found.")
        server = _target(world, call, identity, self.policy)
        refuse_locked(call, server)
        _refuse_state(server, call, self.verb, self.sources)
        server.settled_state = self.target
        _record(world, call, server, next(iter(body)), self.verb)
        return Reply(202)


def _refuse_state(server: Server, call: Call, verb: str, sources: tuple[str, ...]) -> None:
    state = server.vm_state(call.now)
    if state not in sources:
        raise Fault(409, f"Cannot '{verb}' instance {server.id} while it is in vm_state {state}")


def _reboot(world: World, call: Call, identity: str, body: dict[str, Any]) -> Reply:
    check(schemas.REBOOT, body)
    server = _target(world, call, identity, "servers:reboot")
    refuse_locked(call, server)
    hard = body["reboot"]["type"].upper() == "HARD"
    sources = ("active", "stopped", "paused") if hard else ("active",)
    _refuse_state(server, call, "reboot", sources)
    server.settled_state = "active"
    _record(world, call, server, "reboot", "reboot")
    return Reply(202)


def _lock(world: World, call: Call, identity: str, body: dict[str, Any]) -> Reply:
    if call.minor >= 73:
        check(schemas.LOCK, body)
    server = _target(world, call, identity, "os-lock-server:lock")
    if server.host(call.now) is None:
        raise Fault(500, _ORPHANED)
    server.locked_by = "admin" if call.caller.is_admin else "owner"
    server.locked_reason = (body["lock"] or {}).get("locked_reason") if call.minor >= 73 else None
    _record(world, call, server, "lock", "lock")
    return Reply(202)


def _unlock(world: World, call: Call, identity: str, body: dict[str, Any]) -> Reply:
    server = _target(world, call, identity, "os-lock-server:unlock")
    server.locked_by = server.locked_reason = None
    _record(world, call, server, next(iter(body)), "unlock")
    return Reply(202)


def _create_image(world: World, call: Call, identity: str, body: dict[str, Any]) -> Reply:
    check(schemas.CREATE_IMAGE, body)
    server = _target(world, call, identity, "servers:create_image")
    refuse_locked(call, server)
    _refuse_state(server, call, "createImage", ("active", "stopped", "paused"))
    wish = body["createImage"]
    metadata = {**wish.get("metadata", {}), "instance_uuid": server.id, "user_id": server.user}
    image = Image(world.new_id(), wish["name"], server.project, call.now, metadata)
    world.images[image.id] = image
    acted(call, server, "createImage")
    world.record(call, "image", (image.id,), names=(image.name,), metadata=wish.get("metadata", {}))
    location: Headers = (("Location", f"{_GLANCE}/images/{image.id}"),)
    if call.minor < 45:
        return Reply(202, None, location, _HTML)
    return Reply(202, {"image_id": image.id})


Action = Callable[[World, Call, str, dict[str, Any]], Reply]

_ACTIONS: dict[str, Action] = {
    "os-start": _Transition("start", "servers:start", ("stopped",), "active", needs_host=True),
    "os-stop": _Transition("stop", "servers:stop", ("active",), "stopped", needs_host=True),
    "pause": _Transition("pause", "os-pause-server:pause", ("active",), "paused"),
    "unpause": _Transition("unpause", "os-pause-server:unpause", ("paused",), "active"),
    "reboot": _reboot,
    "lock": _lock,
    "unlock": _unlock,
    "createImage": _create_image,
}
