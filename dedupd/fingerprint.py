"""The fingerprint: whether a repeat is the same request, and, if not, in which parts it differs.

Taken over a version byte, the path, the sorted query, the microversion and the canonical JSON body
(raw bytes if it is not JSON). Credentials, User-Agent and request ids are no part of it.
Everything that is kept is keyed (HMAC-SHA-256 for the whole, BLAKE2b for the parts): no value can
be guessed from a record.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import msgspec

VERSION = b"\x01"
"""Changes whenever the rules here do: fingerprints of two versions never match."""

MAX_PARTS = 64
DIGEST_BYTES = 8
_BYTES = "surrogateescape"
"""How Python keeps bytes in a text that are not UTF-8."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_:.\-]{1,64}")


@dataclass(frozen=True)
class Fingerprint:
    """One request's digest, which decides, and a short one for each part that can be named.

    The parts are only taken when they are asked for: a repeat that is the same needs none.
    """

    digest: bytes
    _key: bytes = field(repr=False)
    _named: Callable[[], dict[str, bytes]] = field(repr=False, compare=False)

    @cached_property
    def parts(self) -> dict[str, bytes]:
        """The digest of each part, by its name."""
        return {name: _digest(self._key, name, value) for name, value in self._named().items()}


def take(
    key: bytes,
    *,
    path: str,
    query: str,
    microversion: str,
    document: Any,
    raw: bytes,
    user_id: str = "",
) -> Fingerprint:
    """The fingerprint of one request.

    Args:
        key: The identity key.
        path: The raw path.
        query: The raw query string; the order of its pairs does not matter.
        microversion: The one in force, as ``2.96``; empty where none was asked for.
        document: The parsed JSON body, or ``msgspec.UNSET`` where it is not JSON.
        raw: The body's bytes; used only where it is not JSON.
        user_id: Given for what Nova keeps per user (keypairs).
    """
    pairs = _pairs(query) if query else []
    body = ["raw", raw.hex()] if document is msgspec.UNSET else ["json", document]
    whole = VERSION + _encode([path, pairs, microversion, user_id, *body])

    def named() -> dict[str, bytes]:
        parts = {"path": path.encode(), "microversion": microversion.encode()}
        if pairs:
            parts["query"] = _encode(pairs)
        if user_id:
            parts["user"] = user_id.encode()
        return parts | ({"body": raw} if document is msgspec.UNSET else _body_parts(document))

    return Fingerprint(hmac.digest(key, whole, hashlib.sha256), key, named)


def differing(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """The names of the parts that differ between two fingerprints, in alphabetical order.

    Where one of the two has no user, that is because Nova does not keep for each user what it asks
    for: another path says so.
    """
    names = one.keys() | other.keys()
    if not ("user" in one and "user" in other):
        names -= {"user"}
    return sorted(name for name in names if one.get(name) != other.get(name))


def _pairs(query: str) -> list[tuple[str, ...]]:
    """The query's pairs, in one order."""
    return sorted(map(_encodable, parse_qsl(query, keep_blank_values=True, errors=_BYTES)))


def _encodable(pair: tuple[str, str]) -> tuple[str, ...]:
    """A pair that JSON can hold: where it is not UTF-8, its bytes, in the form of no other pair."""
    try:
        "".join(pair).encode()
    except UnicodeEncodeError:
        return (*(text.encode(errors=_BYTES).hex() for text in pair), "hex")
    return pair


_RESERVED = frozenset({"path", "query", "microversion", "user", "body"})


def _body_parts(document: Any) -> dict[str, bytes]:
    """``server.flavorRef`` and the like, where the body has that shape; else one for it all."""
    if not isinstance(document, dict):
        return {"body": _encode(document)}
    parts: dict[str, bytes] = {}
    for name, value in document.items():
        parts |= _member_parts(name, value) if isinstance(value, dict) else {name: _encode(value)}
    if len(parts) > MAX_PARTS or not all(map(_PLAIN_NAME.fullmatch, parts)):
        return {"body": _encode(document)}
    return {f"body.{name}" if name in _RESERVED else name: value for name, value in parts.items()}


def _member_parts(name: str, members: dict[str, Any]) -> dict[str, bytes]:
    return {f"{name}.{member}": _encode(value) for member, value in members.items()} or {
        name: b"{}"
    }


_encode = msgspec.json.Encoder(order="sorted").encode


def _digest(key: bytes, name: str, value: bytes) -> bytes:
    """Keyed BLAKE2b (RFC 7693): a third of HMAC's time, and there are a dozen for each request."""
    whole = name.encode() + b"\0" + value
    return hashlib.blake2b(whole, key=key, digest_size=DIGEST_BYTES, person=b"dedupd part").digest()
