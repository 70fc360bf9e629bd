from __future__ import annotations

import pytest

from dedupd import exchange
from dedupd.exchange import Answer

FIELDS = ((b"Vary", b"one"), (b"X-Auth-Token", b"t"), (b"vary", b"two"))


@pytest.mark.parametrize(
    ("name", "value"), [(b"vary", b"one"), (b"x-auth-token", b"t"), (b"x-auth", None)]
)
def test_a_header_is_found_whatever_its_case(name: bytes, value: bytes | None) -> None:
    assert exchange.header(FIELDS, name) == value
    assert Answer(200, FIELDS).header(name) == value


def test_headers_are_left_out_whatever_their_case_and_however_often() -> None:
    assert exchange.without(FIELDS, frozenset({b"vary"})) == FIELDS[1:2]
    assert exchange.without(FIELDS, frozenset()) == FIELDS
    assert exchange.without(iter(FIELDS), frozenset({b"x-auth-token"})) == FIELDS[::2]
