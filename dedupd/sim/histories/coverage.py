"""Which faults struck requests in which states, and which pairs cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from dedupd.request import State
from dedupd.sim.histories.faults import EVENT, POST, Fault, Injected
from dedupd.sim.histories.themes import THEMES, Theme

ABSENT = "absent"
STATES = (ABSENT, *(state.label for state in State))
Pair = tuple[str, Fault]

Pairs = tuple[tuple[str, tuple[Fault, ...], tuple[str, ...]], ...]
"""A reason, and for which faults and which states it holds."""

IMPOSSIBLE: Pairs = (
    (
        "A completion is told by the very write that ends the wait for a request.",
        EVENT,
        ("absent", "queued", "sending", "tombstone"),
    ),
    (
        """A POST leaves while the lease lives under which its record became SENDING, or seems to
        for as long as a lease and a wrong clock last. In that time another worker can take the
        record over, but neither end nor queue it: both need a look after the settle time. Nor
        does an operator decide so soon, or forget by force what is being sent.""",
        POST,
        ("absent", "queued", "done", "cancelled", "released", "tombstone"),
    ),
)

AIMED: Mapping[Pair, Theme] = {
    (aim.state, aim.fault): theme for theme, emphasis in THEMES.items() for aim in emphasis.aims
}
"""What can be, and chance alone makes too rarely: the theme whose histories lie in wait for it."""


def pairs(injected: Iterable[Injected]) -> Counter[Pair]:
    """How often each fault struck an operation on a request in each state."""
    return Counter((fault.state, fault.fault) for fault in injected if fault.state)


def told(groups: Pairs) -> dict[Pair, str]:
    """Each pair of some groups, with the reason."""
    return {
        (state, fault): reason
        for reason, faults, states in groups
        for fault in faults
        for state in states
    }


def missing(seen: Iterable[Pair]) -> Iterator[Pair]:
    """The possible pairs that were not seen."""
    known = set(seen) | told(IMPOSSIBLE).keys()
    return ((state, fault) for state in STATES for fault in Fault if (state, fault) not in known)
