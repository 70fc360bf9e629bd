"""What a record carries, sealed: the payload on its way to Nova, the answer on its way back.

An answer, which is kept, is made small before it is sealed. Each is packed by itself, and holds
nothing but what its one caller sent or may see; so its size, which whoever reads the store can see,
says nothing about anybody else's secrets, whatever a caller writes into a request.
"""

from __future__ import annotations

import msgspec

from dedupd.deflate import Deflate
from dedupd.exchange import Answer, Payload, without
from dedupd.ports import Stored
from dedupd.request import Record
from dedupd.seal import Keys, Unsealable

_PAYLOAD = msgspec.msgpack.Decoder(Payload)
_ANSWER = msgspec.msgpack.Decoder(Answer)

_NOT_KEPT = frozenset({b"content-length", b"date"})
"""What the front writes anew for each caller."""

_EXAMPLE = {
    "status": 202,
    "headers": (
        (b"Server", b"Apache/2.4 (Debian)"),
        (b"OpenStack-API-Version", b"compute 2.1"),
        (b"X-OpenStack-Nova-API-Version", b"2.1"),
        (b"Vary", b"OpenStack-API-Version, X-OpenStack-Nova-API-Version"),
        (b"Content-Type", b"application/json"),
        (b"x-openstack-request-id", b"req-"),
        (b"x-compute-request-id", b"req-"),
        (b"Location", b"http://controller:8774/v2.1/servers/"),
    ),
    "body": b'{"server": {"id": "", "links": [{"rel": "self", "href": "http://controller:8774/v2.1/'
    b'servers/"}, {"rel": "bookmark", "href": "http://controller:8774/servers/"}], '
    b'"OS-DCF:diskConfig": "MANUAL", "security_groups": [{"name": "default"}], "adminPass": "',
}
"""Spelled out, and no ``Answer``: see ``store.etcd_keys``."""
_SMALL = Deflate(msgspec.msgpack.encode(_EXAMPLE))


def seal_payload(keys: Keys, record: Record, payload: Payload) -> bytes:
    """The payload as the store keeps it: opens for this life of this record only."""
    return keys.seal(msgspec.msgpack.encode(payload), _context("payload", record))


def open_payload(keys: Keys, stored: Stored) -> Payload:
    """What a pending request carries.

    Raises:
        Unsealable: there is none, or it cannot be opened.
    """
    plain = keys.open(stored.payload or b"", _context("payload", stored.record))
    return _PAYLOAD.decode(plain)


def seal_answer(keys: Keys, record: Record, answer: Answer) -> bytes:
    """The answer as the store keeps it, without its length and date."""
    kept = Answer(answer.status, without(answer.headers, _NOT_KEPT), answer.body)
    return keys.seal(_SMALL.pack(msgspec.msgpack.encode(kept)), _context("result", record))


def open_answer(keys: Keys, stored: Stored) -> Answer:
    """The stored answer.

    Raises:
        Unsealable: there is none, or it cannot be opened.
    """
    packed = keys.open(stored.result or b"", _context("result", stored.record))
    try:
        return _ANSWER.decode(_SMALL.unpack(packed))
    except ValueError as error:
        raise Unsealable(f"A stored answer cannot be read: {error}.") from None


def _context(part: str, record: Record) -> str:
    return f"{part} {record.id} {record.birth}"
