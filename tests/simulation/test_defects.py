"""The checks can fail: each seeded defect is found within a bounded number of seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from dedupd.sim.histories.run import History, run
from dedupd.sim.histories.themes import Theme
from tests.simulation.defects import DEFECTS
from tests.simulation.regressions import kept, load

MAX_SEEDS = 600

FOCUS = {
    "no fencing on finish": Theme.OVERTAKEN,
    "a send without a look at the lease": Theme.OVERTAKEN,
    "compensating what the record names": Theme.OVERTAKEN,
    "compensating without checking the mark": Theme.OUTSLEPT,
    "the settle time begins before the doubt": Theme.OVERTAKEN,
    "ignoring pagination": Theme.NAMESAKES,
    "a look overtakes what waits": Theme.NAMESAKES,
    "the settle time begins before it is known that Nova has taken the POST": Theme.NAMESAKES,
    "what is forgotten is still answered from memory": Theme.OPERATED,
    "an operator cancels what was sent": Theme.OPERATED,
}
"""The theme whose histories are made for a defect, where those of any theme show it too rarely."""

PINNED = {
    "a forgotten token's server is told to another user",
    "what a living owner lets lie is left to it",
}
"""What chance shows once in some ten thousand histories: see ``test_regressions.py``."""


INVARIANT = re.compile("[1-7]: ")
ROTTEN = re.compile("(Attribute|Import|Name|Type)Error")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(DEFECTS.keys() - PINNED))
def test_a_defect_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    focus = FOCUS.get(name)
    with monkeypatch.context() as patch:
        DEFECTS[name](patch)
        failing = first_failing(run(seed, focus=focus) for seed in range(MAX_SEEDS))
    assert any(INVARIANT.match(told) for told in failing.violations), failing.violations
    assert not run(failing.plan.seed, focus=focus).violations, "it is so without the defect"


def first_failing(histories: Iterable[History]) -> History:
    """The first that violates anything; the patch must still fit the product."""
    failing = next((history for history in histories if history.violations), None)
    assert failing is not None, "it was not found"
    assert not any(ROTTEN.search(told) for told in failing.violations), failing.violations
    return failing


def test_what_chance_does_not_show_is_kept() -> None:
    assert {load(path).defect for path in kept()} >= PINNED
