"""What a run found: counted from outside, never assumed."""

from __future__ import annotations

import bisect
import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.chaos.nemesis import Healed
from tests.chaos.schedule import FAULTS
from tests.integration.verdict import Verdict

_UNHARMED = "POST delay-after"
"""The one fault of Nova's POSTs that is no lost answer unless it outlasts dedupd's patience."""


@dataclass(frozen=True)
class Recovery:
    """How long after its heals a fault was over: seconds to the first answer of any front."""

    strikes: int
    seconds: Sequence[float]
    """Of each strike after which an answer was still to come."""

    @property
    def row(self) -> tuple[str, str, str]:
        """How often; the median and the worst, as text."""
        if not self.seconds:
            return str(self.strikes), "", ""
        middle, worst = statistics.median(self.seconds), max(self.seconds)
        return str(self.strikes), f"{middle:.2f}", f"{worst:.2f}"


@dataclass(frozen=True)
class Findings:
    """All that the table shows.

    ``seconds`` is how long it was tormented, ``silence`` the longest time without any answer
    meanwhile, ``mishaps`` what befell requests in Nova by fault.
    """

    seed: str
    nova: str
    seconds: float
    recoveries: Mapping[str, Recovery]
    started_again: int
    silence: float
    mishaps: Counter[str]
    answers: int
    unknown: int
    verdict: Verdict
    evidence: str
    """What is needed to follow what is wrong; empty where nothing is."""

    @property
    def strikes(self) -> int:
        """How many kills and faults of engines there were."""
        return sum(one.strikes for one in self.recoveries.values())

    @property
    def lost_answers(self) -> int:
        """How many answers to POSTs Nova lost or spoilt."""
        posts = {fault: count for fault, count in self.mishaps.items() if fault[:4] == "POST"}
        return sum(count for fault, count in posts.items() if fault != _UNHARMED)

    def table(self) -> Table:
        """What was done, and what came of it."""
        table = Table(title=f"Chaos, seed {self.seed}, {self.nova} Nova", title_justify="left")
        table.add_column("")
        for column in ("number", "recovery: median s", "worst s"):
            table.add_column(column, justify="right")
        for name, recovery in self.recoveries.items():
            table.add_row(name, *recovery.row)
        table.add_row("all kills and faults", *self._all.row, style="bold", end_section=True)
        for name, value in self._counts():
            table.add_row(name, value)
        table.add_section()
        for wrong, count in self.verdict.counts.items():
            table.add_row(wrong.value, str(count), style="bold red" if count else "bold green")
        return table

    @property
    def _all(self) -> Recovery:
        every = [second for one in self.recoveries.values() for second in one.seconds]
        return Recovery(self.strikes, every)

    def _counts(self) -> Iterator[tuple[str, str]]:
        yield "seconds of torment", f"{self.seconds:.0f}"
        yield "longest time without any answer, s", f"{self.silence:.1f}"
        yield "services that ended by themselves, started again", str(self.started_again)
        yield "tokens", str(self.verdict.tokens)
        yield "POSTs of clients", str(self.verdict.tries)
        yield "answers that Nova lost or spoilt", str(self.lost_answers)
        yield "answers to clients", str(self.answers)
        yield "unknown, of routes without a probe", str(self.unknown)
        yield "made once more by a paused worker, and deleted", str(self.verdict.undone)


def recoveries(healed: Sequence[Healed], answered: Sequence[float]) -> dict[str, Recovery]:
    """By fault, in the order of the table of faults; ``answered`` are moments, ascending."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    strikes = Counter(one.strike.fault.name for one in healed)
    for one in healed:
        place = bisect.bisect(answered, one.at)
        seconds[one.strike.fault.name] += [
            moment - one.at for moment in answered[place : place + 1]
        ]
    names = [fault.name for fault in FAULTS if fault.name in strikes]
    return {name: Recovery(strikes[name], seconds[name]) for name in names}


def silence(answered: Sequence[float], began: float, ended: float) -> float:
    """The longest time without an answer between two moments."""
    within = [moment for moment in answered if began < moment < ended]
    moments = [began, *within, ended]
    return max(after - before for before, after in itertools.pairwise(moments))
