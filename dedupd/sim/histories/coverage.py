"""Which faults struck requests in which states, and which pairs cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from dedupd.request import State
from dedupd.sim.histories.faults import Fault, Injected

ABSENT = "absent"
STATES = (ABSENT, *(state.label for state in State))
Pair = tuple[str, Fault]

_ANSWERED = frozenset(STATES) - {"queued", "sending"}
_PUBLISH = (
    Fault.PUBLISH_SLOW,
    Fault.PUBLISH_REFUSED,
    Fault.PUBLISH_UNCONFIRMED,
    Fault.PUBLISH_LATE,
    Fault.BROKER_EMPTIED,
)
_POST = (
    Fault.CONNECT_SLOW,
    Fault.CONNECT_REFUSED,
    Fault.POST_LOST,
    Fault.POST_SLOW,
    Fault.POST_BROKEN,
    Fault.POST_THROTTLED,
    Fault.ANSWER_LOST,
    Fault.ANSWER_BROKEN,
    Fault.COMMIT_LATE,
)
_EVENT = (Fault.EVENT_LOST, Fault.EVENT_REPEATED, Fault.EVENT_SLOW)
_QUESTION = (Fault.QUESTION_SLOW, Fault.QUESTION_LOST, Fault.QUESTION_BROKEN)

IMPOSSIBLE: tuple[tuple[str, tuple[Fault, ...], frozenset[str]], ...] = ()


def pairs(injected: Iterable[Injected]) -> Counter[Pair]:
    """How often each fault struck an operation on a request in each state."""
    return Counter((fault.state, fault.fault) for fault in injected if fault.state)


def impossible() -> dict[Pair, str]:
    """The pairs that no history can have, each with the reason."""
    return {
        (state, fault): reason
        for reason, faults, states in IMPOSSIBLE
        for fault in faults
        for state in states
    }


def missing(seen: Iterable[Pair]) -> Iterator[Pair]:
    """The possible pairs that were not seen."""
    known = set(seen) | impossible().keys()
    return ((state, fault) for state in STATES for fault in Fault if (state, fault) not in known)
