"""The same seed gives the same history, whatever the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dedupd.sim.histories.run import run

SEEDS = range(30)
ROOT = Path(__file__).parents[2]


def digests(hash_seed: str, seeds: list[int]) -> dict[int, str]:
    """The histories' digests as another process sees them."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.simulation.digests", *map(str, seeds)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (line.split() for line in ended.stdout.splitlines())
    return {int(seed): digest for seed, digest in pairs}


def test_two_processes_see_the_same_histories() -> None:
    one = digests("1", list(SEEDS))
    other = digests("2", list(reversed(SEEDS)))
    assert one == other
    assert len(set(one.values())) == len(SEEDS)


def test_a_history_comes_again_in_the_same_process() -> None:
    first, second = run(7), run(7)
    assert first.events == second.events
    assert first.injected == second.injected
    assert run(8).digest != first.digest
