"""Payloads and answers under seal: they open for this life of this record, and nowhere else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dedupd import seal, sealed
from dedupd.exchange import Answer, Call, Headers, Payload
from dedupd.ports import Stored
from dedupd.request import Record
from dedupd.seal import Unsealable

KEYS = seal.parse(seal.generate(), "test")
RECORD = Record(
    id="0" * 32,
    birth="b1",
    project_id="p1",
    user_id="u1",
    route="server create",
    path="/v2.1/servers",
    fingerprint=b"",
    parts={},
    created_at=0.0,
)
CALL = Call("POST", "/v2.1/servers?a=b", ((b"X-Auth-Token", b"t"), (b"x", b"\xff")), b"{}")
PAYLOAD = Payload(CALL, b"seed")
ANSWER = Answer(202, ((b"location", b"/x"), (b"Vary", b"a"), (b"Vary", b"b")), b'{"a": 1}')

KEPT = (
    "0101ff12cfc711ab0e77d7e074b5d38e17ecb62ad6e0885f2feee0805c80c54da9622fe0a3c92c22"
    "38adb9cd9ea6aae996dc1e2444b0f3a9ab32f68ebeac0533"
)
"""``ANSWER`` under seal, as it was kept when this was written; the keys are zeros."""

WRITTEN_ANEW = {b"content-length", b"date"}
"""What each caller's answer gets its own of, so that it is not kept."""

headers = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5).map(tuple)


def stored(payload: bytes | None = None, result: bytes | None = None) -> Stored:
    return Stored(RECORD, payload, result)


@settings(max_examples=40, deadline=None)
@given(st.integers(100, 599), headers, st.binary(max_size=100))
@example(202, ((b"Date", b"now"), (b"x", b"y"), (b"CONTENT-LENGTH", b"3")), b"abc")
def test_an_answer_comes_back_but_for_its_length_and_date(
    status: int, fields: Headers, body: bytes
) -> None:
    kept = sealed.seal_answer(KEYS, RECORD, Answer(status, fields, body))
    lasting = tuple(field for field in fields if field[0].lower() not in WRITTEN_ANEW)
    assert sealed.open_answer(KEYS, stored(result=kept)) == Answer(status, lasting, body)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30), headers, st.binary(max_size=100), st.binary(max_size=16))
def test_a_payload_does_too(target: str, fields: Headers, body: bytes, seed: bytes) -> None:
    payload = Payload(Call("POST", target, fields, body), seed)
    kept = sealed.seal_payload(KEYS, RECORD, payload)
    assert sealed.open_payload(KEYS, stored(payload=kept)) == payload


def test_they_are_not_taken_for_one_another() -> None:
    payload = sealed.seal_payload(KEYS, RECORD, PAYLOAD)
    answer = sealed.seal_answer(KEYS, RECORD, ANSWER)
    with pytest.raises(Unsealable):
        sealed.open_answer(KEYS, stored(result=payload))
    with pytest.raises(Unsealable):
        sealed.open_payload(KEYS, stored(payload=answer))


@pytest.mark.parametrize("change", [{"id": "1" * 32}, {"birth": "b2"}])
def test_nothing_opens_for_another_record_or_another_life(change: dict[str, str]) -> None:
    other = msgspec.structs.replace(RECORD, **change)
    with pytest.raises(Unsealable):
        sealed.open_payload(KEYS, stored(payload=sealed.seal_payload(KEYS, other, PAYLOAD)))
    with pytest.raises(Unsealable):
        sealed.open_answer(KEYS, stored(result=sealed.seal_answer(KEYS, other, ANSWER)))


def test_length_and_date_are_not_kept() -> None:
    kept = ((b"Location", b"/x"), (b"Set-Cookie", b"a"))
    dropped = ((b"Content-Length", b"2"), (b"date", b"Mon, 02 Jun 2025 09:00:00 GMT"))
    result = sealed.seal_answer(KEYS, RECORD, Answer(202, (*dropped, *kept), b"{}"))
    assert sealed.open_answer(KEYS, stored(result=result)).headers == kept


def test_an_answer_that_is_packed_otherwise_is_refused() -> None:
    other = KEYS.seal(msgspec.msgpack.encode(ANSWER), f"result {RECORD.id} {RECORD.birth}")
    with pytest.raises(Unsealable, match="unknown format"):
        sealed.open_answer(KEYS, stored(result=other))


def test_what_was_kept_can_still_be_read() -> None:
    """A change of the example that answers are packed beside would lose all that is kept."""
    kept = bytes.fromhex(KEPT)
    keys = seal.Keys(bytes(32), {1: bytes(32)})
    assert sealed.open_answer(keys, stored(result=kept)) == ANSWER


def test_what_is_not_there_does_not_open() -> None:
    with pytest.raises(Unsealable):
        sealed.open_payload(KEYS, stored())
    with pytest.raises(Unsealable):
        sealed.open_answer(KEYS, stored())
