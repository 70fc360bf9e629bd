"""The Prefer header (RFC 7240): what it means here, and that all the rest is ignored."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd.api import prefer
from dedupd.api.prefer import NONE, Preference
from dedupd.errors import BadRequest

TOKEN = "!#$%&'*+-.^_`|~ABCXYZabcxyz0189"

names = st.text(TOKEN, min_size=1, max_size=12).filter(
    lambda name: name.lower() not in ("wait", "respond-async")
)
quoted = st.text("abc ,;=\t", max_size=12).map(lambda text: f'"{text}"')
words = st.text(TOKEN, max_size=8) | quoted
others = st.builds(
    lambda name, value, parameters: name + value + "".join(parameters),
    names,
    st.just("") | words.map(lambda word: f"={word}"),
    st.lists(st.builds(lambda name, word: f"; {name}={word}", names, words), max_size=2),
)


def parsed(*values: str) -> Preference:
    headers = [(b"host", b"wait=9"), *((b"prefer", value.encode("latin-1")) for value in values)]
    return prefer.parse(headers)


@settings(max_examples=150, deadline=None)
@given(st.lists(others, max_size=4), st.integers(0, 10**6), st.booleans(), st.randoms())
def test_ours_are_found_among_any_others(
    rest: list[str], seconds: int, at_once: bool, chance: st.DataObject
) -> None:
    ours = [f"wait={seconds}", *(["respond-async"] if at_once else [])]
    members = [*rest, *ours]
    chance.shuffle(members)  # type: ignore[attr-defined]
    expected = Preference(at_once, float(seconds))
    assert parsed(", ".join(members)) == expected
    assert parsed(*members) == expected
    assert parsed(" ,".join(members) + " , ") == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(others, max_size=4))
def test_the_rest_is_ignored(rest: list[str]) -> None:
    assert parsed(*rest) == Preference()


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_anything_is_read_or_refused(text: str) -> None:
    with suppress(BadRequest):
        found = parsed(text)
        assert found.wait is None or found.wait >= 0


@pytest.mark.parametrize("value", ["", " ", ",", " , ,", ";"[:0]])
def test_nothing_is_no_preference(value: str) -> None:
    assert parsed() is NONE
    assert parsed(value) == NONE


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("wait=10", 10),
        ("Wait = 10", 10),
        ('wait="10"', 10),
        ("wait=10; x=y", 10),
        ("wait=0", 0),
        ("wait=007", 7),
        ("wait=1, wait=2", 1),
        ('x="wait=3, y", wait=4', 4),
        ('x=1; y="a, wait=3", wait=4', 4),
        ('x="a\\", wait=3", wait=4', 4),
    ],
)
def test_wait(value: str, wait: float) -> None:
    assert parsed(value) == Preference(wait=wait)


@pytest.mark.parametrize(
    "value", ["respond-async", "Respond-Async", 'respond-async=""', "x, respond-async; y"]
)
def test_respond_async(value: str) -> None:
    assert parsed(value) == Preference(respond_async=True)


def test_the_first_of_several_headers_counts() -> None:
    assert parsed("wait=1", "wait=2, respond-async") == Preference(respond_async=True, wait=1)


@pytest.mark.parametrize("value", ["wait", "wait=", "wait=1.5", "wait=-1", "wait=x", "wait=²"])
def test_a_wait_that_is_no_whole_number_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match=r"it is a whole number of seconds .*=10\.$"):
        parsed(value)


def test_respond_async_takes_no_value() -> None:
    with pytest.raises(BadRequest, match="takes no value"):
        parsed("respond-async=yes")


@pytest.mark.parametrize("value", ["a b", "(", '"', 'a="', "a=b c", "=1", ";x", 'wait="1'])
def test_what_is_no_list_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match=r"Prefer is malformed at .*=10\.$"):
        parsed(value)


def test_a_refusal_repeats_little_of_it() -> None:
    with pytest.raises(BadRequest) as caught:
        parsed("a b" + "x" * 5000)
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("start", ["a=", "a", "", "a=b", "a;b", 'a="b"'])
@pytest.mark.parametrize("filling", [" ", '"', "\\", ";", "=", "a", '";', " ="])
def test_none_takes_longer_than_it_is_long(start: str, filling: str) -> None:
    """Read in every way that blanks can be shared out, the first would take hours."""
    text = start + filling * 100_000 + '"'
    with suppress(BadRequest):
        prefer.parse([(b"prefer", text.encode())])
