"""Which faults struck requests in which states, and which pairs cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from dedupd.request import State
from dedupd.sim.histories.faults import Fault, Injected

ABSENT = "absent"
STATES = (ABSENT, *(state.label for state in State))
Pair = tuple[str, Fault]

Pairs = tuple[tuple[str, tuple[Fault, ...], tuple[str, ...]], ...]
"""A reason, and for which faults and which states it holds."""

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
    Fault.SEND_PAUSE,
)
_EVENT = (Fault.EVENT_LOST, Fault.EVENT_REPEATED, Fault.EVENT_SLOW)
_QUESTION = (Fault.QUESTION_SLOW, Fault.QUESTION_LOST, Fault.QUESTION_BROKEN)
_FRONT = (Fault.FRONT_CRASH, Fault.FRONT_PAUSE, Fault.FRONT_CLOCK)

IMPOSSIBLE: Pairs = (
    (
        "A completion is told by the very write that ends the wait for a request.",
        _EVENT,
        ("absent", "queued", "sending", "tombstone"),
    ),
    (
        """A POST leaves while the lease lives under which its record became SENDING, or seems to
        for as long as a lease and a wrong clock last. In that time another worker can take the
        record over, but neither end nor queue it: both need a look after the settle time.""",
        _POST,
        ("absent", "queued", "done", "cancelled", "released", "tombstone"),
    ),
)

RARE: Pairs = (
    (
        """A worker without its lease stands still before its POST, not for long enough to notice,
        and meanwhile another one gives up what has no probe.""",
        _POST,
        ("unknown",),
    ),
    (
        "What was queued when it was read is sent, has ended, or is gone when it is published.",
        _PUBLISH,
        ("absent", "sending", "unknown", "done", "cancelled", "released", "tombstone"),
    ),
    (
        "What a worker asks about was withdrawn, cancelled, released or buried meanwhile.",
        _QUESTION,
        ("absent", "cancelled", "released", "tombstone"),
    ),
    (
        "A released record stays for a minute at most, and few come back for it then.",
        _FRONT,
        ("released",),
    ),
)
"""What can be, and chance alone makes too rarely to be demanded of some thousand histories."""


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
