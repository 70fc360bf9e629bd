"""The client token as the contract has it: 1 to 64 visible ASCII characters, under two names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd import token
from dedupd.errors import BadRequest

CLIENT_TOKEN, IDEMPOTENCY_KEY = token.HEADERS
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
RULE = "It must be 1 to 64 visible ASCII characters (0x21 to 0x7E)."

good_tokens = st.text(VISIBLE, min_size=1, max_size=64)
bad_tokens = st.binary(max_size=200).filter(
    lambda value: re.fullmatch(rb"[ \t]*[\x21-\x7e]{1,64}[ \t]*", value) is None
)


def quoted(value: str) -> bytes:
    """A structured-field string (RFC 9651, 4.1.6)."""
    return b'"' + re.sub(r'(["\\])', r"\\\1", value).encode() + b'"'


def refusal(*headers: tuple[bytes, bytes]) -> str:
    with pytest.raises(BadRequest) as caught:
        token.parse(headers)
    assert caught.value.status == 400
    return caught.value.message


@settings(max_examples=100, deadline=None)
@given(good_tokens)
def test_every_good_token_is_read_as_it_is(value: str) -> None:
    others = [(b"host", b"nova"), (b"x-client-tokens", b"other")]
    assert token.parse([*others, (CLIENT_TOKEN, value.encode())]) == value


@settings(max_examples=100, deadline=None)
@given(good_tokens)
def test_the_draft_s_header_means_the_same(value: str) -> None:
    assert token.parse([(IDEMPOTENCY_KEY, quoted(value))]) == value
    if not value.startswith('"'):
        assert token.parse([(IDEMPOTENCY_KEY, value.encode())]) == value
    both = [(CLIENT_TOKEN, value.encode()), (IDEMPOTENCY_KEY, quoted(value))]
    assert token.parse(both) == value


@settings(max_examples=150, deadline=None)
@given(bad_tokens, st.sampled_from(token.HEADERS))
def test_no_bad_one_is(value: bytes, name: bytes) -> None:
    """A quoted one may turn out good: then it is shorter than what came in."""
    if name == IDEMPOTENCY_KEY and value.strip(b" \t").startswith(b'"'):
        try:
            found = token.parse([(name, value)])
        except BadRequest:
            return
        assert found is not None
        assert quoted(found) == value.strip(b" \t")
    else:
        assert RULE in refusal((name, value))


@pytest.mark.parametrize("name", token.HEADERS)
@pytest.mark.parametrize("value", [b"foo ", b"foo\t", b" \t foo \t "])
def test_blanks_around_it_are_no_part_of_it(name: bytes, value: bytes) -> None:
    """A proxy takes them away (RFC 9110, 5.5): with and without one it is the same token."""
    assert token.parse([(name, value)]) == "foo"


def test_none_is_none() -> None:
    assert token.parse([]) is None
    assert token.parse([(b"x-auth-token", b"secret")]) is None


def test_case_counts() -> None:
    assert token.parse([(CLIENT_TOKEN, b"Foo")]) != token.parse([(CLIENT_TOKEN, b"foo")])


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        (CLIENT_TOKEN, b"", "X-Client-Token is malformed: it is empty."),
        (CLIENT_TOKEN, b"a b", "X-Client-Token is malformed: character 2 is 0x20."),
        (CLIENT_TOKEN, b" \t", "X-Client-Token is malformed: it is empty."),
        (CLIENT_TOKEN, b"a\tb", "character 2 is 0x09"),
        (CLIENT_TOKEN, b"x\x7f", "character 2 is 0x7F"),
        (CLIENT_TOKEN, "é".encode(), "character 1 is 0xC3"),
        (CLIENT_TOKEN, b"x" * 65, "it has 65 characters"),
        (IDEMPOTENCY_KEY, b'""', "Idempotency-Key is malformed: it is empty."),
        (IDEMPOTENCY_KEY, b'"a b"', "character 2 is 0x20"),
        (IDEMPOTENCY_KEY, b'"' + b"x" * 65 + b'"', "it has 65 characters"),
    ],
)
def test_the_message_says_what_is_wrong(name: bytes, value: bytes, fault: str) -> None:
    message = refusal((name, value))
    assert fault in message
    assert message.endswith(RULE)


@pytest.mark.parametrize(
    "value", [b'"', b'"foo', b'"foo"bar', b'"a"b"', b'"a\\x"', b'"\\"', b'"\xe9"']
)
def test_a_quote_that_begins_must_end(value: bytes) -> None:
    message = refusal((IDEMPOTENCY_KEY, value))
    assert "structured-field string (RFC 9651)" in message
    assert 'Send Idempotency-Key: "foo", or the bare value.' in message


@pytest.mark.parametrize("value", [b'"foo";bar=1', b'"foo"; bar', b'"a;b" ;c="d"'])
def test_parameters_are_not_taken_and_the_message_says_so(value: bytes) -> None:
    message = refusal((IDEMPOTENCY_KEY, value))
    assert "has parameters behind its string" in message
    assert message.endswith('send Idempotency-Key: "foo" alone, or the bare value.')


def test_quotes_are_part_of_the_other_header_s_value() -> None:
    assert token.parse([(CLIENT_TOKEN, b'"foo"')]) == '"foo"'


@pytest.mark.parametrize("name", token.HEADERS)
@pytest.mark.parametrize("second", [b"foo", b"bar"])
def test_one_header_sent_twice_is_refused(name: bytes, second: bytes) -> None:
    assert "was sent twice; send it once." in refusal((name, b"foo"), (name, second))


def test_two_headers_that_differ_are_refused() -> None:
    message = refusal((CLIENT_TOKEN, b"foo"), (IDEMPOTENCY_KEY, b'"bar"'))
    assert "X-Client-Token and Idempotency-Key differ" in message


def test_no_refusal_repeats_the_value() -> None:
    assert "s3cret" not in refusal((CLIENT_TOKEN, b"s3cret " + b"x" * 70))
    assert "s3cret" not in refusal((CLIENT_TOKEN, b"s3cret"), (IDEMPOTENCY_KEY, b"s3cret2"))


class TestIdentify:
    KEY = b"k" * 32

    def test_is_32_hexadecimal_characters_and_always_the_same(self) -> None:
        found = token.identify(self.KEY, "RegionOne", "p1", "foo")
        assert re.fullmatch("[0-9a-f]{32}", found)
        assert found == token.identify(self.KEY, "RegionOne", "p1", "foo")

    @pytest.mark.parametrize(
        "other",
        [
            (b"j" * 32, "RegionOne", "p1", "foo"),
            (KEY, "RegionTwo", "p1", "foo"),
            (KEY, "RegionOne", "p2", "foo"),
            (KEY, "RegionOne", "p1", "Foo"),
            (KEY, "RegionOnep", "1", "foo"),
            (KEY, "RegionOne", "p1f", "oo"),
        ],
    )
    def test_differs_with_each_part_and_where_one_ends(
        self, other: tuple[bytes, str, str, str]
    ) -> None:
        assert token.identify(*other) != token.identify(self.KEY, "RegionOne", "p1", "foo")
