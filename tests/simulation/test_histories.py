"""Histories: whole installations on virtual time, under faults."""

from __future__ import annotations

import pytest

from dedupd.sim.histories import campaign, coverage
from dedupd.sim.histories.plan import INTENSITY, Mode
from dedupd.sim.histories.run import run
from dedupd.sim.histories.shrink import shrunk, told
from dedupd.sim.histories.tally import Tally

pytestmark = pytest.mark.timeout(900)
"""Seconds: whichever test comes first runs all histories."""

SEEDS = 3000
PROCESSES = 2


@pytest.fixture(scope="module")
def histories() -> Tally:
    """The sum of all histories of this module."""
    whole = Tally()
    for part in campaign.parts(0, SEEDS, PROCESSES, INTENSITY):
        whole.add(part)
    return whole


def failure(histories: Tally) -> str:
    """The first failing history with the fewest faults, for people."""
    seed, _ = histories.failed[0]
    return told(shrunk(run(seed)))


def test_no_invariant_is_violated(histories: Tally) -> None:
    assert histories.histories == SEEDS
    assert not histories.failures, failure(histories)
    assert histories.struck / SEEDS >= 30


def test_faults_strike_in_every_state_that_they_can(histories: Tally) -> None:
    assert [pair for pair in histories.missing() if pair not in coverage.AIMED] == []


def test_what_is_said_to_be_impossible_is_not_seen(histories: Tally) -> None:
    seen = {tuple(pair.split("/")) for pair in histories.pairs}
    assert not seen & {(state, str(fault)) for state, fault in coverage.told(coverage.IMPOSSIBLE)}


def test_without_faults_everything_ends_as_it_should() -> None:
    for seed in range(100_000, 100_020):
        history = run(seed, intensity=0.0)
        assert not history.violations, told(history)
        assert not history.injected
        assert history.seconds < 60 or history.plan.mode is not Mode.SAFETY, told(history)
