"""Whether a repeat is the same request: order never matters, a value always does."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd import fingerprint
from dedupd.fingerprint import DIGEST_BYTES, MAX_PARTS, Fingerprint

KEY = b"k" * 32

names = st.from_regex(r"[A-Za-z0-9_:.\-]{1,12}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    leaves | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
members = st.dictionaries(names, values, min_size=1, max_size=6)
pairs = st.lists(st.tuples(texts, texts), max_size=5)


def taken(**changes: Any) -> Fingerprint:
    request: dict[str, Any] = {
        "path": "/v2.1/servers",
        "query": "",
        "microversion": "2.96",
        "document": {"server": {"name": "vm", "flavorRef": "1"}},
        "raw": b"never read",
    }
    return fingerprint.take(KEY, **(request | changes))


def body(raw: bytes) -> Fingerprint:
    return taken(document=msgspec.UNSET, raw=raw)


def differing(one: Fingerprint, other: Fingerprint) -> list[str]:
    assert (one.digest == other.digest) == (one.parts == other.parts), "the digest decides alone"
    return fingerprint.differing(one.parts, other.parts)


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same JSON with the members of every object in another order."""
    if isinstance(value, list):
        return [shuffled(item, chance) for item in value]
    if not isinstance(value, dict):
        return value
    items = [(name, shuffled(item, chance)) for name, item in value.items()]
    chance.shuffle(items)
    return dict(items)


@settings(max_examples=100, deadline=None)
@given(members, pairs, st.randoms(use_true_random=False))
def test_order_and_spacing_do_not_matter(
    server: dict[str, Any], query: list[tuple[str, str]], chance: random.Random
) -> None:
    document = {"server": server, "os:scheduler_hints": {"group": 1}}
    again = msgspec.json.decode(json.dumps(shuffled(document, chance), indent=3))
    mixed = chance.sample(query, len(query))
    one = taken(document=document, query=urlencode(query))
    other = taken(document=again, query=urlencode(mixed), raw=b"other bytes")
    assert (one.digest, one.parts) == (other.digest, other.parts)


@settings(max_examples=150, deadline=None)
@given(members, values, st.data())
def test_any_value_that_changes_is_named_and_nothing_else(
    server: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(server)))
    changed = server | {name: value}
    same = msgspec.json.encode(changed, order="sorted") == msgspec.json.encode(
        server, order="sorted"
    )
    found = differing(taken(document={"server": server}), taken(document={"server": changed}))
    assert found == ([] if same else [f"server.{name}"])


@settings(max_examples=60, deadline=None)
@given(members, st.data())
def test_a_member_that_is_gone_is_named(server: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(server)))
    less = {key: value for key, value in server.items() if key != name} or {"kept": 1}
    found = differing(
        taken(document={"server": server | {"kept": 1}}),
        taken(document={"server": less | {"kept": 1}}),
    )
    assert found == ([] if name == "kept" else [f"server.{name}"])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_what_is_not_json_is_compared_byte_by_byte(one: bytes, other: bytes) -> None:
    assert differing(body(one), body(other)) == ([] if one == other else ["body"])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"path": "/v2.1//servers"}, "path"),
        ({"path": "/v2/servers"}, "path"),
        ({"microversion": "2.95"}, "microversion"),
        ({"microversion": ""}, "microversion"),
        ({"query": "a=1"}, "query"),
        ({"query": "a"}, "query"),
        ({"user_id": "u2"}, "user"),
        ({"document": {"server": {"name": "VM", "flavorRef": "1"}}}, "server.name"),
        ({"document": {"server": {"name": "vm", "flavorRef": 1}}}, "server.flavorRef"),
    ],
)
def test_each_part_counts(change: dict[str, Any], part: str) -> None:
    assert differing(taken(user_id="u1"), taken(**({"user_id": "u1"} | change))) == [part]


def test_a_user_that_only_one_of_them_has_is_not_named() -> None:
    """It is the same person: of a server Nova does not ask, of a keypair it does."""
    server, keypair = taken(), taken(path="/v2.1/os-keypairs", user_id="alice")
    assert differing(server, keypair) == differing(keypair, server) == ["path"]
    assert differing(keypair, taken(path="/v2.1/os-keypairs", user_id="bob")) == ["user"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x=%ff", "x=%fe"),
        ("x=%ff", "x=%EF%BF%BD"),
        ("%ff=x", "%fe=x"),
        ("x=%ff", "x=ff"),
        ("x=%ff", "78=ff"),
        ("x=%ff&y=%fe", "x=%fe&y=%ff"),
        ("x=%ed%a0%80", "x=%ed%a0%81"),
    ],
)
def test_queries_that_are_not_utf_8_differ_by_their_bytes(one: str, other: str) -> None:
    assert differing(taken(query=one), taken(query=other)) == ["query"]
    assert differing(taken(query=f"a=b&{one}"), taken(query=f"{one}&a=b")) == []


@pytest.mark.parametrize(
    ("query", "digest"),
    [
        ("", "9610fec8f57f8f5dc144651456f9b5301f4d936b01a1485362d1c70a82a1da45"),
        ("b=1&a=%C3%BC&a=", "fbbc14c0f8c539067b596ee3e5f96fca73ff25f597c4140b0758fd18b82b7b91"),
        ("x=%EF%BF%BD", "bae2f93be0603aa6a635a3888dbf65d4f93c6d89ed9a030790d2ed712bf7111b"),
    ],
)
def test_what_is_utf_8_has_the_fingerprint_that_records_are_kept_with(
    query: str, digest: str
) -> None:
    assert taken(query=query).digest.hex() == digest


def test_several_are_named_in_alphabetical_order() -> None:
    other = taken(path="/other", document={"server": {"name": "b", "flavorRef": "2"}})
    assert differing(taken(), other) == ["path", "server.flavorRef", "server.name"]


def test_the_key_decides_everything_kept() -> None:
    """Without the key nobody can try values against a record."""
    document = {"server": {"name": "vm"}}
    arguments: dict[str, Any] = {
        "path": "/v2.1/servers",
        "query": "a=1",
        "microversion": "2.1",
        "document": document,
        "raw": b"",
    }
    one, other = fingerprint.take(KEY, **arguments), fingerprint.take(b"j" * 32, **arguments)
    assert one.digest != other.digest
    assert differing(one, other) == sorted(one.parts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0, None),
        ("1", 1),
        ([], {}),
        ("", None),
        ([1, [2]], [[1], 2]),
        (2**80, 2**80 + 1),
        (0.1, 0.1 + 2**-55),
    ],
)
def test_values_that_python_or_json_may_confuse_differ(one: Any, other: Any) -> None:
    found = differing(
        taken(document={"server": {"x": one}}), taken(document={"server": {"x": other}})
    )
    assert found == ["server.x"]


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        ({"server": {"name": 1}, "hints": {"group": 2}}, {"server.name", "hints.group"}),
        ({"os-start": None}, {"os-start"}),
        ({"os-start": None, "x": [1]}, {"os-start", "x"}),
        ({"server": {}}, {"server"}),
        ({"path": 1, "user": {"id": 2}}, {"body.path", "user.id"}),
        ({}, set()),
        ([1], {"body"}),
        ("text", {"body"}),
        (None, {"body"}),
        ({"a password": 1}, {"body"}),
        ({"server": {"é": 1}}, {"body"}),
        ({"x" * 65: 1}, {"body"}),
        ({"server": {"m" * 64: 1}}, {"body"}),
        (
            {"server": {str(n): n for n in range(MAX_PARTS)}},
            {f"server.{n}" for n in range(MAX_PARTS)},
        ),
        ({"server": {str(n): n for n in range(MAX_PARTS + 1)}}, {"body"}),
    ],
)
def test_parts_are_named_where_names_are_plain_and_few(document: Any, parts: set[str]) -> None:
    """A name that is not plain might be a value: it stands in no record and no message."""
    assert taken(document=document).parts.keys() == {"path", "microversion"} | parts


def test_parts_are_short_digests() -> None:
    found = taken(query="a=1", user_id="u1")
    assert found.parts.keys() == {
        *("path", "microversion", "query", "user", "server.name", "server.flavorRef")
    }
    assert {len(digest) for digest in found.parts.values()} == {DIGEST_BYTES}
    assert len(found.digest) == 32


def test_equal_values_in_different_places_have_different_digests() -> None:
    found = taken(path="2.96", microversion="2.96")
    assert found.parts["path"] != found.parts["microversion"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"path": "/a", "query": "b=c"}, {"path": "/a?b=c"}),
        ({"user_id": "2.96", "microversion": ""}, {"user_id": "", "microversion": "2.96"}),
        ({"document": msgspec.UNSET, "raw": b""}, {"document": ""}),
        ({"document": msgspec.UNSET, "raw": b"ab"}, {"document": "6162"}),
    ],
)
def test_one_layout_is_never_taken_for_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What differs only in where one part ends and the next begins differs."""
    assert taken(**one).digest != taken(**other).digest


def test_another_version_of_the_rules_never_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    one = taken()
    monkeypatch.setattr(fingerprint, "VERSION", b"\x02")
    assert taken().digest != one.digest
