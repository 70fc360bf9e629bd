"""What was found is kept: histories that violate an invariant where a defect is put back in.

``python -m tests.simulation.regressions NAME`` looks for such a history of the named defect,
shrinks it to the faults of which none can be left out, and writes it down.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from dedupd.sim.histories.faults import Fate
from dedupd.sim.histories.plan import INTENSITY, Mode, Plan, plan
from dedupd.sim.histories.run import rerun
from dedupd.sim.histories.script import Script, recorded, replayed
from dedupd.sim.histories.shrink import shrunk
from dedupd.sim.histories.stage import IDENTITY
from dedupd.sim.histories.themes import Theme
from tests.simulation.defects import DEFECTS

KEPT = Path(__file__).with_name("regressions")


class Regression(msgspec.Struct, frozen=True):
    """A history that was found, the defect that it shows, and what it violates."""

    defect: str
    violates: str
    script: Script


def kept() -> list[Path]:
    """All that is kept."""
    return sorted(KEPT.glob("*.json"))


def load(path: Path) -> Regression:
    """One of them."""
    return msgspec.json.decode(path.read_bytes(), type=Regression)


def main() -> int:
    """Find, shrink and keep a history of a defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("defect", choices=DEFECTS)
    parser.add_argument("--theme", type=Theme, choices=list(Theme))
    parser.add_argument(
        "--brokerless", action="store_true", help="all but the core lose the broker"
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3000)
    options = parser.parse_args()
    with pytest.MonkeyPatch.context() as patch:
        DEFECTS[options.defect](patch)
        for drawn in _plans(options):
            failing = rerun(drawn, None)
            if failing.violations:
                smallest = shrunk(failing)
                script = recorded(drawn, [fault.key for fault in smallest.injected])
                again = replayed(script)
                if again.violations:
                    _keep(Regression(options.defect, again.violations[0], script))
                    return 0
    return 1


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    for seed in range(options.first, options.first + options.seeds):
        drawn = plan(seed, IDENTITY, INTENSITY, options.theme)
        if options.brokerless:
            drawn = replace(drawn, mode=Mode.CORE, workers=2, fates=3 * (Fate.BROKERLESS,))
        yield drawn


def _keep(found: Regression) -> None:
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{found.defect.replace(' ', '-').replace(chr(39), '')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(f"{path.name}: {found.violates}, {len(found.script.strikes)} faults")


if __name__ == "__main__":
    sys.exit(main())
