"""A short torment of everything, as part of the tests; `make chaos` goes on for longer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos.play import Script, run
from tests.chaos.screen import Screen

SCRIPTS = [Script("short-4692", 45, 2.5, "simulated"), Script("short-2409", 25, 2.5, "real")]
"""Always the same strikes, each of another kind, and no party is left out; what they meet differs
from run to run."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.nova)
async def test_nothing_is_made_twice_lost_or_answered_differently(
    script: Script, tmp_path: Path
) -> None:
    console = Console(file=sys.stdout, force_terminal=False, width=100)
    found = await run(script, tmp_path, Screen(console))
    console.print(found.table())
    assert not found.verdict.found, found.evidence
    assert found.strikes == len(script.strikes)
    assert found.lost_answers > 0
