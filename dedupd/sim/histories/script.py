"""A history that is pinned by its plan and its faults, not by a seed: what was found is kept so.

Each fault is named by what it struck: which one of a node's operations of a kind about a request.
That stays what it is when other operations, or other chances, come or go.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from dedupd.sim.histories.faults import (
    Draw,
    Fault,
    Key,
    Menu,
    Operation,
    Stream,
    Torment,
)
from dedupd.sim.histories.plan import Plan
from dedupd.sim.histories.run import History, play


class Occasion(NamedTuple):
    """One operation of a history."""

    node: str
    operation: Operation
    subject: str
    """The request's id; empty: it is about none."""
    nth: int
    """Which of the node's such operations about it, from 1."""


class Strike(msgspec.Struct, frozen=True):
    """One fault, what it strikes, and how hard."""

    occasion: Occasion
    fault: Fault
    size: float


class Script(msgspec.Struct, frozen=True):
    """A whole history."""

    plan: Plan
    strikes: tuple[Strike, ...]


def recorded(plan: Plan, keep: Iterable[Key]) -> Script:
    """The script of a plan's history in which only these faults strike."""
    written: list[Strike] = []
    keep = frozenset(keep)

    def make(state_of: Callable[[str], str], clock: Callable[[], float]) -> Torment:
        return _Recorder(written, plan.menus, keep, state_of, clock)

    play(plan, make)
    return Script(dataclasses.replace(plan, menus={}), tuple(written))


def replayed(script: Script) -> History:
    """What happens when exactly the script's faults strike."""
    strikes = {strike.occasion: strike for strike in script.strikes}

    def make(state_of: Callable[[str], str], clock: Callable[[], float]) -> Torment:
        return _Scripted(strikes, state_of, clock)

    return play(script.plan, make)


class _Counts:
    """Tells each operation of a history by a name."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, Operation, str]] = Counter()

    def occasion(self, stream: Stream, operation: Operation, subject: str) -> Occasion:
        kind = (stream.name, operation, subject)
        self._seen[kind] += 1
        return Occasion(*kind, self._seen[kind])


class _Recorder(Torment):
    """Draws as ever, and writes down what struck."""

    def __init__(
        self,
        written: list[Strike],
        menus: Mapping[Operation, Menu],
        keep: Iterable[Key],
        state_of: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(menus, keep, state_of, clock)
        self._written = written
        self._counts = _Counts()

    def _struck_by(
        self, stream: Stream, operation: Operation, subject: str, lot: float, size: float
    ) -> Draw:
        occasion = self._counts.occasion(stream, operation, subject)
        drawn = super()._struck_by(stream, operation, subject, lot, size)
        if drawn.fault is not None:
            self._written.append(Strike(occasion, drawn.fault, drawn.size))
        return drawn


class _Scripted(Torment):
    """Strikes as it is written."""

    def __init__(
        self,
        strikes: Mapping[Occasion, Strike],
        state_of: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        super().__init__({}, None, state_of, clock)
        self._strikes = strikes
        self._counts = _Counts()

    def _struck_by(
        self, stream: Stream, operation: Operation, subject: str, lot: float, size: float
    ) -> Draw:
        if self.ambush is not None:
            self.ambush.strikes(operation, subject)  # it keeps nothing back any more afterwards
        strike = self._strikes.get(self._counts.occasion(stream, operation, subject))
        return Draw(None, size) if strike is None else Draw(strike.fault, strike.size)
