"""The answer to a create of servers, as Nova would have given it, rebuilt from what it shows."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import tenacity

from dedupd.cloud.ask import Asker, CannotAsk
from dedupd.cloud.probes.base import Errand, ask_as_before, common_headers
from dedupd.cloud.probes.server_rows import Row
from dedupd.exchange import NOT_JSON, Headers

PASSWORD_GROUPS = ("23456789", "ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz")
PASSWORD_LENGTH = 12
"""As Nova makes them (nova/utils.py ``generate_password``)."""

_ALL_GROUPS = "".join(PASSWORD_GROUPS)
_PASSWORD_BYTES = 16 * PASSWORD_LENGTH
"""Of two for each character, one in seven is passed over: so many are never used up."""


def noting(patience: float) -> tenacity.AsyncRetrying:
    """Ask for the request id until it is noted; None after ``patience`` seconds.

    Nova's conductor notes the create some 0.1 to 1 s after the 202, later where it is busy. Where
    the cloud does not tell it, that is no reason to keep the rest of the answer back.
    """
    loop = asyncio.get_running_loop()
    ends = loop.time() + patience
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_result(lambda found: found is None)
        | tenacity.retry_if_exception_type(CannotAsk),
        wait=tenacity.wait_exponential(multiplier=0.2, max=2),
        stop=lambda _: loop.time() >= ends,
        retry_error_callback=lambda _: None,
    )


def password(seed: bytes) -> str:
    """A password grown from ``seed``: the same each time, one character of each group at least."""
    stream = iter(hashlib.shake_256(b"adminPass" + seed).digest(_PASSWORD_BYTES))

    def pick(symbols: str) -> str:
        limit = 256 - 256 % len(symbols)
        while (byte := next(stream)) >= limit:
            pass
        return symbols[byte % len(symbols)]

    chosen = [pick(group) for group in PASSWORD_GROUPS]
    chosen += [pick(_ALL_GROUPS) for _ in range(PASSWORD_LENGTH - len(chosen))]
    return "".join(sorted(chosen, key=lambda _: next(stream)))


def display_name(errand: Errand) -> str:
    """The name that Nova gives the first server, as it stands in the body."""
    return str(errand.document["server"].get("name", "")).strip()


def complete_links(errand: Errand, row: Row) -> list[dict[str, str]]:
    """The row's links as the caller would see them: Nova keeps a project in the path in them.

    The service user asks without it, since Nova refuses it another project's path.
    """
    bare = f"/servers/{row.id}"
    full = errand.base.removeprefix(errand.root) + bare

    def complete(link: dict[str, str]) -> dict[str, str]:
        return link | {"href": link["href"].removesuffix(full).removesuffix(bare) + full}

    return [complete(link) for link in row.links]


async def answer_headers(errand: Errand, asker: Asker, row: Row, patience: float) -> Headers:
    """The headers of the lost answer: Nova echoes the microversion that the caller asked for.

    Without Nova's request id where it is not told within ``patience`` seconds.
    """
    kept = common_headers(await ask_as_before(errand, asker, f"/servers/{row.id}"))
    value: bytes | None = await noting(patience)(create_request_id, errand, asker, row)
    if value is None:
        return kept
    return (*kept, (b"x-openstack-request-id", value), (b"x-compute-request-id", value))


async def create_request_id(errand: Errand, asker: Asker, row: Row) -> bytes | None:
    """Nova's own id of the POST that made the server: its instance actions remember it.

    None where they do not yet.

    Raises:
        CannotAsk: the cloud did not tell.
    """
    shown = await ask_as_before(errand, asker, f"/servers/{row.id}/os-instance-actions")
    try:
        actions = msgspec.json.decode(shown.body)["instanceActions"]
        return next(
            str(item["request_id"]).encode() for item in actions if item["action"] == "create"
        )
    except (*NOT_JSON, KeyError, TypeError, StopIteration):
        return None


async def posts_of(errand: Errand, asker: Asker, rows: Iterable[Row]) -> dict[str, bytes | None]:
    """Which POST made each server, by the server's id: see ``create_request_id``."""
    return {row.id: await create_request_id(errand, asker, row) for row in rows}


def view(errand: Errand, row: Row, links: list[dict[str, str]], *, password: str | None) -> bytes:
    """The body byte for byte as Nova makes it (views/servers.py ``create``).

    Args:
        errand: The request.
        row: The first server.
        links: Its links.
        password: Its adminPass, or None where this Nova tells none.
    """
    shown: dict[str, Any] = {
        "id": row.id,
        "links": links,
        "OS-DCF:diskConfig": row.disk_config,
        "security_groups": errand.document["server"].get("security_groups", [{"name": "default"}]),
    }
    if password is not None:
        shown["adminPass"] = password
    return json.dumps({"server": shown}).encode()
