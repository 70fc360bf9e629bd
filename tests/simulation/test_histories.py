"""Histories: whole installations on virtual time, under faults."""

from __future__ import annotations

import pytest

from dedupd.sim.histories.plan import Mode
from dedupd.sim.histories.run import History, run

SEEDS = 200
BLOCK = 50


def told(history: History) -> str:
    """What is printed of a history that should not have been."""
    events = "\n".join(map(str, history.events))
    return f"seed {history.plan.seed}: {history.violations}\n{events}"


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_invariant_is_violated(first: int) -> None:
    for seed in range(first, first + BLOCK):
        history = run(seed)
        assert not history.violations, told(history)


def test_without_faults_everything_ends_as_it_should() -> None:
    for seed in range(100_000, 100_020):
        history = run(seed, intensity=0.0)
        assert not history.violations, told(history)
        assert not history.injected
        assert history.seconds < 60 or history.plan.mode is not Mode.SAFETY, told(history)
