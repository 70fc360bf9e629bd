"""What Nova accepts in bodies and queries, by microversion (nova/api/openstack/compute/schemas)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dedupd.sim.nova.schema import Schema

Since = tuple[int, dict[str, Schema]]
"""The minor microversion from which properties are accepted, and those properties."""


def enclosed(name: str, inner: Schema) -> Schema:
    """Return the schema of a body `{name: inner}`."""
    return {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: inner},
    }


def record(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "required": required or [],
        "additionalProperties": False,
        "properties": properties,
    }


STRING: Schema = {"type": "string"}
UUID: Schema = {"type": "string", "format": "uuid"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}
SHORT: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
TAG: Schema = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
TAGS: Schema = {"type": "array", "maxItems": 50, "items": TAG}
COUNT: Schema = {
    "type": ["integer", "string"],
    "pattern": "^[0-9]*$",
    "minimum": 1,
    "minLength": 1,
}
_YES = ["True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"]
_NO = ["False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]
TRUE: list[Any] = [True, *_YES]
BOOLEAN: Schema = {"type": ["boolean", "string"], "enum": [*TRUE, False, *_NO]}
METADATA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
}
DESCRIPTION: Schema = {"type": ["string", "null"], "maxLength": 255}
DISK_CONFIG: Schema = {"type": "string", "enum": ["AUTO", "MANUAL"]}
FULL_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[a-zA-Z0-9-._]*$",
}
HOSTNAME: Schema = {
    "type": "string",
    "minLength": 2,
    "maxLength": 63,
    "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$",
}

_NETWORK = {"fixed_ip": STRING, "port": {"type": ["string", "null"], "format": "uuid"}}
_DEVICE: dict[str, Schema] = {
    "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
    "destination_type": {"type": "string", "enum": ["local", "volume"]},
    "uuid": {**SHORT, "pattern": "^[a-zA-Z0-9._-]*$"},
    "boot_index": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$"},
    "delete_on_termination": BOOLEAN,
    "device_name": {**SHORT, "pattern": "^[a-zA-Z0-9._/-]*$"},
    "volume_size": COUNT,
    "guest_format": STRING,
    "device_type": STRING,
    "disk_bus": STRING,
    "image_id": UUID,
    "volume_id": UUID,
    "snapshot_id": UUID,
    "no_device": {},
    "tag": TAG,
    "volume_type": {"type": ["string", "null"]},
}

_SERVER: list[Since] = [
    (
        1,
        {
            "name": NAME,
            "imageRef": {"oneOf": [UUID, {"type": "string", "maxLength": 0}]},
            "flavorRef": {"type": ["string", "integer"], "minLength": 1},
            "adminPass": STRING,
            "metadata": METADATA,
            "networks": {"type": "array", "items": record({**_NETWORK, "uuid": STRING})},
            "OS-DCF:diskConfig": DISK_CONFIG,
            "accessIPv4": STRING,
            "accessIPv6": STRING,
            "availability_zone": NAME,
            "block_device_mapping": {"type": "array"},
            "block_device_mapping_v2": {"type": "array", "items": record(_DEVICE)},
            "config_drive": BOOLEAN,
            "key_name": NAME,
            "min_count": COUNT,
            "max_count": COUNT,
            "return_reservation_id": BOOLEAN,
            "security_groups": {"type": "array", "items": record({"name": NAME})},
            "user_data": {"type": "string", "maxLength": 65535},
            "personality": {"type": "array"},
        },
    ),
    (19, {"description": DESCRIPTION}),
    (
        37,
        {
            "networks": {
                "oneOf": [
                    {"type": "array", "items": record({**_NETWORK, "uuid": UUID, "tag": TAG})},
                    {"type": "string", "enum": ["none", "auto"]},
                ]
            }
        },
    ),
    (52, {"tags": TAGS}),
    (63, {"trusted_image_certificates": {"type": ["array", "null"], "items": STRING}}),
    (74, {"host": FULL_NAME, "hypervisor_hostname": FULL_NAME}),
    (90, {"hostname": HOSTNAME}),
    (94, {"hostname": FULL_NAME}),
]


def _merged(table: list[Since], minor: int) -> dict[str, Schema]:
    merged: dict[str, Schema] = {}
    for since, properties in table:
        if minor >= since:
            merged.update(properties)
    return merged


@lru_cache(maxsize=128)
def server_create(minor: int) -> Schema:
    """Return the schema of POST /servers at microversion 2.`minor`."""
    properties = _merged(_SERVER, minor)
    if minor >= 57:
        del properties["personality"]
    required = ["name", "flavorRef"] + (["networks"] if minor >= 37 else [])
    schema = enclosed("server", record(properties, required))
    hints: Schema = {"type": "object"}
    schema["properties"].update(dict.fromkeys(HINTS, hints))
    return schema


HINTS = ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints")

_SERVER_UPDATE: list[Since] = [
    (
        1,
        {
            "name": NAME,
            "OS-DCF:diskConfig": DISK_CONFIG,
            "accessIPv4": STRING,
            "accessIPv6": STRING,
        },
    ),
    (19, {"description": DESCRIPTION}),
    (90, {"hostname": HOSTNAME}),
    (94, {"hostname": FULL_NAME}),
]


@lru_cache(maxsize=128)
def server_update(minor: int) -> Schema:
    """Return the schema of PUT /servers/{id} at microversion 2.`minor`."""
    return enclosed("server", record(_merged(_SERVER_UPDATE, minor)))


_KEYPAIR: list[Since] = [
    (1, {"name": {**NAME, "pattern": r"^[_\- a-zA-Z0-9]+$"}, "public_key": STRING}),
    (2, {"type": {"type": "string", "enum": ["ssh", "x509"]}}),
    (10, {"user_id": {**SHORT, "pattern": "^[a-zA-Z0-9-]*$"}}),
    (92, {"name": {**NAME, "pattern": r"^[_\-\@\. a-zA-Z0-9]+$"}}),
]


@lru_cache(maxsize=128)
def keypair_create(minor: int) -> Schema:
    """Return the schema of POST /os-keypairs at microversion 2.`minor`."""
    required = ["name"] + (["public_key"] if minor >= 92 else [])
    return enclosed("keypair", record(_merged(_KEYPAIR, minor), required))


_POLICIES = ["anti-affinity", "affinity"]
_SOFT_POLICIES = [*_POLICIES, "soft-anti-affinity", "soft-affinity"]


@lru_cache(maxsize=128)
def server_group_create(minor: int) -> Schema:
    """Return the schema of POST /os-server-groups at microversion 2.`minor`."""
    policy: Schema = {"enum": _SOFT_POLICIES if minor >= 15 else _POLICIES}
    if minor >= 64:
        rules = record({"max_server_per_host": COUNT})
        inner = record({"name": NAME, "policy": policy, "rules": rules}, ["name", "policy"])
    else:
        policies: Schema = {"type": "array", "minItems": 1, "maxItems": 1, "items": policy}
        inner = record({"name": NAME, "policies": policies}, ["name", "policies"])
    return enclosed("server_group", inner)


SERVER_TAGS = enclosed("tags", TAGS)
SERVER_METADATA = enclosed("metadata", METADATA)

_REBOOT = ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]
REBOOT = enclosed("reboot", record({"type": {"type": "string", "enum": _REBOOT}}, ["type"]))
CREATE_IMAGE = enclosed("createImage", record({"name": NAME, "metadata": METADATA}, ["name"]))


LOCK = enclosed("lock", {**record({"locked_reason": SHORT}), "type": ["object", "null"]})
"""The lock action from 2.73 on, when a reason may be given."""
