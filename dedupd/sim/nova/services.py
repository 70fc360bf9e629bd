"""Nova's own services, for administrators: here the compute hosts, one in each cell."""

from __future__ import annotations

import uuid
from typing import Any

from dedupd.sim.nova.call import Call, forbidden
from dedupd.sim.nova.server_view import microseconds_text
from dedupd.sim.nova.wire import Reply
from dedupd.sim.nova.world import HOSTS, World


def index(world: World, call: Call) -> Reply:
    """GET /os-services: all of them; of a cell that is down its hosts only, from 2.69 on."""
    if not call.caller.is_admin:
        raise forbidden("os-services:list")
    rows = [_view(call, host) for cell, host in HOSTS.items() if cell not in world.cells_down]
    down = [_named(host) for cell, host in HOSTS.items() if cell in world.cells_down]
    unknown = [row | {"status": "UNKNOWN"} for row in down if call.minor >= 69]
    return Reply(200, {"services": rows + unknown})


def _named(host: str) -> dict[str, Any]:
    return {"binary": "nova-compute", "host": host}


def _view(call: Call, host: str) -> dict[str, Any]:
    number = list(HOSTS.values()).index(host) + 1
    view = _named(host) | {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, host)) if call.minor >= 53 else number,
        "zone": "nova",
        "status": "enabled",
        "state": "up",
        "updated_at": microseconds_text(call.now),
        "disabled_reason": None,
    }
    return view | ({"forced_down": False} if call.minor >= 11 else {})
