"""What goes to Nova and what comes back: plain data, as HTTP has it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from dedupd.ssh_key import GeneratedKey

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a body that it cannot read as JSON."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in the order of the wire; names compare without case."""


class Call(msgspec.Struct, frozen=True):
    """One request to the cloud."""

    method: str
    target: str
    """Raw path and query, as they stand in the request line."""
    headers: Headers
    body: bytes = b""


class Answer(msgspec.Struct, frozen=True):
    """One complete answer of the cloud."""

    status: int
    headers: Headers
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, or None. ``name`` is lower case."""
        return header(self.headers, name)


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is needed to carry a request out: kept sealed, and deleted when it has ended."""

    call: Call
    seed: bytes
    """Random bytes, drawn once: what dedupd generates for the request (a password) grows from it,
    and so is the same however often it is made again."""
    key: GeneratedKey | None = None
    """What Nova would generate for a keypair, drawn once: no key grows from a seed."""


_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of the header ``name`` (lower case), or None."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def writable(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers with a blank for each control character in their values (RFC 9110, 5.5).

    No server would write the others: an answer with one would be lost to whoever waits for it.
    """
    return tuple((key, _CONTROL.sub(b" ", value)) for key, value in headers)


def without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    """The headers but for those whose lower-case name is in ``names``."""
    return tuple((key, value) for key, value in headers if key.lower() not in names)
