"""POST /servers: marked by a tag or by metadata, and found again by it.

Facts measured on Nova 34: a server is listed before its 202 goes out; tags can be given at the
create from 2.52 on (at most 50) and are filtered on from 2.26 on, below that the filter is
silently ignored, and so is a metadata filter: every returned row is checked again here. A deleted
server has lost its tags and is only listed with ``changes-since``.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec
import tenacity

from dedupd.cloud.ask import Asker, CannotAsk, document, query
from dedupd.cloud.probes import reservation
from dedupd.cloud.probes.base import (
    REFUSED,
    Absent,
    Errand,
    Finding,
    Found,
    Undecided,
    ask_as_before,
    common_headers,
)
from dedupd.exchange import NOT_JSON, Answer, Call, Headers
from dedupd.microversion import Microversion
from dedupd.request import Resource

TAGS_SINCE = Microversion(2, 52)
MAX_TAGS = 50
MAX_METADATA = 128
"""Nova's default quota metadata_items: one item more and a good request would be refused."""

TAG_PREFIX = "dedupd."
METADATA_KEY = "dedupd:id"
ASKING = Microversion(2, 69)
"""Tags and metadata in every row; in a bare listing, the servers of a cell that is down too."""

CELL_DOWN = "A cell of this Nova is down; what it holds cannot be seen."

CLOCK_SKEW = 300.0
"""Seconds by which Nova's clock may differ from ours."""

PASSWORD_GROUPS = ("23456789", "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz")
PASSWORD_LENGTH = 12
"""As Nova makes them (nova/utils.py ``generate_password``)."""

REQUEST_ID = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_result(lambda found: found is None),
    wait=tenacity.wait_exponential(multiplier=0.2, max=2),
    stop=tenacity.stop_after_attempt(11),
    retry_error_callback=lambda _: None,
)
"""Nova's conductor notes the create some 0.1 to 1 s after the 202, later where it is busy; where
it has not within 15 s, the id is left out."""


class Row(msgspec.Struct, frozen=True, rename={"disk_config": "OS-DCF:diskConfig"}):
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


class _Page(msgspec.Struct, frozen=True):
    servers: list[Row]


class ServerProbe:
    """The probe of POST /servers."""

    def __init__(self) -> None:
        """Nothing is known of this Nova's answers yet; by default they carry adminPass."""
        self._answers_carry_password = True

    def prepare(self, errand: Errand) -> Call:
        """The body with the mark, and with an adminPass that a lost answer cannot take away."""
        call = errand.payload.call
        server = _server(errand.document)
        if server is None:
            return call
        server = {"adminPass": password(errand.payload.seed)} | server | _mark(errand, server)
        body = msgspec.json.encode(errand.document | {"server": server})
        return msgspec.structs.replace(call, body=body)

    async def existed(self, errand: Errand, asker: Asker) -> bool | None:
        """No matter: every POST makes servers of its own."""
        return None

    async def look(self, errand: Errand, asker: Asker, *, thorough: bool = True) -> Finding:
        """By the mark; if thorough, then, for what was deleted or renamed since, by time.

        That may list every server of a large project.
        """
        server = _server(errand.document)
        if server is None or not _mark(errand, server):
            return Undecided("The request could not be marked, so it cannot be found again.")
        rows = _ours(errand, await _list(errand, asker, _quick_filter(errand, server)))
        if rows:
            return await self._adopt(errand, asker, rows)
        if not thorough:
            return Undecided("It was not looked for everywhere.")
        changed = await _list(errand, asker, _slow_filter(errand, server))
        if rows := _ours(errand, changed):
            return await self._adopt(errand, asker, rows)
        if doubtful := [row.id for row in changed if _may_be_ours(errand, server, row)]:
            return Undecided(
                f"Server {doubtful[0]} was made since and deleted, and Nova forgets the marks of "
                "a deleted server: it may be this request's, or not."
            )
        everything = await _bare_list(errand, asker)
        if rows := _ours(errand, everything):
            return await self._adopt(errand, asker, rows)
        return Undecided(CELL_DOWN) if _hides_some(errand, everything) else Absent()

    async def adopt(self, errand: Errand, asker: Asker, resource_id: str) -> Finding:
        """See ``Probe.adopt``; a server of another project or request is never adopted."""
        if _server(errand.document) is None:
            return Undecided("The request's body names no server.")
        row = await _named(errand, asker, resource_id)
        if row is None or row.tenant_id != errand.record.project_id:
            return Absent()
        if _marks(row) and not _ours(errand, [row]):
            return Undecided(f"Server {row.id} carries the mark of another request.")
        return await self._adopt(errand, asker, [row])

    def resource(self, errand: Errand, answer: Answer) -> Resource | None:
        """The server, or the reservation, that the answer names."""
        try:
            body = msgspec.json.decode(answer.body)
            if "reservation_id" in body:
                return Resource(type="reservation", id=body["reservation_id"])
            made = body["server"]
            resource = Resource(
                "server", made["id"], _display_name(errand), str(made["links"][0]["href"])
            )
            self._answers_carry_password = "adminPass" in made
        except (*NOT_JSON, KeyError, IndexError, TypeError):
            return None
        return resource

    async def discard(self, errand: Errand, resource: Resource, asker: Asker) -> bool:
        """Delete the server, if it still carries this request's mark."""
        target = f"{errand.base}/servers/{resource.id}"
        shown = await asker.as_caller(target, ASKING)
        if shown.status == 404:
            return False
        row = msgspec.convert(document(shown, "Showing a server")["server"], Row)
        if not _ours(errand, [row]):
            return False
        answer = await asker.as_caller(target, ASKING, method="DELETE")
        return answer.status in (204, 404)

    async def _adopt(self, errand: Errand, asker: Asker, rows: list[Row]) -> Finding:
        """The answer that was lost; of what was made twice, the oldest."""
        server = errand.document["server"]
        rows = sorted(rows, key=_order)
        wanted = int(server.get("max_count") or server.get("min_count") or 1)
        first, surplus = rows[0], tuple(row.id for row in rows[wanted:])
        headers = await _answer_headers(errand, asker, first)
        if not server.get("return_reservation_id"):
            links = _links(errand, first)
            link = links[0]["href"]
            headers = ((b"location", link.encode()), *headers)
            answer = Answer(202, headers, self._view(errand, first, links))
            made = Resource("server", first.id, _display_name(errand), link)
            return Found(answer, made, surplus)
        filters = _quick_filter(errand, server)
        found = await reservation.read(asker, errand.base, errand.root, first.id, filters)
        if found is None:
            return Undecided(f"Server {first.id} is there, but its reservation id cannot be read.")
        body = json.dumps({"reservation_id": found}).encode()
        return Found(Answer(202, headers, body), Resource("reservation", found), surplus)

    def _view(self, errand: Errand, row: Row, links: list[dict[str, str]]) -> bytes:
        """The body byte for byte as Nova makes it (views/servers.py ``create``)."""
        server = errand.document["server"]
        view: dict[str, Any] = {
            "id": row.id,
            "links": links,
            "OS-DCF:diskConfig": row.disk_config,
            "security_groups": server.get("security_groups", [{"name": "default"}]),
        }
        if self._answers_carry_password:
            view["adminPass"] = server.get("adminPass", password(errand.payload.seed))
        return json.dumps({"server": view}).encode()


def password(seed: bytes) -> str:
    """A password grown from ``seed``: the same each time, one character of each group at least."""
    stream = iter(hashlib.shake_256(b"adminPass" + seed).digest(64 * PASSWORD_LENGTH))

    def pick(symbols: str) -> str:
        limit = 256 - 256 % len(symbols)
        return symbols[next(byte for byte in stream if byte < limit) % len(symbols)]

    chosen = [pick(group) for group in PASSWORD_GROUPS]
    everything = "".join(PASSWORD_GROUPS)
    chosen += [pick(everything) for _ in range(PASSWORD_LENGTH - len(chosen))]
    return "".join(sorted(chosen, key=lambda _: next(stream)))


def _display_name(errand: Errand) -> str:
    return str(errand.document["server"].get("name", "")).strip()


def _server(body: Any) -> dict[str, Any] | None:
    server = body.get("server") if isinstance(body, dict) else None
    return server if isinstance(server, dict) else None


def _mark(errand: Errand, server: dict[str, Any]) -> dict[str, Any]:
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


def _ours(errand: Errand, rows: Iterable[Row]) -> list[Row]:
    """Never trust a filter: only rows that carry the mark."""
    mark = errand.record.id
    return [
        row
        for row in rows
        if TAG_PREFIX + mark in row.tags or row.metadata.get(METADATA_KEY) == mark
    ]


def _marks(row: Row) -> bool:
    """Whether it was made for some request of dedupd's."""
    return METADATA_KEY in row.metadata or any(tag.startswith(TAG_PREFIX) for tag in row.tags)


async def _named(errand: Errand, asker: Asker, server_id: str) -> Row | None:
    path = f"{errand.modern_root}/servers/{quote(server_id, safe='')}"
    shown = await asker.as_caller(path, ASKING)
    if shown.status in REFUSED:
        shown = await asker.as_service(path, ASKING)
    if shown.status == 404:
        return None
    return msgspec.convert(document(shown, "Showing a server")["server"], Row)


def _quick_filter(errand: Errand, server: dict[str, Any]) -> dict[str, str]:
    if _tagged(errand, server):
        return {"tags": TAG_PREFIX + errand.record.id}
    return {"name": _name_pattern(server)}


def _slow_filter(errand: Errand, server: dict[str, Any]) -> dict[str, str]:
    """A marked-by-metadata server may have been renamed, so there it is time alone."""
    since = {"changes-since": _timestamp(_earliest(errand))}
    return since | ({"name": _name_pattern(server)} if _tagged(errand, server) else {})


def _name_pattern(server: dict[str, Any]) -> str:
    """Nova's name filter is the database's regular expression: everything odd is escaped."""
    name = str(server.get("name", "")).strip()
    escaped = re.sub(r"([^\w\s-])", r"\\\1", name)
    return f"^{escaped}(-[0-9]+)?$"


def _earliest(errand: Errand) -> float:
    first = errand.record.first_sent_at
    return (errand.record.created_at if first is None else first) - CLOCK_SKEW


def _timestamp(when: float) -> str:
    moment = datetime.datetime.fromtimestamp(when, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _may_be_ours(errand: Errand, server: dict[str, Any], row: Row) -> bool:
    """A deleted row without a mark, of this user and name, that was made since."""
    return (
        row.status == "DELETED"
        and row.user_id in ("", errand.record.user_id)
        and row.created >= _timestamp(_earliest(errand))
        and re.fullmatch(_name_pattern(server), row.name or "") is not None
    )


def _order(row: Row) -> tuple[str, int, str]:
    """The oldest first; of one multi-create, ``x-1`` first, as Nova's answer names it."""
    number = re.search(r"-([0-9]+)$", row.name or "")
    return (row.created, int(number[1]) if number else 0, row.id)


async def _list(errand: Errand, asker: Asker, filters: dict[str, str]) -> list[Row]:
    """All pages; as the caller, or as the service user where the caller's token has ended.

    Each server once: Nova may list one on two pages while it leaves the scheduler (measured).
    """
    rows: dict[str, Row] = {}
    marker: dict[str, str] = {}
    while True:
        page = {row.id: row for row in await _page(errand, asker, filters | marker)}
        if page.keys() <= rows.keys():
            return list(rows.values())
        rows |= page
        marker = {"marker": list(page)[-1]}


async def _page(errand: Errand, asker: Asker, filters: dict[str, str]) -> list[Row]:
    answer = await asker.as_caller(query(f"{errand.base}/servers/detail", filters), ASKING)
    if answer.status in REFUSED:
        everyone = {"all_tenants": "1", "project_id": errand.record.project_id}
        target = query(f"{errand.root}/servers/detail", filters | everyone)
        answer = await asker.as_service(target, ASKING)
    return _rows(answer)


def _rows(answer: Answer) -> list[Row]:
    if answer.status != 200:
        raise CannotAsk(f"Listing servers: Nova answered {answer.status}.")
    try:
        return msgspec.json.decode(answer.body, type=_Page).servers
    except NOT_JSON as error:
        raise CannotAsk(f"Listing servers: Nova's answer cannot be read: {error}") from None


async def _bare_list(errand: Errand, asker: Asker) -> list[Row]:
    """Nova leaves the servers of a cell that is down out of every list but a bare one.

    The service user is shown every project's; a mark in another project would be a forgery.
    """
    answer = await asker.as_caller(f"{errand.modern_root}/servers/detail", ASKING)
    if answer.status not in REFUSED:
        return _rows(answer)
    target = f"{errand.modern_root}/servers/detail?all_tenants=1"
    rows = _rows(await asker.as_service(target, ASKING))
    return [row for row in rows if row.tenant_id == errand.record.project_id]


def _hides_some(errand: Errand, everything: list[Row]) -> bool:
    """Whether a server made since is in a cell that is down: its row has not even a name."""
    since = _timestamp(_earliest(errand))
    return any(row.name is None and row.created >= since for row in everything)


def _links(errand: Errand, row: Row) -> list[dict[str, str]]:
    """The row's links as the caller would see them: Nova keeps a project in the path in them.

    The service user asks without it, since Nova refuses it another project's path.
    """
    bare = f"/servers/{row.id}"
    full = errand.base.removeprefix(errand.root) + bare

    def complete(link: dict[str, str]) -> dict[str, str]:
        return link | {"href": link["href"].removesuffix(full).removesuffix(bare) + full}

    return [complete(link) for link in row.links]


async def _answer_headers(errand: Errand, asker: Asker, row: Row) -> Headers:
    """The headers of the lost answer: Nova echoes the microversion that the caller asked for."""
    path = f"/servers/{row.id}"

    async def request_id() -> bytes | None:
        shown = await ask_as_before(errand, asker, f"{path}/os-instance-actions")
        return _create_request_id(shown)

    kept = common_headers(await ask_as_before(errand, asker, path))
    value: bytes | None = await REQUEST_ID.copy()(request_id)
    if value is None:
        return kept
    return (*kept, (b"x-openstack-request-id", value), (b"x-compute-request-id", value))


def _create_request_id(answer: Answer) -> bytes | None:
    """Nova's own id of the lost request: its instance actions remember it."""
    try:
        actions = msgspec.json.decode(answer.body)["instanceActions"]
        return next(
            str(item["request_id"]).encode() for item in actions if item["action"] == "create"
        )
    except (*NOT_JSON, KeyError, TypeError, StopIteration):
        return None
