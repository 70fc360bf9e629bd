"""How each filter of GET /servers tests a row (nova/db/main/api.py, nova/compute/api.py)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dedupd.sim.nova.call import Call, forbidden
from dedupd.sim.nova.wire import Fault
from dedupd.sim.nova.world import Server

Test = Callable[[Server, float], bool]
"""Whether a row passes at a time."""

_SEARCHED = {
    "name": "name",
    "display_name": "name",
    "display_description": "description",
    "hostname": "hostname",
    "reservation_id": "reservation_id",
    "key_name": "key_name",
    "config_drive": "config_drive",
    "created_at": "created_text",
    "ip": "visible_address",
    "ip6": "address_v6",
}
"""Filters that search a regular expression, and the row's attribute that they search in."""

_COMPARED = {
    "launch_index": "launch_index",
    "image": "image",
    "image_ref": "image",
    "flavor": "flavor_id",
    "uuid": "id",
    "user_id": "user",
    "project_id": "project",
    "tenant_id": "project",
    "vm_state": "vm_state",
    "task_state": "task_state",
    "host": "host",
}
"""Filters that compare, and the row's attribute that they compare with."""

_TAG_FILTERS: dict[str, tuple[Callable[..., bool], bool]] = {
    "tags": (all, True),
    "tags-any": (any, True),
    "not-tags": (all, False),
    "not-tags-any": (any, False),
}
"""Whether all or any of the tags must be there, and whether that is wanted."""

_STATES = {
    "active": "active",
    "build": "building",
    "shutoff": "stopped",
    "deleted": "deleted",
    "error": "error",
    "paused": "paused",
    "suspended": "suspended",
}
_TRUE = ("1", "t", "true", "on", "y", "yes")
_FALSE = ("0", "f", "false", "off", "n", "no")


def tests_for(call: Call, options: dict[str, str]) -> list[Test]:
    """Return the tests that a row must all pass; a filter that Nova does not know passes all.

    Raises Nova's Fault 400 for a bad value and 403 for what only administrators may ask.
    """
    options = dict(options)
    if "status" in options:
        options["vm_state"] = _state_of(call, options["status"])
    if not spans_projects(call, options):
        options |= {"project_id": call.caller.project}
        options.pop("tenant_id", None)
    tests = [_existence(options)]
    tests += [_attribute_test(name, value) for name, value in options.items()]
    return tests


def spans_projects(call: Call, options: dict[str, str]) -> bool:
    """Return whether all projects are asked for; Nova's 403 if the caller may not."""
    value = options.get("all_tenants")
    if value is None or value.lower() in _FALSE:
        return False
    if not call.caller.is_admin:
        verb = "detail" if call.segments[-1] == "detail" else "index"
        raise forbidden(f"servers:{verb}:get_all_tenants")
    return True


def _state_of(call: Call, status: str) -> str:
    state = _STATES.get(status.lower())
    if state is None and call.minor >= 38:
        raise Fault(400, "Invalid status value")
    if state == "deleted" and not call.caller.is_admin:
        raise Fault(403, "Only administrators may list deleted instances")
    return state or "none"


def _existence(options: dict[str, str]) -> Test:
    """Test for deletion and time of change.

    Deleted rows show with changes-since or changes-before, or where an administrator asks.
    """
    since, before = options.get("changes-since"), options.get("changes-before")
    earliest = _seconds(since) if since else float("-inf")
    latest = _seconds(before) if before else float("inf")
    deleted = None if since or before else False
    if "deleted" in options:
        deleted = options["deleted"].lower() in _TRUE
    if options.get("vm_state") == "deleted":
        deleted = True

    def test(server: Server, now: float) -> bool:
        exists_as_wanted = deleted in (None, server.deleted is not None)
        if server.left_no_trace or not exists_as_wanted:
            return False
        return earliest <= server.updated_at(now) <= latest

    return test


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _attribute_test(name: str, value: str) -> Test:
    if name in _SEARCHED:
        attribute, pattern = _SEARCHED[name], re.compile(value)
        return lambda server, now: bool(pattern.search(_read(server, attribute, now) or ""))
    if name in _COMPARED:
        attribute = _COMPARED[name]
        return lambda server, now: str(_read(server, attribute, now)) == value
    if name in _TAG_FILTERS:
        return _tag_test(name, value.split(","))
    return _locked_test(value) if name == "locked" else _pass


def _read(server: Server, attribute: str, now: float) -> Any:
    """Return an attribute of a row, as of `now` where it changes as time passes."""
    value = getattr(server, attribute)
    return value(now) if callable(value) else value


def _pass(_server: Server, _now: float) -> bool:
    return True


def _tag_test(name: str, tags: list[str]) -> Test:
    gather, wanted = _TAG_FILTERS[name]
    return lambda server, _: gather(tag in server.tags for tag in tags) == wanted


def _locked_test(value: str) -> Test:
    word = value.lower()
    if word not in (*_TRUE, *_FALSE):
        accepted = ", ".join(repr(word) for word in sorted((*_TRUE, *_FALSE)))
        raise Fault(400, f"Unrecognized value '{value}', acceptable values are: {accepted}")
    return lambda server, _: (server.locked_by is not None) == (word in _TRUE)
