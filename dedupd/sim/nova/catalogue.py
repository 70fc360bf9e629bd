"""What there is to choose from, read only: flavors, images (below 2.36) and limits."""

from __future__ import annotations

from typing import Any

from dedupd.sim.nova.call import Call
from dedupd.sim.nova.server_view import links, seconds_text
from dedupd.sim.nova.wire import Fault, Reply
from dedupd.sim.nova.world import METADATA_ITEMS, Flavor, Image, World

Json = dict[str, Any]

_GLANCE = "http://localhost:9292"


def flavors(world: World, call: Call) -> Reply:
    """GET /flavors: ids and names."""
    return Reply(200, {"flavors": [_flavor(call, row) for row in world.flavors.values()]})


def flavors_in_detail(world: World, call: Call) -> Reply:
    """GET /flavors/detail."""
    return Reply(200, {"flavors": [_flavor_in_full(call, row) for row in world.flavors.values()]})


def flavor(world: World, call: Call, identity: str) -> Reply:
    """GET /flavors/{id}."""
    row = world.flavors.get(identity)
    if row is None:
        raise Fault(404, f"Flavor {identity} could not be found.")
    return Reply(200, {"flavor": _flavor_in_full(call, row)})


def _flavor(call: Call, row: Flavor) -> Json:
    view: Json = {"id": row.id, "name": row.name, "links": links(call, "flavors", row.id)}
    return view | ({"description": None} if call.minor >= 55 else {})


def _flavor_in_full(call: Call, row: Flavor) -> Json:
    view = _flavor(call, row)
    view |= {
        "ram": row.ram,
        "disk": row.disk,
        "vcpus": row.vcpus,
        "swap": 0 if call.minor >= 75 else "",
        "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False,
        "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0,
    }
    return view | ({"extra_specs": {}} if call.minor >= 61 else {})


def images(world: World, call: Call) -> Reply:
    """GET /images: ids and names."""
    return Reply(200, {"images": [_image(call, row) for row in _visible(world, call)]})


def images_in_detail(world: World, call: Call) -> Reply:
    """GET /images/detail."""
    return Reply(200, {"images": [_image_in_full(call, row) for row in _visible(world, call)]})


def image(world: World, call: Call, identity: str) -> Reply:
    """GET /images/{id}."""
    row = next((row for row in _visible(world, call) if row.id == identity), None)
    if row is None:
        raise Fault(404, "Image not found.")
    return Reply(200, {"image": _image_in_full(call, row)})


def _visible(world: World, call: Call) -> list[Image]:
    owners = (None, call.caller.project)
    return [row for row in world.images.values() if row.project in owners]


def _image(call: Call, row: Image) -> Json:
    address = f"{_GLANCE}/images/{row.id}"
    alternate = {"rel": "alternate", "type": "application/vnd.openstack.image", "href": address}
    return {
        "id": row.id,
        "name": row.name,
        "links": [*links(call, "images", row.id), alternate],
    }


def _image_in_full(call: Call, row: Image) -> Json:
    return _image(call, row) | {
        "minRam": 0,
        "minDisk": 0,
        "metadata": row.metadata,
        "created": seconds_text(row.created),
        "updated": seconds_text(row.created),
        "status": "ACTIVE",
        "progress": 100,
        "OS-EXT-IMG-SIZE:size": row.size,
    }


def limits(world: World, call: Call) -> Reply:
    """GET /limits: quotas of the project and what is used of them."""
    project, settings = call.caller.project, world.settings
    rows = [row for row in world.projects.get(project, {}).values() if row.deleted is None]
    groups = sum(group.project == project for group in world.groups.values())
    absolute: Json = {
        "maxTotalCores": -1,
        "maxTotalInstances": settings.instances_quota,
        "maxTotalKeypairs": settings.key_pairs_quota,
        "maxServerMeta": METADATA_ITEMS,
        "maxTotalRAMSize": -1,
        "maxServerGroups": settings.server_groups_quota,
        "maxServerGroupMembers": 10,
        "totalRAMUsed": sum(row.flavor.ram for row in rows),
        "totalCoresUsed": sum(row.flavor.vcpus for row in rows),
        "totalInstancesUsed": len(rows),
        "totalServerGroupsUsed": groups,
    }
    for last, older in _OLDER_LIMITS:
        absolute |= older if call.minor <= last else {}
    return Reply(200, {"limits": {"rate": [], "absolute": absolute}})


_OLDER_LIMITS: tuple[tuple[int, Json], ...] = (
    (35, {"maxTotalFloatingIps": -1, "maxSecurityGroups": -1, "maxSecurityGroupRules": -1}),
    (35, {"totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0}),
    (38, {"maxImageMeta": METADATA_ITEMS}),
    (56, {"maxPersonality": 5, "maxPersonalitySize": 10240}),
)
