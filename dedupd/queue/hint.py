"""A record as it was claimed, beside its id in a message: what its first send can begin from.

It travels as a header, which whoever does not know it passes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dedupd.exchange import NOT_JSON
from dedupd.request import Record, State

HEADER = "claimed"
"""The header: msgpack of ``dedupd.request.Record``, without its version."""

MOST_BYTES = 32 * 1024
"""A larger record is read from the store: all headers of a message must fit into one frame."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def headers(claimed: Record | None, most: int = MOST_BYTES) -> dict[str, bytes]:
    """What a message carries beside the id; nothing where that exceeds ``most`` bytes."""
    if claimed is None:
        return {}
    coded = _encode(msgspec.structs.replace(claimed, version=0))
    return {HEADER: coded} if len(coded) <= min(most, MOST_BYTES) else {}


def claimed(request_id: str, headers: Mapping[str, Any] | None) -> Record | None:
    """The record that a message carries; None where it must be read."""
    coded = (headers or {}).get(HEADER)
    if not isinstance(coded, bytes):
        return None
    try:
        record = _decode(coded)
    except NOT_JSON:
        return None
    return record if record.id == request_id and record.state is State.QUEUED else None
