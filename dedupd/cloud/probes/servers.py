"""POST /servers: marked by a tag or by metadata, and found again by it.

``server_rows.py`` knows what Nova lists, ``server_answer.py`` what it answers.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dedupd.cloud.ask import Asker, CannotAsk
from dedupd.cloud.probes import reservation
from dedupd.cloud.probes.base import Absent, Discarded, Errand, Finding, Found, Undecided
from dedupd.cloud.probes.server_answer import (
    answer_headers,
    complete_links,
    display_name,
    password,
    posts_of,
    view,
)
from dedupd.cloud.probes.server_cells import CELL_DOWN, listed_bare
from dedupd.cloud.probes.server_rows import (
    ASKING,
    Row,
    complete_filter,
    is_marked,
    listed,
    mark,
    marked,
    may_be_ours,
    order,
    ours,
    quick_filter,
    server_of,
    shown,
    slow_filter,
)
from dedupd.exchange import NOT_JSON, Answer, Call
from dedupd.request import Resource

REQUEST_ID_SECONDS = 15.0
"""Where nothing else is configured (``[nova] request_id_seconds``)."""


class ServerProbe:
    """The probe of POST /servers."""

    existed = None
    """No matter: every POST makes servers of its own."""

    def __init__(self, request_id_seconds: float = REQUEST_ID_SECONDS) -> None:
        """Nothing is known of this Nova's answers yet; by default they carry adminPass.

        ``request_id_seconds``: how long an answer that was lost waits for Nova's own id of it.
        """
        self._answers_carry_password = True
        self._request_id_seconds = request_id_seconds

    def prepare(self, errand: Errand) -> Call:
        """The body with the mark, and with an adminPass that a lost answer cannot take away."""
        call = errand.payload.call
        server = server_of(errand.document)
        if server is None:
            return call
        server = {"adminPass": password(errand.payload.seed)} | server | mark(errand, server)
        body = msgspec.json.encode(errand.document | {"server": server})
        return msgspec.structs.replace(call, body=body)

    async def look(self, errand: Errand, asker: Asker, *, thorough: bool = True) -> Finding:
        """By the mark; if thorough, then, for what was deleted or renamed since, by time.

        That may list every server of a large project.
        """
        server = server_of(errand.document)
        if server is None or not mark(errand, server):
            return Undecided("The request could not be marked, so it cannot be found again.")
        named = await listed(errand, asker, quick_filter(errand, server))
        if rows := ours(errand, named):
            return await self._adopt(errand, asker, rows)
        if not thorough:
            return Undecided("It was not looked for everywhere.")
        changed = await listed(errand, asker, slow_filter(errand, server))
        if rows := ours(errand, changed):
            return await self._adopt(errand, asker, rows)
        if doubtful := [row.id for row in changed if may_be_ours(errand, server, row)]:
            return Undecided(
                f"Server {doubtful[0]} was made since and deleted, and Nova forgets the marks of "
                "a deleted server: it may be this request's, or not."
            )
        rest, hidden = await listed_bare(errand, asker, complete_filter(errand, server))
        if rows := ours(errand, rest):
            return await self._adopt(errand, asker, rows)
        if hidden:
            return Undecided(hidden)
        return _absent(marked(errand, (*named, *changed, *rest)))

    async def adopt(self, errand: Errand, asker: Asker, resource_id: str) -> Finding:
        """See ``Probe.adopt``; a server of another project or request is never adopted."""
        if server_of(errand.document) is None:
            return Undecided("The request's body names no server.")
        row = await shown(errand, asker, resource_id)
        if row is None or row.tenant_id != errand.record.project_id:
            return Absent()
        if is_marked(row) and not ours(errand, [row]):
            return Undecided(
                f"Server {row.id} carries the mark of another request, or was made by another user "
                "or before this one was sent, when its token had been used before."
            )
        return await self._adopt(errand, asker, [row])

    def resource(self, errand: Errand, answer: Answer) -> Resource | None:
        """The server, or the reservation, that the answer names."""
        try:
            body = msgspec.json.decode(answer.body)
            if "reservation_id" in body:
                return Resource(type="reservation", id=body["reservation_id"])
            made = body["server"]
            resource = Resource(
                "server", made["id"], display_name(errand), str(made["links"][0]["href"])
            )
            self._answers_carry_password = "adminPass" in made
        except (*NOT_JSON, KeyError, IndexError, TypeError):
            return None
        return resource

    def complete(self, errand: Errand, answer: Answer) -> Answer:
        """As it came: Nova repeats the password that was sent."""
        return answer

    async def surplus(
        self, errand: Errand, named: Resource | None, asker: Asker
    ) -> tuple[Resource, ...]:
        """By the mark; of several servers that one POST makes, none or all are surplus.

        Those that are seen, also where nobody is told whether a cell is down: to leave them for
        what it may hide would leave two where there can be one.
        """
        server = server_of(errand.document)
        if server is None or not mark(errand, server):
            raise CannotAsk("The request could not be marked, so it cannot be found again.")
        filters = complete_filter(errand, server)
        first = await listed(errand, asker, filters)
        rest, hidden = await listed_bare(errand, asker, filters)
        if hidden == CELL_DOWN:
            raise CannotAsk(hidden)
        rows = {row.id: row for row in ours(errand, (*first, *rest))}
        others = await _made_otherwise(errand, asker, [*rows.values()], named)
        return tuple(Resource("server", row.id) for row in others)

    async def discard(
        self, errand: Errand, resource: Resource, asker: Asker
    ) -> tuple[Discarded, ...]:
        """Delete what the POST made that made this, as far as it still carries the mark."""
        rows = await _made(errand, resource, asker)
        return tuple([await _discarded(errand, row, asker) for row in rows])

    async def _adopt(self, errand: Errand, asker: Asker, rows: list[Row]) -> Finding:
        """The answer that was lost; of what was made twice, the oldest."""
        server = errand.document["server"]
        first, *others = sorted(rows, key=order)
        surplus = await _surplus(errand, asker, first, others)
        headers = await answer_headers(errand, asker, first, self._request_id_seconds)
        if not server.get("return_reservation_id"):
            links = complete_links(errand, first)
            link = links[0]["href"]
            headers = ((b"location", link.encode()), *headers)
            body = view(errand, first, links, password=self._password(errand))
            made = Resource("server", first.id, display_name(errand), link)
            return Found(Answer(202, headers, body), made, surplus)
        filters = quick_filter(errand, server)
        found = await reservation.read(asker, errand.base, errand.modern_root, first.id, filters)
        if found is None:
            return Undecided(f"Server {first.id} is there, but its reservation id cannot be read.")
        body = json.dumps({"reservation_id": found}).encode()
        return Found(Answer(202, headers, body), Resource("reservation", found), surplus)

    def _password(self, errand: Errand) -> str | None:
        """The adminPass that the lost answer told, if this Nova's answers tell one."""
        if not self._answers_carry_password:
            return None
        given: str = errand.document["server"].get("adminPass", password(errand.payload.seed))
        return given


async def _discarded(errand: Errand, row: Row, asker: Asker) -> Discarded:
    """Delete this server. One that Nova does not delete keeps none of the others."""
    resource = Resource("server", row.id)
    try:
        answer = await asker.as_caller(f"{errand.base}/servers/{row.id}", ASKING, method="DELETE")
    except CannotAsk as error:
        return Discarded(resource, str(error))
    gone = answer.status in (204, 404)
    return Discarded(resource, "" if gone else f"Nova answered {answer.status}.")


def _absent(older: list[Row]) -> Finding:
    """Absent, unless something bears the mark: a wrong clock may be why it seems to be older."""
    if not older:
        return Absent()
    return Undecided(
        f"Server {older[0].id} carries this request's mark, and was made by another user or before "
        "this request was sent: its token was used before, or clocks differ by minutes."
    )


def _wanted(server: dict[str, Any]) -> int:
    """How many servers the request asks for."""
    return int(server.get("max_count") or server.get("min_count") or 1)


async def _surplus(
    errand: Errand, asker: Asker, first: Row, others: list[Row]
) -> tuple[Resource, ...]:
    """What was made beyond ``first`` and those that came with it: by another POST, so twice."""
    wanted = _wanted(errand.document["server"])
    if wanted == 1:
        return tuple(Resource("server", row.id) for row in others)
    if len(others) < wanted:
        return ()
    posts = await posts_of(errand, asker, (first, *others))
    post = posts[first.id]
    if post is None:
        return ()
    return tuple(Resource("server", row.id) for row in others if posts[row.id] not in (post, None))


async def _made_otherwise(
    errand: Errand, asker: Asker, rows: list[Row], named: Resource | None
) -> list[Row]:
    """Those that were made by another POST than ``named``.

    Raises:
        CannotAsk: it cannot be told of each.
    """
    if named is None:
        return rows
    if named.type == "reservation":
        made = {row.id for row in await _made(errand, named, asker)}
    elif _wanted(errand.document["server"]) == 1:
        made = {named.id}
    else:
        made = await _with(errand, asker, rows, named)
    others = [row for row in rows if row.id not in made]
    if others and not made:
        raise CannotAsk(f"{named.type} {named.id} is not there to be compared with.")
    return others


async def _with(errand: Errand, asker: Asker, rows: list[Row], named: Resource) -> set[str]:
    """Which of the rows came with the named server; empty where that is not among them.

    Raises:
        CannotAsk: it cannot be told of each.
    """
    posts = await posts_of(errand, asker, rows)
    if None in posts.values():
        raise CannotAsk("It cannot be told of each server which POST made it.")
    post = posts.get(named.id)
    return {id_ for id_, made_by in posts.items() if made_by == post}


async def _made(errand: Errand, resource: Resource, asker: Asker) -> list[Row]:
    """The servers that one POST of this request made, told by what its answer named.

    Raises:
        CannotAsk: it cannot be told of each, as in the first second after it was made.
    """
    if resource.type == "reservation":
        return ours(errand, await listed(errand, asker, {"reservation_id": resource.id}))
    row = await shown(errand, asker, resource.id)
    if row is None or not ours(errand, [row]):
        return []
    server = errand.document["server"]
    if _wanted(server) == 1:
        return [row]
    others = ours(errand, await listed(errand, asker, quick_filter(errand, server)))
    rows = [row, *(other for other in others if other.id != row.id)]
    made = await _with(errand, asker, rows, resource)
    return [other for other in rows if other.id in made]
