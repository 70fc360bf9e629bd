"""What a front has heard of."""

from __future__ import annotations

from dedupd.api.recent import Recent
from dedupd.ports import Stored
from tests.contract.stores import make_record


def test_what_was_noted_or_heard_of_is_known() -> None:
    recent = Recent()
    record = make_record(1)
    assert record.id not in recent
    recent.hear(Stored(record))
    recent.note("2")
    assert record.id in recent
    assert "2" in recent


def test_the_oldest_are_forgotten_first() -> None:
    recent = Recent(remembered=3)
    for name in ("a", "b", "b", "c", "d", "e"):
        recent.note(name)
    assert [name for name in "abcde" if name in recent] == ["c", "d", "e"]
