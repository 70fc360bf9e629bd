"""What a message says of a claim, and what is not believed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dedupd.queue import hint
from dedupd.request import Record, State
from tests.contract.stores import make_record

RECORD = make_record(1)


def coded(record: Record) -> bytes:
    return hint.headers(record)[hint.HEADER]


def test_a_claim_comes_back_without_its_version() -> None:
    versioned = msgspec.structs.replace(RECORD, version=17)
    assert hint.claimed(RECORD.id, hint.headers(versioned)) == RECORD


def test_nothing_is_said_of_no_claim() -> None:
    assert hint.headers(None) == {}


def test_a_large_one_is_left_out() -> None:
    parts = {f"server.{number}": bytes(16) for number in range(hint.MOST_BYTES // 16)}
    assert hint.headers(msgspec.structs.replace(RECORD, parts=parts)) == {}


def test_what_the_connection_has_no_room_for_is_left_out() -> None:
    """All headers of a message go in one frame, and a broker may want small ones."""
    size = len(coded(RECORD))
    assert hint.headers(RECORD, size)
    assert hint.headers(RECORD, size - 1) == {}


def test_what_a_later_release_adds_is_passed_over() -> None:
    fields = msgspec.msgpack.decode(coded(msgspec.structs.replace(RECORD, owner="w")))
    whole = [*fields, *[None] * (len(Record.__struct_fields__) - len(fields)), "new"]
    whole[Record.__struct_fields__.index("attempts")] = ()
    whole[Record.__struct_fields__.index("detail")] = ""
    whole[Record.__struct_fields__.index("version")] = 0
    found = hint.claimed(RECORD.id, {hint.HEADER: msgspec.msgpack.encode(whole)})
    assert found == msgspec.structs.replace(RECORD, owner="w")


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"x-delivery-count": 1},
        {hint.HEADER: None},
        {hint.HEADER: 7},
        {hint.HEADER: "text"},
        {hint.HEADER: b""},
        {hint.HEADER: b"\xc1"},
        {hint.HEADER: coded(RECORD).replace(RECORD.id.encode(), b"\xff" * 32)},
        {hint.HEADER: coded(RECORD)[:-1]},
        {hint.HEADER: msgspec.msgpack.encode(["only", "some"])},
        {hint.HEADER: coded(make_record(2))},
        {hint.HEADER: coded(msgspec.structs.replace(RECORD, state=State.SENDING))},
    ],
)
def test_what_says_nothing_of_use_is_passed_over(headers: dict[str, Any] | None) -> None:
    assert hint.claimed(RECORD.id, headers) is None
