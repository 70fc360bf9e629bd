"""GET /servers as pages: which rows, in which order, from where, how many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from dedupd.sim.nova.call import Call
from dedupd.sim.nova.server_filters import spans_projects, tests_for
from dedupd.sim.nova.server_query import PAGING, effective_options
from dedupd.sim.nova.wire import Fault
from dedupd.sim.nova.world import Server, World


class Page(msgspec.Struct, frozen=True):
    """One page of GET /servers."""

    out_of_sight: list[Server]
    """What is told of cells that are down; it stands first."""
    servers: list[Server]
    full: bool


def listed(world: World, call: Call) -> Page:
    """Return the page of servers that the query asks for.

    What is in a cell that is down is left out; a bare list tells that it is there, as far as its
    page has room (API.get_all in nova/compute/api.py).

    Raises Nova's Fault 400 for malformed parameters and 403 for what only administrators may ask.
    """
    options = effective_options(call)
    tests = tests_for(call, options)
    rows = _candidates(world, call, options)
    found = [server for server in rows if all(test(server, call.now) for test in tests)]
    seen = [server for server in found if not world.is_out_of_sight(server, call.now)]
    page, limit = _page(world, call, _sorted(call, seen))
    hidden = [server for server in found if world.is_out_of_sight(server, call.now)]
    shown = hidden[: limit - len(page)] if _is_bare(call, options) else []
    return Page(shown, page, 0 < limit == len(shown) + len(page))


def _candidates(world: World, call: Call, options: dict[str, str]) -> Iterable[Server]:
    """Return the rows worth testing: by tag, by exact name, by project, or all."""
    if "tags" in options:
        return world.tagged.get(options["tags"].split(",")[0], {}).values()
    name = _literal(options.get("name", ""))
    if name is not None:
        return world.named.get(name, {}).values()
    if spans_projects(call, options):
        return world.servers.values()
    return world.projects.get(call.caller.project, {}).values()


_EXACT_NAME = re.compile(r"\^((?:[^.^$*+?{}\[\]\\|()]|\\\W)*)\$")
"""A pattern that matches one text only: no special character but escaped ones."""


def _literal(pattern: str) -> str | None:
    """Return the one text that a pattern `^text$` matches, None if it is of any other form."""
    matched = _EXACT_NAME.fullmatch(pattern)
    return re.sub(r"\\(\W)", r"\1", matched[1]) if matched else None


_SORT_COLUMNS: dict[str, Callable[[Server], Any]] = {
    "created_at": lambda server: int(server.created),
    "display_name": lambda server: server.name,
    "updated_at": lambda server: server.updated,
    "launch_index": lambda server: server.launch_index,
    "hostname": lambda server: server.hostname,
    "uuid": lambda server: server.id,
    "user_id": lambda server: server.user,
}


def _sorted(call: Call, found: list[Server]) -> list[Server]:
    """Order the rows: newest first unless asked otherwise; within one second, by id.

    What has no host yet stands before all others, as in Nova (``API.get_all``): what is behind a
    marker that gets its host between two pages is therefore on neither.
    """
    keys = [value for name, value in call.query if name == "sort_key" and value in _SORT_COLUMNS]
    directions = [value for name, value in call.query if name == "sort_dir"]
    keys = keys or ["created_at"]
    directions += [directions[-1] if directions else "desc"] * (len(keys) - len(directions))
    ordered = sorted(found, key=lambda server: server.id)
    for key, direction in reversed(list(zip(keys, directions, strict=False))):
        ordered.sort(key=_SORT_COLUMNS[key], reverse=direction == "desc")
    ordered.sort(key=lambda server: server.is_hosted(call.now))
    return ordered


def _is_bare(call: Call, options: dict[str, str]) -> bool:
    """Whether it tells of cells that are down (_is_cell_down_supported in Nova's servers.py)."""
    asked = {name for name, _ in call.query}
    return call.minor >= 69 and asked.isdisjoint(PAGING) and options.keys() <= {"all_tenants"}


def _page(world: World, call: Call, found: list[Server]) -> tuple[list[Server], int]:
    """Return the page, and how many may be on it."""
    marker = call.last("marker")
    if marker is not None:
        if marker not in world.servers:
            raise Fault(400, f"marker [{marker}] not found")
        found = _after(call, found, world.servers[marker])
    most = world.settings.page_limit
    limit = min(int(call.last("limit") or most), most)
    return found[:limit], limit


def _after(call: Call, found: list[Server], marker: Server) -> list[Server]:
    """Return the rows after the marker, which itself need not be among them."""
    rows = found if marker in found else _sorted(call, [*found, marker])
    return rows[rows.index(marker) + 1 :]
