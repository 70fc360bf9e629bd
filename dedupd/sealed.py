"""What a record carries, sealed: the payload on its way to Nova, the answer on its way back."""

from __future__ import annotations

import msgspec

from dedupd.exchange import Answer, Payload
from dedupd.ports import Stored
from dedupd.request import Record
from dedupd.seal import Keys

_PAYLOAD = msgspec.msgpack.Decoder(Payload)
_ANSWER = msgspec.msgpack.Decoder(Answer)


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
    """The answer as the store keeps it."""
    return keys.seal(msgspec.msgpack.encode(answer), _context("result", record))


def open_answer(keys: Keys, stored: Stored) -> Answer:
    """The stored answer.

    Raises:
        Unsealable: there is none, or it cannot be opened.
    """
    plain = keys.open(stored.result or b"", _context("result", stored.record))
    return _ANSWER.decode(plain)


def _context(part: str, record: Record) -> str:
    return f"{part} {record.id} {record.birth}"
