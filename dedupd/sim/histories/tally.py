"""What many histories came to, added up: small enough to be written down again and again."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dedupd.sim.histories import coverage
from dedupd.sim.histories.faults import Fault
from dedupd.sim.histories.logs import quiet
from dedupd.sim.histories.run import run

KEPT_FAILURES = 100
"""So many seeds of failing histories are kept; the number of all is counted."""


class Tally(msgspec.Struct):
    """The sum of some histories."""

    histories: int = 0
    faults: dict[str, int] = {}
    pairs: dict[str, int] = {}
    """``state/fault``: how often."""
    modes: dict[str, int] = {}
    virtual_seconds: float = 0.0
    failures: int = 0
    failed: list[tuple[int, str]] = []
    """Seeds, and the first violation of each."""

    def add(self, other: Tally) -> None:
        """Add up."""
        self.histories += other.histories
        self.faults = _sum(self.faults, other.faults)
        self.pairs = _sum(self.pairs, other.pairs)
        self.modes = _sum(self.modes, other.modes)
        self.virtual_seconds += other.virtual_seconds
        self.failures += other.failures
        self.failed = sorted([*self.failed, *other.failed])[:KEPT_FAILURES]

    @property
    def struck(self) -> int:
        """How many faults there were."""
        return sum(self.faults.values())

    def missing(self) -> list[coverage.Pair]:
        """The possible pairs of state and fault that were not seen."""
        split = (name.split("/") for name in self.pairs)
        return list(coverage.missing((state, Fault(fault)) for state, fault in split))


class Checkpoint(msgspec.Struct):
    """How far a campaign got: it goes on from there."""

    first: int
    last: int
    next: int
    tally: Tally
    seconds: float = 0.0
    """How long it ran, in real time."""
    began: str = ""


def tallied(seeds: Iterable[int], intensity: float) -> Tally:
    """Run the histories of these seeds."""
    tally = Tally()
    faults: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    with quiet(), _own_collection():
        for seed in seeds:
            history = run(seed, intensity=intensity)
            tally.histories += 1
            tally.virtual_seconds += history.seconds
            modes[history.plan.mode] += 1
            faults.update(str(fault.fault) for fault in history.injected)
            seen = coverage.pairs(history.injected).items()
            pairs.update({f"{state}/{fault}": number for (state, fault), number in seen})
            if history.violations:
                tally.failures += 1
                tally.failed.append((seed, history.violations[0]))
            gc.collect()
    tally.faults, tally.pairs, tally.modes = dict(faults), dict(pairs), dict(modes)
    return tally


@contextmanager
def _own_collection() -> Iterator[None]:
    """Collect garbage between histories only, and never look at what was there before.

    The collector else takes a quarter of the time. What one history leaves is collected before the
    next one, which then runs in memory that the processor has at hand.
    """
    enabled = gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def load(path: Path) -> Checkpoint | None:
    """What was written down before, if anything."""
    return msgspec.json.decode(path.read_bytes(), type=Checkpoint) if path.exists() else None


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write it down, whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(checkpoint)))
    draft.replace(path)


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))
