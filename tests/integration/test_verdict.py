"""The judge of outages, kills and chaos: it finds what must never be."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.integration.fleet import Answer, Fleet, Order
from tests.integration.simulated import Effect
from tests.integration.verdict import Verdict, Wrong

SERVER = Order("vm", "/v2.1/servers", {"server": {"name": "vm"}}, "2.96", ("vm",), "server")
KEY = "ssh-ed25519 AAAA vm"
IMPORTED = Order("kp", "/v2.1/os-keypairs", {"keypair": {"name": "kp"}}, "2.92", ("kp",), "keypair")
SNAPSHOT = Order("im", "/v2.1/servers/1/action", {}, "2.96", ("im",), "image", probed=False)
UNKNOWN = Answer(502, b"", None, unknown=True)


def answer(document: dict[str, Any], location: str | None = None, status: int = 202) -> Answer:
    return Answer(status, json.dumps(document).encode(), location)


def named(server: str) -> Answer:
    return answer({"server": {"id": server}}, f"http://nova/v2.1/servers/{server}")


def effect(order: Order, resource: str, method: str = "POST") -> Effect:
    return {
        "method": method,
        "kind": order.kind,
        "names": list(order.names),
        "resources": [resource],
    }


class Nova:
    """What can be counted in it."""

    def __init__(self, effects: tuple[Effect, ...]) -> None:
        self._effects = effects

    def ledger(self) -> list[Effect]:
        return list(self._effects)

    def keypairs(self, user: str) -> dict[str, str]:
        return {"kp": KEY}


def nobody() -> Fleet:
    """A fleet that has not ordered anything."""
    return Fleet([], {}, {}, random.Random(0))  # noqa: S311


def judged(
    order: Order, told: list[Answer], *effects: Effect, may_undo: bool = False
) -> dict[Wrong, int]:
    """How much is wrong where only this was ordered."""
    fleet = nobody()
    fleet.answers[order] = told
    counts = Verdict.of(fleet, Nova(effects), may_undo=may_undo).counts
    return {wrong: count for wrong, count in counts.items() if count}


@pytest.mark.parametrize(
    ("order", "told", "resource"),
    [
        (SERVER, named("s1"), "s1"),
        (IMPORTED, answer({"keypair": {"name": "kp", "public_key": KEY}}), "kp"),
        (SNAPSHOT, answer({"image_id": "i1"}), "i1"),
        (SNAPSHOT, UNKNOWN, "i1"),
    ],
)
def test_what_is_made_once_and_told_alike_is_right(
    order: Order, told: Answer, resource: str
) -> None:
    assert judged(order, [told, told], effect(order, resource)) == {}


def test_what_is_there_twice_is_a_duplicate() -> None:
    effects = effect(SERVER, "s1"), effect(SERVER, "s2")
    assert judged(SERVER, [named("s2")], *effects) == {Wrong.DUPLICATES: 1}


@pytest.mark.parametrize("order", [SERVER, IMPORTED])
def test_what_was_made_once_more_and_deleted_is_one_unless_that_may_be(order: Order) -> None:
    told = named("s2") if order is SERVER else answer({"keypair": {"public_key": KEY}})
    effects = effect(order, "s1"), effect(order, "s2"), effect(order, "s1", "DELETE")
    assert judged(order, [told], *effects) == {Wrong.DUPLICATES: 1}
    assert judged(order, [told], *effects, may_undo=True) == {}


def test_who_was_told_otherwise_was_told_something_differing() -> None:
    assert Wrong.DIFFERING in judged(SERVER, [named("s1"), named("s2")], effect(SERVER, "s1"))


def test_nobody_can_tell_may_be_told_until_there_is_an_answer_and_not_after_it() -> None:
    told = answer({"image_id": "i1"})
    made = effect(SNAPSHOT, "i1")
    assert judged(SNAPSHOT, [UNKNOWN, told, told], made) == {}
    assert judged(SNAPSHOT, [told, UNKNOWN, told], made) == {}, "told at the same time"
    assert judged(SNAPSHOT, [told, UNKNOWN], made) == {Wrong.DIFFERING: 1}
    assert judged(SNAPSHOT, [UNKNOWN, told, answer({"image_id": "i2"})], made) == {
        Wrong.DIFFERING: 1
    }
    assert judged(SERVER, [UNKNOWN, named("s1")], effect(SERVER, "s1")) == {Wrong.LOST: 1}


@pytest.mark.parametrize(
    "told",
    [
        named("s2"),
        answer({"server": {"id": "s1"}}, "http://nova/v2.1/servers/s2"),
        answer({"server": {"id": "s1"}}),
    ],
)
def test_an_answer_names_what_is_there(told: Answer) -> None:
    assert judged(SERVER, [told], effect(SERVER, "s1")) == {Wrong.DIFFERING: 1}


def test_a_keypair_s_answer_has_its_own_key() -> None:
    told = answer({"keypair": {"name": "kp", "public_key": "ssh-ed25519 BBBB vm"}})
    assert judged(IMPORTED, [told], effect(IMPORTED, "kp")) == {Wrong.DIFFERING: 1}


def test_what_is_not_there_although_it_was_told_is_lost() -> None:
    assert Wrong.LOST in judged(SERVER, [named("s1")])


def test_what_is_unknown_although_it_can_be_looked_for_is_lost() -> None:
    assert judged(SERVER, [UNKNOWN], effect(SERVER, "s1")) == {Wrong.LOST: 1}


def test_what_is_never_answered_is_lost_and_what_is_unexpected_is_told() -> None:
    fleet = nobody()
    fleet.open[SERVER] = "503"
    fleet.unexpected.append("404")
    counts = Verdict.of(fleet, Nova(())).counts
    assert counts == dict.fromkeys(Wrong, 0) | {Wrong.LOST: 1, Wrong.OTHER: 1}
