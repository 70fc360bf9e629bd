"""Deflate with a dictionary: what goes in comes out, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupd.deflate import Deflate

DICTIONARY = b'{"server": {"id": "", "links": []}}'
DEFLATE = Deflate(DICTIONARY)


@given(st.binary(max_size=5000))
def test_it_comes_back_as_it_was(plain: bytes) -> None:
    assert DEFLATE.unpack(DEFLATE.pack(plain)) == plain


def test_what_resembles_the_dictionary_becomes_small() -> None:
    plain = DICTIONARY.replace(b'""', b'"17"')
    assert len(DEFLATE.pack(plain)) < len(plain) / 2


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (b"", "unknown format"),
        (b"\x02abc", "unknown format"),
        (b"\x01\xff\xff\xff", "invalid block type"),
        (DEFLATE.pack(bytes(99))[:-1], "not whole"),
        (DEFLATE.pack(bytes(99)) + b"!", "not whole"),
    ],
)
def test_what_was_not_packed_is_refused(packed: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        DEFLATE.unpack(packed)
