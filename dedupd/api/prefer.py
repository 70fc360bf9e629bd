"""The Prefer header (RFC 7240): how long a caller waits, or that it does not."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from dedupd.errors import BadRequest

_ASYNC = "respond-async"
_WAIT = "wait"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE = re.compile(
    rf"""\s*+(?:
        (?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]++)\s*+
        (?:=\s*+(?P<value>{_QUOTED}|[^;,\s"]*+)\s*+)?
        (?:;(?:[^,"]|{_QUOTED})*)?              # parameters
    )?(?:,|$)                                   # a list may have empty members (RFC 9110, 5.6.1)
    """,
    re.VERBOSE,
)
"""One member of the list, with the comma behind it.

What is repeated gives nothing back: blanks shared by two repeats would be tried in every way, and
a front stand still for as long.
"""


class Preference(msgspec.Struct, frozen=True):
    """What the caller prefers, as far as dedupd knows it; the rest is ignored, as RFC 7240 says."""

    respond_async: bool = False
    wait: float | None = None
    """Seconds."""


NONE = Preference()


def parse(headers: Iterable[tuple[bytes, bytes]]) -> Preference:
    """Read Prefer (lower-case header names; repeated headers join, the first of a name counts).

    Raises:
        BadRequest: ``wait`` is no whole number of seconds, or respond-async has a value.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        if name == b"prefer":
            _read(value.decode("latin-1"), found)
    if not found:
        return NONE
    if found.get(_ASYNC):
        raise BadRequest("Prefer: respond-async takes no value (RFC 7240).")
    wait = found.get(_WAIT)
    if wait is not None and not (wait.isascii() and wait.isdigit()):
        raise BadRequest(
            f"Prefer: wait={wait[:40]} is malformed: it is a whole number of seconds (RFC 7240), "
            "as in Prefer: wait=10."
        )
    return Preference(_ASYNC in found, None if wait is None else float(wait))


def _read(text: str, found: dict[str, str]) -> None:
    place = 0
    while place < len(text):
        match = _PREFERENCE.match(text, place)
        if match is None:
            raise BadRequest(
                f"Prefer is malformed at {text[place:].strip()[:40]!r}: it is a list of names, "
                "each with a value or without (RFC 7240), as in Prefer: respond-async, wait=10."
            )
        if match["name"]:
            found.setdefault(match["name"].lower(), (match["value"] or "").strip('"'))
        place = match.end()
