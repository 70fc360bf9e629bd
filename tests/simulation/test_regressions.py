"""What was found stays mended: each kept history violates an invariant with its defect alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupd.sim.histories.script import replayed
from dedupd.sim.histories.shrink import told
from tests.simulation.defects import DEFECTS
from tests.simulation.regressions import kept, load


@pytest.mark.parametrize("path", kept(), ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regression = load(path)
    history = replayed(regression.script)
    assert not history.violations, told(history)
    assert len(history.injected) == len(regression.script.strikes)
    DEFECTS[regression.defect](monkeypatch)
    assert regression.violates in replayed(regression.script).violations
