"""What an answer that comes late is about: the life of a token that its caller met."""

from __future__ import annotations

import pytest

from dedupd.request import Record
from dedupd.sim.histories.ledger import Ledger

ID = "0" * 32


class Clock:
    """Seconds, as the test has them."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def life(birth: str) -> Record:
    return Record(
        id=ID,
        birth=birth,
        project_id="p",
        user_id="u",
        route="server create",
        path="/v2.1/servers",
        fingerprint=b"",
        parts={},
        created_at=0.0,
    )


@pytest.mark.parametrize(("came_at", "about_the_second"), [(0.5, False), (2.5, True)])
def test_an_answer_is_not_about_what_was_claimed_after_the_first_was_forgotten(
    came_at: float, about_the_second: bool
) -> None:
    clock = Clock()
    ledger = Ledger(clock)
    ledger.claimed(life("first"))
    clock.now = 1.0
    ledger.forgotten_by_hand(life("first"))
    clock.now = 2.0
    ledger.claimed(life("second"))
    clock.now = 3.0
    ledger.accepted(life("second"), ID, came_at)
    assert ledger.lives[ID, "second"].accepted is about_the_second
    assert not ledger.violations


def test_where_nothing_has_ended_it_is_about_what_stands() -> None:
    """Their own claim, say, which came after them."""
    clock = Clock()
    ledger = Ledger(clock)
    clock.now = 1.0
    ledger.claimed(life("only"))
    clock.now = 2.0
    ledger.accepted(life("only"), ID, 0.5)
    assert ledger.lives[ID, "only"].accepted
