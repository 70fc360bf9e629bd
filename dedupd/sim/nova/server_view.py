"""Servers as JSON, by microversion and role (nova/api/openstack/compute/views/servers.py)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from dedupd.sim.nova.call import Call
from dedupd.sim.nova.world import Flavor, Server

Json = dict[str, Any]

_STATUSES = {
    "active": "ACTIVE",
    "building": "BUILD",
    "stopped": "SHUTOFF",
    "deleted": "DELETED",
    "paused": "PAUSED",
}
_POWER = {"active": 1, "building": 0, "stopped": 4, "deleted": 0, "paused": 3}
_WITH_PROGRESS = ("ACTIVE", "BUILD")


def seconds_text(moment: float) -> str:
    """Return a time as Nova shows creation and change: whole seconds, with a Z."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def microseconds_text(moment: float) -> str:
    """Return a time as Nova shows launches and actions: microseconds, without a zone."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def links(call: Call, collection: str, identity: str) -> list[Json]:
    """Return the `self` and `bookmark` links of a resource."""
    path = f"{collection}/{identity}"
    return [{"rel": "self", "href": f"{call.api_url}/{path}"}, bookmark(call, path)]


def bookmark(call: Call, path: str) -> Json:
    """Return the link to a resource that is independent of the API's version."""
    return {"rel": "bookmark", "href": f"{call.host_url}/{path}"}


def basic(call: Call, server: Server) -> Json:
    """Return a server as GET /servers lists it."""
    return {"id": server.id, "name": server.name, "links": links(call, "servers", server.id)}


def basic_out_of_sight(call: Call, server: Server) -> Json:
    """Return a server in a cell that is down as GET /servers lists it."""
    own = links(call, "servers", server.id)
    return {"id": server.id, "status": "UNKNOWN", "links": own}


def detailed_out_of_sight(call: Call, server: Server) -> Json:
    """Return a server in a cell that is down as GET /servers/detail lists it."""
    known = {"tenant_id": server.project, "created": seconds_text(server.created)}
    groups = {"security_groups": [{"name": "default"}]}
    return basic_out_of_sight(call, server) | known | groups


def shown(call: Call, server: Server) -> Json:
    """Return a server as GET /servers/{id} shows it."""
    view = detailed(call, server)
    if call.minor >= 71:
        view["server_groups"] = [server.group] if server.group else []
    return view


def detailed(call: Call, server: Server) -> Json:
    """Return a server as GET /servers/detail lists it."""
    return _core(call, server) | _extended(call, server) | _newer(call, server)


def updated(call: Call, server: Server) -> Json:
    """Return a server as PUT /servers/{id} answers: the whole of it only from 2.75 on."""
    if call.minor >= 75:
        return shown(call, server)
    view = _core(call, server)
    view["addresses"] = _addresses(server, call, extended=False)
    newer = _newer(call, server)
    newer.pop("host_status", None)
    return view | newer


def _core(call: Call, server: Server) -> Json:
    now = call.now
    status = _STATUSES[server.vm_state(now)]
    view: Json = {
        "accessIPv4": server.access_ip_v4,
        "accessIPv6": server.access_ip_v6,
        "addresses": _addresses(server, call, extended=True),
        "created": seconds_text(server.created),
        "flavor": _flavor(call, server.flavor),
        "hostId": _host_id(server, now),
        "id": server.id,
        "image": _image(call, server),
        "links": links(call, "servers", server.id),
        "metadata": server.metadata,
        "name": server.name,
        "status": status,
        "tenant_id": server.project,
        "user_id": server.user,
        "updated": seconds_text(server.updated_at(now)),
        "OS-DCF:diskConfig": server.disk_config,
    }
    if status in _WITH_PROGRESS:
        view["progress"] = 0
    return view


def _addresses(server: Server, call: Call, *, extended: bool) -> Json:
    visible = server.visible_address(call.now)
    if visible is None:
        return {}
    address: Json = {"version": 4, "addr": visible}
    if extended:
        address["OS-EXT-IPS:type"] = "fixed"
        address["OS-EXT-IPS-MAC:mac_addr"] = server.hardware_address
    return {"private": [address]}


def _flavor(call: Call, flavor: Flavor) -> Json:
    if call.minor < 47:
        return {"id": flavor.id, "links": [bookmark(call, f"flavors/{flavor.id}")]}
    view: Json = {"vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk}
    view |= {"ephemeral": 0, "swap": 0, "original_name": flavor.name, "extra_specs": {}}
    return view


def _image(call: Call, server: Server) -> Json | str:
    if not server.image:
        return ""
    return {"id": server.image, "links": [bookmark(call, f"images/{server.image}")]}


def _host_id(server: Server, now: float) -> str:
    host = server.host(now)
    return "" if host is None else hashlib.sha224(f"{server.project}{host}".encode()).hexdigest()


def _extended(call: Call, server: Server) -> Json:
    """Return what were extensions once, security groups only where there is a port."""
    now = call.now
    building = server.is_building(now)
    groups: Json = {}
    if server.visible_address(now) is not None:
        groups = {"security_groups": [{"name": name} for name in server.security_groups]}
    state = server.vm_state(now)
    view: Json = {
        "OS-EXT-AZ:availability_zone": "nova" if server.host(now) else "",
        "config_drive": server.config_drive,
        "key_name": server.key_name,
        "OS-SRV-USG:launched_at": None if building else microseconds_text(server.launched),
        "OS-SRV-USG:terminated_at": microseconds_text(server.deleted) if server.deleted else None,
        **groups,
        "OS-EXT-STS:task_state": server.task_state(now),
        "OS-EXT-STS:vm_state": state,
        "OS-EXT-STS:power_state": _POWER[state],
        "os-extended-volumes:volumes_attached": _volumes(call, server),
    }
    if call.caller.is_admin:
        view |= _administrators(call, server)
    return view


def _volumes(call: Call, server: Server) -> list[Json]:
    if call.minor < 3:
        return [{"id": volume} for volume, _ in server.volumes]
    return [{"id": volume, "delete_on_termination": gone} for volume, gone in server.volumes]


def _administrators(call: Call, server: Server) -> Json:
    host = server.host(call.now)
    view: Json = {
        "host": host,
        "instance_name": f"instance-{server.number:08x}" if host else "",
        "hypervisor_hostname": host,
    }
    if call.minor >= 3:
        view |= {
            "hostname": server.hostname,
            "kernel_id": "",
            "launch_index": server.launch_index,
            "ramdisk_id": "",
            "reservation_id": server.reservation_id,
            "root_device_name": "/dev/sda" if host else None,
            "user_data": server.user_data,
        }
    return {f"OS-EXT-SRV-ATTR:{name}": value for name, value in view.items()}


def _newer(call: Call, server: Server) -> Json:
    """Return what microversions have added since 2.1, those for administrators included."""
    view: Json = {}
    for since, name, read in _ADDED:
        if call.minor >= since:
            view[name] = read(server)
    if call.minor >= 16 and call.caller.is_admin:
        view["host_status"] = "UP" if server.is_hosted(call.now) else ""
    if call.minor >= 90:
        view["OS-EXT-SRV-ATTR:hostname"] = server.hostname
    return view


_ADDED = (
    (9, "locked", lambda server: server.locked_by is not None),
    (19, "description", lambda server: server.description),
    (26, "tags", lambda server: list(server.tags)),
    (63, "trusted_image_certificates", lambda server: server.trusted_certificates),
    (73, "locked_reason", lambda server: server.locked_reason),
    (96, "pinned_availability_zone", lambda server: server.pinned_zone),
    (100, "scheduler_hints", lambda server: server.hints),
)
