"""Shrinking a failing history to the fewest faults that still make it fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dedupd.sim.histories.faults import Key
from dedupd.sim.histories.run import History, rerun

MAX_RUNS = 400
"""How many histories a shrinking may cost."""


def shrunk(failing: History) -> History:
    """The history of the same plan with as few of its faults as still violate an invariant.

    Delta debugging (Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input): what
    is left has no fault that could be taken away alone.
    """
    smallest = failing
    budget = MAX_RUNS

    def fails(keys: Sequence[Key]) -> bool:
        nonlocal smallest, budget
        budget -= 1
        history = rerun(failing.plan, keys)
        if history.violations:
            smallest = history
        return bool(history.violations)

    keys = [fault.key for fault in failing.injected]
    parts = 2
    while len(keys) > 1 and budget > 0:
        fewer = _without_a_part(keys, parts, fails)
        if fewer is not None:
            keys, parts = fewer, max(parts - 1, 2)
        elif parts < len(keys):
            parts = min(2 * parts, len(keys))
        else:
            break
    return smallest


def _without_a_part(
    keys: list[Key], parts: int, fails: Callable[[Sequence[Key]], bool]
) -> list[Key] | None:
    """The keys without one of so many parts, where that still fails."""
    size = -(-len(keys) // parts)
    for start in range(0, len(keys), size):
        rest = keys[:start] + keys[start + size :]
        if rest and fails(rest):
            return rest
    return None


def told(history: History) -> str:
    """A failing history for people: what is wrong, the faults, and all that happened."""
    faults = (
        f"{fault.when:9.4f}  {fault.key.node:<10} {fault.fault} ({fault.state or 'no record'})"
        for fault in history.injected
    )
    lines = [
        f"seed {history.plan.seed} ({history.plan.mode}), {len(history.injected)} faults",
        *(f"violated: {violation}" for violation in history.violations),
        "faults:",
        *faults,
        "what happened:",
        *map(str, history.events),
    ]
    return "\n".join(lines)
