"""Every schedule of the model with two faults; and the model can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import variants
from model.spin import build
from model.variants import Variant

FAULTS = 2

ALL_BROKEN = [
    pytest.param(variant, id=f"{variant.name}-{variant.violates}")
    for table in variants.BROKEN.values()
    for variant in table
]


PROPERTIES = [
    *((name, False, ()) for name in variants.SAFETY),
    *((name, True, ()) for name in variants.PROGRESS),
    *((name, False, variants.LATE) for name in variants.LATE_SAFETY),
    *((name, True, variants.LATE_AND_ALIVE) for name in variants.LATE_PROGRESS),
]

# A machine may be busy with much else; alone, each search takes a few seconds.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize(("name", "live", "defines"), PROPERTIES)
def test_it_holds_in_every_schedule(
    tmp_path: Path, name: str, live: bool, defines: tuple[str, ...]
) -> None:
    verifier = build(tmp_path, (f"FAULTS={FAULTS}", *defines), live=live)
    search = verifier.search(name)
    assert search.errors == 0, verifier.trail(name)
    assert search.complete, search.output
    assert search.states > 100_000


@pytest.mark.parametrize("variant", ALL_BROKEN)
def test_a_broken_protocol_is_found(tmp_path: Path, variant: Variant) -> None:
    live = variant.violates in variants.LIVE
    verifier = build(tmp_path, (f"FAULTS={variant.faults}", variant.name), live=live)
    search = verifier.search(variant.violates)
    assert search.errors == 1, search.output
    steps = verifier.trail(variant.violates)
    assert "(worker)" in steps
    assert "protocol.pml" in steps


def test_a_search_that_was_cut_short_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = build(tmp_path, ("FAULTS=1",), live=False)
    monkeypatch.setattr("model.spin.MAX_DEPTH", 20)
    search = verifier.search("one_effect")
    assert search.errors == 0
    assert not search.complete
