"""The figures of a run, and the exit status that follows from them."""

from __future__ import annotations

from collections import Counter

import pytest
from rich.console import Console

from tests.chaos.findings import Findings, Recovery, recoveries, silence
from tests.chaos.nemesis import Healed
from tests.chaos.schedule import FAULTS, Fault, Strike
from tests.integration.verdict import Verdict, Violation, Wrong

KILLED, PAUSED = FAULTS[0], FAULTS[3]


def healed(fault: Fault, at: float) -> Healed:
    return Healed(Strike(0.0, fault, (0,), 1.0), at)


def test_a_recovery_lasts_from_the_heal_to_the_next_answer() -> None:
    found = recoveries([healed(PAUSED, 5.0), healed(KILLED, 1.0), healed(KILLED, 2.5)], [2.0, 4.5])
    assert list(found) == [KILLED.name, PAUSED.name]
    assert found[KILLED.name] == Recovery(2, [1.0, 2.0])
    assert found[KILLED.name].row == ("2", "1.50", "2.00")
    assert found[PAUSED.name] == Recovery(1, [])
    assert found[PAUSED.name].row == ("1", "", "")


@pytest.mark.parametrize(
    ("answered", "longest"), [([], 10.0), ([3.0, 4.0], 6.0), ([-5.0, 8.0, 99.0], 8.0)]
)
def test_the_longest_silence_is_within_the_torment(answered: list[float], longest: float) -> None:
    assert silence(answered, 0.0, 10.0) == longest


def test_the_table_counts_what_is_wrong_and_what_nova_lost() -> None:
    findings = Findings(
        seed="a",
        nova="simulated",
        seconds=60.0,
        recoveries={KILLED.name: Recovery(7, [0.25])},
        started_again=0,
        silence=1.0,
        mishaps=Counter({"POST drop-after": 3, "POST delay-after": 50, "GET 503-before": 9}),
        answers=11,
        unknown=1,
        verdict=Verdict(10, 40, 0, (Violation(Wrong.LOST, None, "why"),)),
        evidence="",
    )
    console = Console(width=100)
    with console.capture() as shown:
        console.print(findings.table())
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.get().splitlines()]
    assert [KILLED.name, "7", "0.25", "0.25"] in rows
    assert ["answers that Nova lost or spoilt", "3", "", ""] in rows
    assert ["lost", "1", "", ""] in rows
    assert ["duplicates", "0", "", ""] in rows
