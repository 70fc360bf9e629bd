"""Reading a reservation id: the whole answer of a create with ``return_reservation_id``.

Nova shows it to administrators only, but lets everyone filter by it, and that filter is a regular
expression (nova/db/main/api.py ``_regex_instance_filter``): so anyone may read the id of his own
server by yes/no questions, six for each of its eight characters (measured on Nova 34).
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Mapping

import msgspec

from dedupd.cloud.ask import Asker, document, query
from dedupd.exchange import NOT_JSON, Answer
from dedupd.microversion import Microversion

ALPHABET = string.digits + string.ascii_lowercase
LENGTH = 8
"""nova/utils.py ``generate_uid``: ``r-`` and eight characters of this alphabet."""

BITS = 6
PREFIX = "r-"
_ASKING = Microversion(2, 69)


async def read(
    asker: Asker, base: str, root: str, server_id: str, filters: Mapping[str, str]
) -> str | None:
    """The reservation id of one server, or None where it cannot be read.

    Args:
        asker: Who asks.
        base: The API's root in the caller's path.
        root: The API's root for the service user; a microversion must count there (2.3 or later).
        server_id: The server.
        filters: What narrows a listing down to that server, or a few with it.

    Raises:
        CannotAsk: the cloud did not tell.
    """
    shown = _shown(await asker.as_caller(f"{base}/servers/{server_id}", _ASKING))
    if shown is None and asker.has_service_user:
        shown = _shown(await asker.as_service(f"{root}/servers/{server_id}", _ASKING))
    return shown or await _deduced(asker, f"{base}/servers", server_id, filters)


def _shown(answer: Answer) -> str | None:
    try:
        body = msgspec.json.decode(answer.body)
        return str(body["server"]["OS-EXT-SRV-ATTR:reservation_id"])
    except (*NOT_JSON, KeyError, TypeError):
        return None


async def _deduced(
    asker: Asker, path: str, server_id: str, filters: Mapping[str, str]
) -> str | None:
    """The id, bit by bit; then asked for whole, since a guess is worth nothing."""

    async def matches(pattern: str) -> bool:
        target = query(path, dict(filters) | {"reservation_id": pattern})
        listed = document(await asker.as_caller(target, _ASKING), "Listing servers")
        return any(row["id"] == server_id for row in listed["servers"])

    numbers: list[int] = []
    for place in range(LENGTH):  # a place at a time: forty-eight questions at once are a burst
        bits = await asyncio.gather(*(matches(_pattern(place, bit)) for bit in range(BITS)))
        numbers.append(sum(answer << bit for bit, answer in enumerate(bits)))
    if any(number >= len(ALPHABET) for number in numbers):
        return None
    reservation = PREFIX + "".join(ALPHABET[number] for number in numbers)
    return reservation if await matches(f"^{reservation}$") else None


def _pattern(place: int, bit: int) -> str:
    """Matches ids whose character at ``place`` has ``bit`` set in its index."""
    characters = "".join(letter for index, letter in enumerate(ALPHABET) if index >> bit & 1)
    return f"^{PREFIX}.{{{place}}}[{characters}]"
