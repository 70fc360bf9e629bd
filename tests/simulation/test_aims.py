"""What chance makes too rarely is lain in wait for: each such pair of state and fault is seen."""

from __future__ import annotations

import pytest

from dedupd.sim.histories import coverage
from dedupd.sim.histories.faults import Aim
from dedupd.sim.histories.run import run
from dedupd.sim.histories.shrink import told

MAX_SEEDS = 200
"""Within so many histories that lie in wait for a pair it is seen, or there is something wrong."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pair", coverage.AIMED, ids="/".join)
def test_a_pair_that_is_aimed_at_is_seen(pair: coverage.Pair) -> None:
    for seed in range(MAX_SEEDS):
        history = run(seed, focus=coverage.AIMED[pair], aim=Aim(*pair))
        assert not history.violations, told(history)
        if pair in coverage.pairs(history.injected):
            return
    pytest.fail(f"{'/'.join(pair)} was not seen in {MAX_SEEDS} histories")


def test_what_is_aimed_at_is_not_said_to_be_impossible() -> None:
    assert not coverage.AIMED.keys() & coverage.told(coverage.IMPOSSIBLE).keys()
