from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from dedupd.api import hop
from dedupd.errors import BadRequest

NAMES = st.from_regex(rb"[A-Za-z][A-Za-z-]{0,8}", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=5)))


def scope(*headers: tuple[bytes, bytes], client: tuple[str, int] | None = ("10.0.0.9", 1)) -> Scope:
    return {"headers": list(headers), "client": client, "scheme": "http"}


@pytest.mark.parametrize("name", sorted(hop.HOP_BY_HOP))
@pytest.mark.parametrize("spelling", [bytes.lower, bytes.title, bytes.upper])
def test_hop_by_hop_fields_stay_behind(name: bytes, spelling: type[bytes]) -> None:
    assert hop.end_to_end([(b"A", b"1"), (spelling(name), b"x"), (b"B", b"2")]) == [
        (b"A", b"1"),
        (b"B", b"2"),
    ]


def test_what_connection_names_stays_behind() -> None:
    headers = [(b"X-A", b"1"), (b"Connection", b"close , X-a"), (b"x-b", b"2"), (b"C", b"3")]
    headers += [(b"connection", b"X-B")]
    assert hop.end_to_end(headers) == [(b"C", b"3")]


def test_connection_cannot_name_what_frames_the_message() -> None:
    headers = [(b"Connection", b"Host, Content-Length"), (b"Host", b"n"), (b"Content-Length", b"1")]
    assert hop.end_to_end(headers) == headers[1:]


@given(FIELDS)
def test_all_others_are_kept_in_order(fields: hop.Fields) -> None:
    kept = [field for field in fields if field[0].lower() not in hop.HOP_BY_HOP]
    named = {value.strip().lower() for name, value in fields if name.lower() == b"connection"}
    expected = [f for f in kept if f[0].lower() not in named - hop.NEVER_HOP_BY_HOP]
    assert hop.end_to_end(fields) == expected


def test_forwarded_adds_what_nova_would_have_seen() -> None:
    assert hop.forwarded(scope((b"host", b"nova:8774"), (b"accept", b"x"))) == [
        (b"host", b"nova:8774"),
        (b"accept", b"x"),
        (b"x-forwarded-for", b"10.0.0.9"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"nova:8774"),
    ]


def test_forwarded_without_a_host_or_an_address_adds_neither() -> None:
    assert hop.forwarded(scope(client=None)) == [(b"x-forwarded-proto", b"http")]


def test_forwarded_on_a_unix_socket_keeps_the_addresses_there_are() -> None:
    fields = hop.forwarded(scope((b"x-forwarded-for", b"10.0.0.1"), client=None))
    assert (b"x-forwarded-for", b"10.0.0.1") in fields


def test_forwarded_drops_expect() -> None:
    assert b"expect" not in dict(hop.forwarded(scope((b"expect", b"100-continue"))))


def test_as_text_keeps_order_and_duplicates() -> None:
    fields = [(b"a", b"1"), (b"b", "é中".encode()), (b"a", b""), (b"A", b"3")]
    text = hop.as_text(fields)
    assert [(name.encode(), value.encode()) for name, value in text.items()] == fields


def test_as_text_refuses_what_would_be_sent_as_other_bytes() -> None:
    with pytest.raises(BadRequest, match=r"header x-a is not UTF-8 \(byte 3 is 0xe9\)"):
        hop.as_text([(b"a", b"1"), (b"x-a", b"caf\xe9")])
