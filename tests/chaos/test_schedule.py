"""What goes wrong is decided by the seed alone, and fits together."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.chaos.play import SIZES
from tests.chaos.schedule import FAULTS, Party, Strike, Whom, schedule

SECONDS = 1200.0
SEEDS = [str(number) for number in range(20)]


def strikes_of(seed: str) -> tuple[Strike, ...]:
    return schedule(seed, SECONDS, 2.5, SIZES)


def test_the_same_seed_gives_the_same_strikes_and_another_one_others() -> None:
    assert strikes_of("a") == strikes_of("a")
    assert strikes_of("a") != strikes_of("b")


def test_every_fault_comes_up() -> None:
    assert {strike.fault for strike in strikes_of("a")} == set(FAULTS)


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_is_healed_within_the_time(seed: str) -> None:
    assert all(0 < strike.at <= strike.ends <= SECONDS for strike in strikes_of(seed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("party", Party)
def test_a_party_is_healed_before_it_is_struck_again(seed: str, party: Party) -> None:
    its = [strike for strike in strikes_of(seed) if strike.fault.party is party]
    assert len(its) > 10
    assert all(one.ends <= other.at for one, other in pairwise(its))


def test_parties_are_struck_at_the_same_time() -> None:
    strikes = strikes_of("a")
    assert any(other.at < one.ends for one, other in pairwise(strikes))


def test_as_many_are_struck_as_the_fault_says() -> None:
    expected = {Whom.ONE: 1, Whom.LEADER: 0, Whom.MOST: 2}
    for strike in strikes_of("a"):
        size = SIZES[strike.fault.party]
        assert len(strike.victims) == expected.get(strike.fault.whom, size), strike
        assert set(strike.victims) <= set(range(size))
