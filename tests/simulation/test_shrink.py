"""A failing history is shrunk to faults of which none can be left out, and told."""

from __future__ import annotations

import pytest

from dedupd.sim.histories.run import rerun, run
from dedupd.sim.histories.shrink import shrunk, told
from tests.simulation.defects import DEFECTS

DEFECT = "a lost answer is taken for no effect"
MANY = 10
"""So many faults a history must have before it is shrunk."""


def test_no_fault_is_left_that_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    DEFECTS[DEFECT](monkeypatch)
    histories = map(run, range(600))
    failing = next(one for one in histories if one.violations and len(one.injected) > MANY)
    least = shrunk(failing)
    assert least.violations
    keys = [fault.key for fault in least.injected]
    assert 0 < len(keys) < MANY < len(failing.injected)
    for spared in keys:
        assert not rerun(failing.plan, [key for key in keys if key != spared]).violations
    lines = told(least).splitlines()
    assert f"seed {failing.plan.seed} " in lines[0]
    assert f"violated: {least.violations[0]}" in lines
    assert len(lines) > len(least.events)
