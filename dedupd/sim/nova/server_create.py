"""POST /servers: one or more new servers (nova/api/openstack/compute/servers.py, create)."""

from __future__ import annotations

import re
from typing import Any

from dedupd.sim.nova import request_schemas as schemas
from dedupd.sim.nova import server_view
from dedupd.sim.nova.call import Call
from dedupd.sim.nova.schema import check
from dedupd.sim.nova.servers import history_entry
from dedupd.sim.nova.wire import Fault, Reply
from dedupd.sim.nova.world import METADATA_ITEMS, NETWORK, PORT, Flavor, Server, World

PASSWORD_LENGTH = 12


def create(world: World, call: Call) -> Reply:
    """POST /servers: make one or more servers, all or (over quota) as many as allowed."""
    body = call.decoded()
    check(schemas.server_create(call.minor), body)
    wish = body["server"]
    least, most = _counts(wish)
    call.require("servers:create", write=True)
    template = _template(world, call, wish, _hints(body))
    count = _within_quota(world, call, least, most)
    made = [_build(world, call, template, wish, index, most) for index in range(count)]
    _record(world, call, made)
    if wish.get("return_reservation_id") in schemas.TRUE:
        return Reply(202, {"reservation_id": made[0].reservation_id})
    return _created(world, call, wish, made[0])


def _record(world: World, call: Call, made: list[Server]) -> None:
    first = made[0]
    world.record(
        call,
        "server",
        (server.id for server in made),
        names=tuple(server.name for server in made),
        tags=first.tags,
        metadata=dict(first.metadata),
    )


def _created(world: World, call: Call, wish: dict[str, Any], server: Server) -> Reply:
    groups = wish.get("security_groups") or [{"name": "default"}]
    view = {
        "id": server.id,
        "links": server_view.links(call, "servers", server.id),
        "OS-DCF:diskConfig": server.disk_config,
        "security_groups": groups,
        "adminPass": wish.get("adminPass") or _password(world),
    }
    location = (("location", f"{call.api_url}/servers/{server.id}"),)
    return Reply(202, {"server": view}, location)


def _password(world: World) -> str:
    return world.word(PASSWORD_LENGTH, "23456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ")


def _counts(wish: dict[str, Any]) -> tuple[int, int]:
    least = int(wish.get("min_count", 1))
    most = int(wish.get("max_count", least))
    if least > most:
        raise Fault(400, "min_count must be <= max_count")
    return least, most


def _hints(body: dict[str, Any]) -> dict[str, Any]:
    return next((body[name] for name in schemas.HINTS if name in body), {})


def _template(
    world: World, call: Call, wish: dict[str, Any], hints: dict[str, Any]
) -> dict[str, Any]:
    """Return what all servers of one request share; a Fault where something named is missing.

    The checks stand in the order in which Nova makes them, for their messages' sake.
    """
    zone = _zone(wish)
    image, volumes = _boot_source(wish)
    port, with_address = _network(world, wish)
    flavor = _flavor(world, wish)
    _must_exist(world, call, wish, image)
    group = _group(world, call, hints)
    settings = world.settings
    return {
        "project": call.caller.project,
        "user": call.caller.user,
        "created": call.now,
        "updated": call.now,
        "scheduled": call.now + min(settings.schedule_seconds, settings.build_seconds),
        "launched": call.now + settings.build_seconds,
        "flavor": flavor,
        "image": image,
        "reservation_id": f"r-{world.word(8)}",
        "tags": tuple(wish.get("tags") or ()),
        "key_name": wish.get("key_name"),
        "user_data": wish.get("user_data"),
        "config_drive": "True" if wish.get("config_drive") in schemas.TRUE else "",
        "pinned_zone": zone,
        "port": port,
        "address": "" if with_address else None,
        "security_groups": _security_groups(wish),
        "volumes": volumes,
        "disk_config": wish.get("OS-DCF:diskConfig", "MANUAL"),
        "access_ip_v4": wish.get("accessIPv4", ""),
        "access_ip_v6": wish.get("accessIPv6", ""),
        "group": group,
        "hints": hints,
        "trusted_certificates": wish.get("trusted_image_certificates"),
    }


def _zone(wish: dict[str, Any]) -> str | None:
    zone: str | None = wish.get("availability_zone")
    if zone not in (None, "nova"):
        raise Fault(400, "The requested availability zone is not available")
    return zone


def _flavor(world: World, wish: dict[str, Any]) -> Flavor:
    name = str(wish["flavorRef"]).rsplit("/", 1)[-1]
    flavor = world.flavors.get(name)
    if flavor is None:
        raise Fault(400, f"Flavor {name} could not be found.")
    return flavor


def _boot_source(wish: dict[str, Any]) -> tuple[str, tuple[tuple[str, bool], ...]]:
    """Return the image's id (empty: boot from volume) and the volumes with their fate."""
    devices = wish.get("block_device_mapping_v2") or wish.get("block_device_mapping") or []
    volumes = tuple(
        (device["uuid"], device.get("delete_on_termination") in schemas.TRUE)
        for device in devices
        if device.get("source_type") == "volume" and "uuid" in device
    )
    image = wish.get("imageRef") or ""
    if not image and not devices:
        raise Fault(400, "Missing imageRef attribute")
    return image, volumes


def _network(world: World, wish: dict[str, Any]) -> tuple[str | None, bool]:
    """Return the port asked for, if any, and whether the server will have an address."""
    networks = wish.get("networks")
    if networks == "none":
        return None, False
    if not isinstance(networks, list):
        return None, True
    port = None
    for network in networks:
        port = network.get("port") or port
        if network.get("uuid", NETWORK) != NETWORK:
            raise Fault(400, f"Network {network['uuid']} could not be found.")
    if port is not None and port != PORT:
        raise Fault(400, f"Port id {port} could not be found.")
    if port in world.ports_in_use:
        raise Fault(409, f"Port {port} is still in use.")
    return port, True


def _must_exist(world: World, call: Call, wish: dict[str, Any], image: str) -> None:
    if image and image not in world.images:
        raise Fault(400, "Can not find requested image")
    if len(wish.get("metadata") or {}) > METADATA_ITEMS:
        raise Fault(403, f"Maximum number of metadata items exceeds {METADATA_ITEMS}")
    key = wish.get("key_name")
    if key is not None and key not in world.keypairs.get(call.caller.user, {}):
        raise Fault(400, "Invalid key_name provided.")


def _security_groups(wish: dict[str, Any]) -> tuple[str, ...]:
    names = tuple(group["name"] for group in wish.get("security_groups") or () if "name" in group)
    for name in names:
        if name != "default" and wish.get("networks") != "none":
            raise Fault(400, f"no security_group {name}")
    return names or ("default",)


def _group(world: World, call: Call, hints: dict[str, Any]) -> str | None:
    hint = hints.get("group")
    identity = hint[0] if isinstance(hint, list) else hint
    if identity is None:
        return None
    group = world.groups.get(identity)
    if group is None or group.project != call.caller.project:
        raise Fault(400, f"Instance group {identity} could not be found.")
    return group.id


MOST_AT_ONCE = 1000
"""How many one request makes where there is no quota: Nova has a default of 10, and no memory of
one process to fill."""


def _within_quota(world: World, call: Call, least: int, most: int) -> int:
    used = world.alive[call.caller.project]
    limit = world.settings.instances_quota
    quota = used + MOST_AT_ONCE if limit < 0 else limit
    if used + most <= quota:
        return most
    if used + least <= quota:
        return quota - used
    text = f"Requested {least}, but already used {used} of {quota} instances"
    raise Fault(403, f"Quota exceeded for instances: {text}")


def _build(
    world: World, call: Call, template: dict[str, Any], wish: dict[str, Any], index: int, most: int
) -> Server:
    name = wish["name"] if most == 1 else f"{wish['name']}-{index + 1}"
    number = world.server_count + 1
    hostname = wish.get("hostname")
    server = Server(
        id=world.new_id(),
        number=number,
        name=name,
        hostname=_hostname(name) if hostname is None else hostname,
        launch_index=index,
        metadata=dict(wish.get("metadata") or {}),
        description=wish.get("description") if call.minor >= 19 else name,
        actions=[history_entry(call, "create")],
        **template,
    )
    if server.address is not None:
        server.address = f"192.168.{number >> 8 & 255}.{number & 255}"
        server.hardware_address = f"00:0c:29:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}"
        server.hardware_address += f":{number & 255:02x}"
    world.add_server(server)
    if server.group:
        world.groups[server.group].members.append(server.id)
    return server


def _hostname(name: str) -> str:
    """Return the host name that Nova makes of a server's name (utils.sanitize_hostname)."""
    dashed = re.sub(r"[ _.]", "-", name.lower())
    return re.sub(r"[^a-z0-9-]", "", dashed).strip("-")[:63]
