"""What the query of GET /servers may hold, and what of it Nova silently ignores.

Measured on Nova, and as surprising as it looks: what a caller may not filter by is dropped, so
that everything comes back; some keys are 400 for one role and dropped for the other; unknown keys
are dropped below 2.75 and 400 from then on. Sources: nova/api/openstack/compute/servers.py
(_get_servers, remove_invalid_options) and schemas/servers.py (index_query).
"""

from __future__ import annotations

from functools import lru_cache

from dedupd.sim.nova.call import Call
from dedupd.sim.nova.schema import QUERY, Schema, check
from dedupd.sim.nova.wire import Fault

Names = tuple[str, ...]

# fmt: off
_REGEX: Names = (
    "access_ip_v4", "access_ip_v6", "auto_disk_config", "availability_zone", "config_drive",
    "created_at", "description", "display_description", "display_name", "flavor", "hostname", "ip",
    "ip6", "kernel_id", "key_name", "launched_at", "locked_by", "name", "node", "power_state",
    "progress", "ramdisk_id", "reservation_id", "root_device_name", "terminated_at",
)
_PLAIN: Names = (
    "all_tenants", "deleted", "host", "image", "image_ref", "launch_index", "marker", "project_id",
    "soft_deleted", "sort_dir", "status", "task_state", "tenant_id", "user_id", "uuid", "vm_state",
)
_JOINED: Names = (
    "block_device_mapping", "info_cache", "metadata", "pci_devices", "security_groups", "services",
    "system_metadata",
)
"""Columns of joined tables: an administrator who filters by one gets 400."""
_SORT_KEYS = [
    "access_ip_v4", "access_ip_v6", "auto_disk_config", "availability_zone", "config_drive",
    "created_at", "display_description", "display_name", "host", "hostname", "image_ref",
    "instance_type_id", "kernel_id", "key_name", "launch_index", "launched_at", "locked_by", "node",
    "power_state", "progress", "project_id", "ramdisk_id", "root_device_name", "task_state",
    "terminated_at", "updated_at", "user_id", "uuid", "vm_state",
]
# fmt: on
_TAGS: Names = ("tags", "tags-any", "not-tags", "not-tags-any")
PAGING: Names = ("sort_key", "sort_dir", "limit", "marker")
"""What asks for a part of a list, or for its order."""

_ALLOWED: tuple[tuple[int, Names], ...] = (
    (1, ("reservation_id", "name", "status", "image", "flavor", "ip")),
    (1, ("changes-since", "all_tenants")),
    (5, ("ip6",)),
    (26, _TAGS),
    (66, ("changes-before",)),
    (73, ("locked",)),
    (83, ("availability_zone", "config_drive", "key_name", "created_at", "launched_at")),
    (83, ("terminated_at", "power_state", "task_state", "vm_state", "progress", "user_id")),
    (90, ("hostname",)),
)
"""Since when whoever is not an administrator may filter by what; the rest is ignored."""


@lru_cache(maxsize=128)
def _schema(minor: int) -> Schema:
    text: Schema = {"type": "string"}
    regex: Schema = {"format": "regex"}
    time: Schema = {"format": "date-time"}
    sort_keys = ["locked", *_SORT_KEYS] if minor >= 73 else _SORT_KEYS
    properties: dict[str, Schema] = dict.fromkeys(_REGEX, regex)
    properties |= dict.fromkeys((*_PLAIN, *_JOINED), text)
    properties |= {"limit": {"pattern": "^[0-9]*$"}, "changes-since": time}
    properties |= {"sort_key": {"enum": sort_keys}}
    properties |= dict.fromkeys(_TAGS, regex) if minor >= 26 else {}
    properties |= {"changes-before": time} if minor >= 66 else {}
    properties |= {"locked": text} if minor >= 73 else {}
    return {
        "additionalProperties": minor < 75,
        "properties": properties,
        "patternProperties": {"^_": text},
    }


@lru_cache(maxsize=128)
def _allowed(minor: int) -> frozenset[str]:
    return frozenset(name for since, names in _ALLOWED if minor >= since for name in names)


def effective_options(call: Call) -> dict[str, str]:
    """Return the filters that count for this caller at this microversion, the last value of each.

    Raises Nova's Fault 400 for a malformed value, a filter that may not be, or (from 2.75 on) an
    unknown one.
    """
    schema = _schema(call.minor)
    for name, value in call.query:
        check(schema, {name: value}, QUERY)
    options = {name: value for name, value in call.query if _counts(call, schema, name)}
    for name in options:
        if name in _JOINED or name.startswith("_"):
            raise Fault(400, f"Invalid filter field: {name}.")
    return options


def _counts(call: Call, schema: Schema, name: str) -> bool:
    if call.caller.is_admin:
        known = name in schema["properties"] or name.startswith("_")
        return known and name not in PAGING
    return name in schema["properties"] and name in _allowed(call.minor)
