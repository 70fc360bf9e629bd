"""Many histories on all cores: what is told, and where a campaign that was broken off goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dedupd.sim.histories import tally
from dedupd.sim.histories.plan import INTENSITY
from dedupd.sim.histories.tally import Checkpoint, tallied

SEEDS = 6


def campaign(path: Path) -> str:
    """What the command says of the first seeds; their sum is in the file."""
    command = ["-m", "dedupd.sim.histories", "--seeds", str(SEEDS), "--file", str(path)]
    ended = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, timeout=300
    )
    return ended.stdout


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    told = campaign(whole)
    assert f"{SEEDS} histories (seeds 0 to {SEEDS - 1}), 0 violated an invariant" in told
    assert "pairs of state and fault seen" in told
    tally.save(rest, Checkpoint(0, SEEDS, 4, tallied(range(4), INTENSITY), seconds=1.0))
    campaign(rest)
    one, other = tally.load(whole), tally.load(rest)
    assert one is not None
    assert other is not None
    assert (one.next, other.next) == (SEEDS, SEEDS)
    assert one.tally == other.tally
    assert one.tally.struck > 30 * SEEDS / 2
