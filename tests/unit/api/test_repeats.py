"""What a front answers from what it has read a moment ago, and for how long."""

from __future__ import annotations

import msgspec
import pytest

from dedupd import request
from dedupd.api.repeats import FRESH_SECONDS, Repeats
from dedupd.ports import Stored
from dedupd.request import State
from tests.contract.stores import make_record

WALL = 1_800_000_000.0
KEPT = 3600.0


def done(number: int, size: int = 100) -> Stored:
    """A request that ended at ``WALL``, with an answer of so many bytes."""
    record = make_record(number)
    ended = request.finish(record, WALL, status=202, resource=None, keep=KEPT)
    return Stored(ended, result=bytes(size))


def test_what_was_read_is_there_for_a_moment() -> None:
    repeats, stored = Repeats(), done(1)
    repeats.note(stored, 10.0)
    just_before = 10.0 + FRESH_SECONDS - 0.001
    assert repeats.find(stored.record.id, just_before, WALL) is stored
    assert repeats.find(stored.record.id, 10.0 + FRESH_SECONDS, WALL) is None
    assert repeats.find(done(2).record.id, 10.0, WALL) is None


def test_what_has_expired_is_not_given() -> None:
    repeats, stored = Repeats(), done(1)
    repeats.note(stored, 10.0)
    assert repeats.find(stored.record.id, 10.0, WALL + KEPT - 1) is stored
    assert repeats.find(stored.record.id, 10.0, WALL + KEPT) is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.DONE])
def test_what_may_still_change_is_not_kept(state: State) -> None:
    repeats, stored = Repeats(), done(1)
    record = msgspec.structs.replace(stored.record, state=state)
    repeats.note(Stored(record, result=stored.result), 10.0)
    assert repeats.find(record.id, 10.0, WALL) is None


def test_it_takes_no_more_room_than_it_may() -> None:
    repeats = Repeats(max_bytes=3 * 10_000)
    many = [done(number, 8000) for number in range(1, 6)]
    for stored in (*many, many[-1], many[-1]):
        repeats.note(stored, 10.0)
    kept = [stored for stored in many if repeats.find(stored.record.id, 10.0, WALL)]
    assert kept == many[-2:]


def test_what_nobody_repeats_is_let_go() -> None:
    repeats, last = Repeats(), done(2)
    repeats.note(done(1), 10.0)
    repeats.note(last, 10.0 + FRESH_SECONDS)
    assert [*repeats._read] == [last.record.id]
