from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from dedupd.queue.settlements import Settlements


def delivered(count: int) -> Settlements:
    settlements = Settlements()
    for tag in range(1, count + 1):
        settlements.arrived(tag)
    return settlements


def test_one_word_is_said_for_all_in_a_row() -> None:
    settlements = delivered(5)
    for tag in (2, 1, 3):
        settlements.acknowledged(tag)
    assert settlements.take() == [(3, True)]
    assert settlements.take() == []


def test_what_is_done_before_an_older_one_is_said_alone() -> None:
    settlements = delivered(5)
    for tag in (5, 3):
        settlements.acknowledged(tag)
    assert settlements.take() == [(3, False), (5, False)]
    for tag in (1, 2):
        settlements.acknowledged(tag)
    assert settlements.take() == [(2, True)]
    settlements.acknowledged(4)
    assert settlements.take() == [(4, True)]


def test_a_word_never_names_what_was_refused() -> None:
    settlements = delivered(4)
    settlements.acknowledged(1)
    settlements.refused(2)
    assert settlements.take() == [(1, True)]
    settlements.refused(3)
    assert settlements.take() == []
    settlements.acknowledged(4)
    assert settlements.take() == [(4, True)]


def test_what_the_library_refused_leaves_no_gap() -> None:
    settlements = Settlements()
    settlements.arrived(1)
    settlements.arrived(4)
    settlements.acknowledged(1)
    settlements.acknowledged(4)
    assert settlements.take() == [(4, True)]


@given(
    count=some.integers(1, 30),
    steps=some.lists(some.tuples(some.integers(1, 30), some.booleans(), some.booleans())),
)
def test_everything_is_said_once_and_nothing_that_is_not_done(
    count: int, steps: list[tuple[int, bool, bool]]
) -> None:
    """A broker's view: an acknowledgement must name a message that it still waits for."""
    settlements = delivered(count)
    outstanding = set(range(1, count + 1))
    undecided, acknowledged = set(outstanding), set()
    for tag, refuse, take in steps:
        if tag in undecided:
            undecided.remove(tag)
            if refuse:
                outstanding.remove(tag)
                settlements.refused(tag)
            else:
                acknowledged.add(tag)
                settlements.acknowledged(tag)
        for said, multiple in settlements.take() if take else []:
            assert said in outstanding
            ended = {one for one in outstanding if one <= said} if multiple else {said}
            assert ended <= acknowledged
            outstanding -= ended
    for said, multiple in settlements.take():
        outstanding -= {one for one in outstanding if one <= said} if multiple else {said}
    assert outstanding == undecided
