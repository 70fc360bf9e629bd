"""What Nova lists of servers: which rows a request asks for, and which of them are its own.

Facts measured on Nova 34: a server is listed before its 202 goes out; tags can be given at the
create from 2.52 on (at most 50) and are filtered on from 2.26 on, below that the filter is
silently ignored, and so is a metadata filter: every returned row is checked again here. A deleted
server has lost its tags and is only listed with ``changes-since``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from dedupd.cloud.ask import Asker, CannotAsk, document, query
from dedupd.cloud.probes.base import REFUSED, Errand
from dedupd.exchange import NOT_JSON, Answer
from dedupd.microversion import Microversion

TAGS_SINCE = Microversion(2, 52)
MAX_TAGS = 50
MAX_METADATA = 128
"""Nova's default quota metadata_items: one item more and a good request would be refused."""

TAG_PREFIX = "dedupd."
METADATA_KEY = "dedupd:id"
ASKING = Microversion(2, 69)
"""Tags and metadata in every row; in a bare listing, the servers of a cell that is down too."""

SCHEDULING = "scheduling"
"""The task of a server that has no host yet; it stays so for a moment when it has one."""

CLOCK_SKEW = 300.0
"""Seconds by which Nova's clock may differ from ours."""


_NAMES = {"disk_config": "OS-DCF:diskConfig", "task": "OS-EXT-STS:task_state"}


class Row(msgspec.Struct, frozen=True, rename=_NAMES):
    """What a listing tells of one server; a cell that is down tells almost nothing."""

    id: str
    links: list[dict[str, str]]
    status: str = "UNKNOWN"
    name: str | None = None
    tenant_id: str = ""
    user_id: str = ""
    created: str = ""
    metadata: dict[str, str] = {}
    tags: list[str] = []
    disk_config: str = "MANUAL"
    task: str | None = SCHEDULING

    @property
    def waits_for_a_host(self) -> bool:
        """Whether it may not have been scheduled yet."""
        return self.status == "BUILD" and self.task == SCHEDULING


class Page(msgspec.Struct, frozen=True):
    """One page of a list."""

    servers: list[Row]
    servers_links: list[Any] = []

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more (``_get_collection_links``, nova/.../common.py)."""
        return bool(self.servers_links)


def server_of(body: Any) -> dict[str, Any] | None:
    """The server that a request's body describes, or None where it describes none."""
    server = body.get("server") if isinstance(body, dict) else None
    return server if isinstance(server, dict) else None


def mark(errand: Errand, server: dict[str, Any]) -> dict[str, Any]:
    """The member of the body that marks it; empty where there is no room for a mark."""
    if _tagged(errand, server):
        return {"tags": [*server.get("tags", []), TAG_PREFIX + errand.record.id]}
    metadata = server.get("metadata", {})
    if not isinstance(metadata, dict) or len(metadata) >= MAX_METADATA:
        return {}
    return {"metadata": metadata | {METADATA_KEY: errand.record.id}}


def _tagged(errand: Errand, server: dict[str, Any]) -> bool:
    tags = server.get("tags", [])
    return errand.effective >= TAGS_SINCE and isinstance(tags, list) and len(tags) < MAX_TAGS


def marked(errand: Errand, rows: Iterable[Row]) -> list[Row]:
    """Never trust a filter: only rows that carry the mark."""
    mark = errand.record.id
    return [
        row
        for row in rows
        if TAG_PREFIX + mark in row.tags or row.metadata.get(METADATA_KEY) == mark
    ]


def ours(errand: Errand, rows: Iterable[Row]) -> list[Row]:
    """Those that carry the mark and were made since the first send, by this user.

    The token may have been used before, and its tombstone have ended: what an older request made
    bears the same mark, and is neither this one's effect nor a second one of it.
    """
    made, user_id = since(errand), errand.record.user_id
    return [row for row in marked(errand, rows) if row.created >= made and row.user_id == user_id]


def is_marked(row: Row) -> bool:
    """Whether it was made for some request of dedupd's."""
    return METADATA_KEY in row.metadata or any(tag.startswith(TAG_PREFIX) for tag in row.tags)


async def shown(errand: Errand, asker: Asker, server_id: str) -> Row | None:
    """One server, or None where it is not there; as the service user where the caller may not.

    Raises:
        CannotAsk: the cloud did not tell.
    """
    path = f"{errand.modern_root}/servers/{quote(server_id, safe='')}"
    shown = await asker.as_caller(path, ASKING)
    if shown.status in REFUSED:
        shown = await asker.as_service(path, ASKING)
    if shown.status == 404:
        return None
    return msgspec.convert(document(shown, "Showing a server")["server"], Row)


async def listed(errand: Errand, asker: Asker, filters: dict[str, str]) -> list[Row]:
    """All pages; as the caller, or as the service user where the caller's token has ended.

    Each server once: Nova may list one on two pages while it leaves the scheduler. It may also
    leave some out (both measured): what waits for a host stands first, and once the last of a page
    has one, the next page begins behind it (``API.get_all`` in nova/compute/api.py).

    Raises:
        CannotAsk: the cloud did not tell; or none of them is ours, and some may be left out.
    """
    rows: dict[str, Row] = {}
    complete = True
    page = await _page(errand, asker, filters)
    while any(row.id not in rows for row in page):
        rows |= {row.id: row for row in page}
        complete = complete and not page[-1].waits_for_a_host
        page = await _page(errand, asker, filters | {"marker": page[-1].id})
    found = list(rows.values())
    if not complete and not ours(errand, found):
        raise CannotAsk("Servers wait for a host while Nova lists them; some may be left out.")
    return found


async def _page(errand: Errand, asker: Asker, filters: dict[str, str]) -> list[Row]:
    answer = await asker.as_caller(query(f"{errand.base}/servers/detail", filters), ASKING)
    if answer.status in REFUSED:
        everyone = {"all_tenants": "1", "project_id": errand.record.project_id}
        target = query(f"{errand.root}/servers/detail", filters | everyone)
        answer = await asker.as_service(target, ASKING)
    return page_of(answer).servers


def page_of(answer: Answer) -> Page:
    """The page that an answer holds.

    Raises:
        CannotAsk: it holds none.
    """
    if answer.status != 200:
        raise CannotAsk(f"Listing servers: Nova answered {answer.status}.")
    try:
        return msgspec.json.decode(answer.body, type=Page)
    except NOT_JSON as error:
        raise CannotAsk(f"Listing servers: Nova's answer cannot be read: {error}") from None


def quick_filter(errand: Errand, server: dict[str, Any]) -> dict[str, str]:
    """By the mark where Nova filters by it, else by name."""
    if _tagged(errand, server):
        return {"tags": TAG_PREFIX + errand.record.id}
    return {"name": _name_pattern(server)}


def slow_filter(errand: Errand, server: dict[str, Any]) -> dict[str, str]:
    """A marked-by-metadata server may have been renamed, so there it is time alone."""
    changed = {"changes-since": since(errand)}
    return changed | ({"name": _name_pattern(server)} if _tagged(errand, server) else {})


def complete_filter(errand: Errand, server: dict[str, Any]) -> dict[str, str]:
    """What shows every server that bears the mark, whatever it is called by now."""
    return (quick_filter if _tagged(errand, server) else slow_filter)(errand, server)


def _name_pattern(server: dict[str, Any]) -> str:
    """Nova's name filter is the database's regular expression: everything odd is escaped."""
    name = str(server.get("name", "")).strip()
    escaped = re.sub(r"([^\w\s-])", r"\\\1", name)
    return f"^{escaped}(-[0-9]+)?$"


def since(errand: Errand) -> str:
    """When this request can have made something first, by Nova's clock and in its form."""
    first = errand.record.first_sent_at
    earliest = (errand.record.created_at if first is None else first) - CLOCK_SKEW
    moment = datetime.datetime.fromtimestamp(earliest, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def may_be_ours(errand: Errand, server: dict[str, Any], row: Row) -> bool:
    """A deleted row without a mark, of this user and name, that was made since."""
    return (
        row.status == "DELETED"
        and row.user_id in ("", errand.record.user_id)
        and row.created >= since(errand)
        and re.fullmatch(_name_pattern(server), row.name or "") is not None
    )


def order(row: Row) -> tuple[str, int, str]:
    """The oldest first; of one multi-create, ``x-1`` first, as Nova's answer names it."""
    number = re.search(r"-([0-9]+)$", row.name or "")
    return (row.created, int(number[1]) if number else 0, row.id)
