"""Which header fields belong to one connection only, and what a gateway adds.

Shared by everything that carries a message from one side of dedupd to the other. Names and values
are bytes as on the wire; the order of fields, and fields that occur more than once, are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from multidict import CIMultiDict
from starlette.types import Scope

from dedupd.errors import BadRequest

Fields = list[tuple[bytes, bytes]]
"""Header fields in the order of the wire."""

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Fields about one connection, not about the message (RFC 9110 section 7.6.1, RFC 2616 13.5.1)."""

NEVER_HOP_BY_HOP = frozenset((b"content-length", b"host"))
"""What Connection may not name: without these the message would become another one."""

_FORWARDED_FOR = b"x-forwarded-for"
# Expect is the server's business: uvicorn answers 100 Continue when the body is first asked for.
_REQUEST_ONLY = frozenset((b"expect", _FORWARDED_FOR))


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """The fields that go on to the other side: all but hop-by-hop ones.

    Fields named in ``Connection`` are dropped too, as RFC 9110 section 7.6.1 demands.
    """
    kept: Fields = []
    named: set[bytes] = set()
    for field in headers:
        name = field[0].lower()
        if name not in HOP_BY_HOP:
            kept.append(field)
        elif name == b"connection":
            named.update(token.strip() for token in field[1].lower().split(b","))
    named -= NEVER_HOP_BY_HOP
    return [field for field in kept if field[0].lower() not in named] if named else kept


def forwarded(scope: Scope) -> Fields:
    """The fields of a request as they go to Nova.

    X-Forwarded-For gets the caller's address appended. X-Forwarded-Proto and -Host are added where
    absent only: a TLS terminator in front of dedupd has set them from what the client really saw.
    """
    kept: Fields = []
    addresses: list[bytes] = []
    names: dict[bytes, bytes] = {}
    for field in end_to_end(scope["headers"]):
        names[field[0]] = field[1]
        if field[0] not in _REQUEST_ONLY:
            kept.append(field)
        elif field[0] == _FORWARDED_FOR:
            addresses.append(field[1])
    if scope["client"]:  # None on a Unix socket
        addresses.append(scope["client"][0].encode())
    if addresses:
        kept.append((_FORWARDED_FOR, b", ".join(addresses)))
    if b"x-forwarded-proto" not in names:
        kept.append((b"x-forwarded-proto", scope["scheme"].encode()))
    if b"x-forwarded-host" not in names and b"host" in names:
        kept.append((b"x-forwarded-host", names[b"host"]))
    return kept


def as_text(headers: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    """The fields as aiohttp takes them.

    aiohttp writes UTF-8, so UTF-8 is what comes out unchanged; anything else would be sent as other
    bytes than those that came in.

    Raises:
        BadRequest: a value is not UTF-8.
    """
    text: CIMultiDict[str] = CIMultiDict()
    for name, value in headers:
        try:
            text.add(name.decode(), value.decode())
        except UnicodeDecodeError as error:
            raise BadRequest(
                f"The value of the header {name.decode('latin-1')} is not UTF-8"
                f" (byte {error.start} is 0x{value[error.start]:02x}): send ASCII or UTF-8."
            ) from error
    return text
