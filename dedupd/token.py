"""The client token: what it may look like, where it is read from, and the id that it becomes."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from dedupd.errors import BadRequest

HEADERS = (b"x-client-token", b"idempotency-key")
"""The two headers that mean the same; lower case, as ASGI gives them."""

_VISIBLE = re.compile(rb"[\x21-\x7e]{1,64}")
_STRUCTURED = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_PARAMETERS = re.compile(_STRUCTURED.pattern + rb" *;")
_ESCAPE = re.compile(rb'\\(["\\])')
_BLANKS = b" \t"
"""Around a field's value these are no part of it (RFC 9110, 5.5); the HTTP parser leaves some."""
_RULE = "It must be 1 to 64 visible ASCII characters (0x21 to 0x7E)."


def parse(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Read the client token from a request's headers (lower-case names).

    Returns:
        The token, or None where neither header is there.

    Raises:
        BadRequest: sent twice, two different ones, or malformed; the message says which.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in HEADERS:
            continue
        if name in found:
            raise BadRequest(f"{_title(name)} was sent twice; send it once.")
        value = value.strip(_BLANKS)
        found[name] = _unquote(value) if name == b"idempotency-key" else value
    tokens = {_check(name, value) for name, value in found.items()}
    if len(tokens) > 1:
        raise BadRequest(
            "X-Client-Token and Idempotency-Key differ; they mean the same, so send one of them, "
            "or both with the same value."
        )
    return tokens.pop() if tokens else None


def identify(key: bytes, region: str, project_id: str, token: str) -> str:
    """The request's id: a keyed hash of (region, project, token), 32 hexadecimal characters.

    The token cannot be recovered from it without ``key``. The parts are separated by a byte that
    none of them can hold, so that no two triples share an id.
    """
    message = "\0".join((region, project_id, token)).encode()
    return hmac.digest(key, message, hashlib.sha256)[:16].hex()


def _unquote(value: bytes) -> bytes:
    """A structured-field string (RFC 9651, 3.3.3) without its quotes; a bare value as it is."""
    if not value.startswith(b'"'):
        return value
    match = _STRUCTURED.fullmatch(value)
    if match is None and _PARAMETERS.match(value):
        raise BadRequest(
            "Idempotency-Key has parameters behind its string (RFC 9651, 3.1.2), which are not "
            'taken: send Idempotency-Key: "foo" alone, or the bare value.'
        )
    if match is None:
        raise BadRequest(
            "Idempotency-Key is not a structured-field string (RFC 9651): it begins with a quote "
            'but does not end as one. Send Idempotency-Key: "foo", or the bare value.'
        )
    return _ESCAPE.sub(rb"\1", match[1])


def _check(name: bytes, value: bytes) -> str:
    if _VISIBLE.fullmatch(value):
        return value.decode("ascii")
    raise BadRequest(f"{_title(name)} is malformed: {_fault(value)}. {_RULE}")


def _fault(value: bytes) -> str:
    if not value:
        return "it is empty"
    for place, byte in enumerate(value, start=1):
        if not 0x21 <= byte <= 0x7E:
            return f"character {place} is 0x{byte:02X}"
    return f"it has {len(value)} characters"


def _title(name: bytes) -> str:
    return name.decode("ascii").title()
