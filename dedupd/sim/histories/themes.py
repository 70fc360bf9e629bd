"""What some histories are about: what is rare by chance alone is drawn on purpose in them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from dedupd.sim.histories.faults import FRONT, POST, PUBLISH, QUESTION, Aim, Fault


class Theme(enum.StrEnum):
    """The themes; what each is for stands in ``THEMES``."""

    ANYTHING = "anything"
    NAMESAKES = "namesakes"
    OVERTAKEN = "overtaken"
    OUTSLEPT = "outslept"
    AFTERWARDS = "afterwards"
    MOVED_ON = "moved on"
    ASKED_IN_VAIN = "asked in vain"
    UNLEASED = "unleased"
    RETURNED = "returned"
    OPERATED = "operated"


@dataclass(frozen=True)
class Emphasis:
    """How a history of a theme differs from one of none."""

    share: float
    """How often the theme is drawn."""
    kinds: Mapping[str, float] | None = None
    """What is requested, and how often; None: anything."""
    factors: Mapping[Fault, float] | None = None
    """How often these faults strike; None: all as any history's."""
    others: float = 1.0
    """The same for all other faults."""
    pages: tuple[int, ...] = (1, 2, 1000)
    """How many servers Nova shows at once."""
    workers: tuple[int, ...] = (1, 2, 2)
    requests: tuple[int, ...] = (1, 1, 2, 2, 3)
    meddles: float = 0.2
    """How likely somebody else works on the same servers and keypairs."""
    operates: float = 0.05
    """How likely an operator is at work."""
    haste: float = 1.0
    """How much quicker that one is, and how much fonder of taking marks away."""
    preexisting: float = 0.1
    """How likely keypairs of the wanted names are there before."""
    cancels: float = 0.04
    """How likely a caller cancels."""
    asks: float = 0.08
    """How likely a caller asks for the status meanwhile."""
    sweep: float = 5.0
    """How often workers sweep, in seconds."""
    tries: tuple[int, ...] = (1, 2, 2, 3)
    """How often a caller comes."""
    results: tuple[float, ...] = (6.0, 3600.0, 3600.0)
    """For how many seconds a result is kept."""
    retries: tuple[float, ...] = (2.0, 8.0)
    """For how many seconds what had no effect is tried again."""
    pause_exponent: float = 3.0
    """How rare long pauses are."""
    quiet: tuple[float, float] = (6.0, 16.0)
    """Between when and when the faults end, in seconds."""
    lasts: float = 30.0
    """After how many seconds a history ends in which they never do."""
    lingers: float = 0.0
    """For how many seconds it goes on when everything has ended, before the faults end."""
    aims: tuple[Aim, ...] = ()
    """Which fault waits for which state: one of these."""


def _aims(faults: tuple[Fault, ...], *states: str) -> tuple[Aim, ...]:
    return tuple(Aim(state, fault) for state in states for fault in faults)


THEMES: Mapping[Theme, Emphasis] = {
    Theme.ANYTHING: Emphasis(share=0.35),
    # Answers are lost while Nova lists many servers of one name on many pages.
    Theme.NAMESAKES: Emphasis(
        share=0.1,
        kinds={"server by metadata": 5.0, "server by tag": 1.0},
        factors={
            Fault.ANSWER_LOST: 4.0,
            Fault.ANSWER_BROKEN: 4.0,
            Fault.COMMIT_LATE: 3.0,
            Fault.POST_WAITS: 3.0,
        },
        others=0.7,
        pages=(1,),
        requests=(3,),
    ),
    # A worker stands still until others have taken its requests over and ended them.
    Theme.OVERTAKEN: Emphasis(
        share=0.18,
        kinds={
            "server by tag": 8.0,
            "server by metadata": 1.0,
            "imported keypair": 2.0,
            "generated keypair": 1.0,
        },
        factors={
            Fault.SEND_PAUSE: 1.6,
            Fault.SEND_KEPT: 2.0,
            Fault.WORKER_PAUSE: 1.0,
            Fault.LEASE_ENDED: 1.0,
        },
        others=0.5,
        workers=(2, 2, 3),
        requests=(1, 2),
        meddles=1.0,
        haste=8.0,
        preexisting=0.6,
        pause_exponent=0.4,
        quiet=(24.0, 34.0),
        lasts=40.0,
    ),
    # A worker sleeps right behind its first byte until others have looked in vain, since the mark
    # was taken away meanwhile, and have sent again.
    Theme.OUTSLEPT: Emphasis(
        share=0.03,
        kinds={"server by tag": 1.0},
        factors={
            Fault.SEND_PAUSE: 6.0,
            Fault.SEND_KEPT: 1.0,
            Fault.WORKER_PAUSE: 0.5,
            Fault.LEASE_ENDED: 0.5,
        },
        others=0.3,
        workers=(2, 2, 3),
        requests=(1, 2),
        meddles=1.0,
        haste=30.0,
        pause_exponent=0.2,
        quiet=(24.0, 34.0),
        lasts=40.0,
    ),
    # Callers come back to what has ended: unknown, cancelled, released, or a tombstone.
    Theme.AFTERWARDS: Emphasis(
        share=0.15,
        kinds={"server group": 2.0, "server by tag": 4.0, "refused server": 1.0},
        factors={
            Fault.CONNECT_REFUSED: 8.0,
            Fault.POST_LOST: 3.0,
            Fault.QUESTION_SLOW: 3.0,
            Fault.QUESTION_LOST: 4.0,
            Fault.QUESTION_BROKEN: 3.0,
            Fault.MESSAGE_SLOW: 4.0,
            Fault.WORKER_CRASH: 2.0,
            Fault.WORKER_CLOCK: 2.0,
            Fault.LEASE_ENDED: 2.0,
        },
        requests=(1, 2),
        cancels=0.3,
        tries=(3, 5, 7),
        results=(2.0,),
        lingers=12.0,
        retries=(2.0,),
    ),
    # What was queued when it was read is sent, has ended, or is gone when it is published.
    Theme.MOVED_ON: Emphasis(
        share=0.05,
        kinds={"server group": 3.0, "server by tag": 2.0},
        factors={
            Fault.CONNECT_REFUSED: 8.0,
            Fault.MESSAGE_SLOW: 5.0,
            Fault.PUBLISH_LATE: 2.0,
            Fault.PUBLISH_UNCONFIRMED: 2.0,
            Fault.ANSWER_BROKEN: 4.0,
            Fault.LEASE_ENDED: 2.0,
        },
        others=0.2,
        workers=(2, 2, 3),
        cancels=0.2,
        sweep=0.4,
        tries=(3, 5),
        results=(2.0,),
        retries=(2.0, 8.0),
        aims=_aims(
            PUBLISH, "absent", "sending", "unknown", "done", "cancelled", "released", "tombstone"
        ),
    ),
    # What a worker asks about was withdrawn, cancelled or buried meanwhile.
    Theme.ASKED_IN_VAIN: Emphasis(
        share=0.05,
        kinds={"imported keypair": 1.0, "generated keypair": 1.0},
        factors={
            Fault.CONNECT_REFUSED: 6.0,
            Fault.PUBLISH_UNCONFIRMED: 4.0,
            Fault.STORE_SLOW: 2.0,
            Fault.MESSAGE_REPEATED: 3.0,
        },
        workers=(2, 2, 3),
        cancels=0.4,
        asks=0.4,
        tries=(2, 3, 5),
        results=(2.0,),
        retries=(2.0,),
        aims=_aims(QUESTION, "absent", "cancelled", "tombstone"),
    ),
    # A worker without its lease has not noticed before its POST that another one has given up.
    Theme.UNLEASED: Emphasis(
        share=0.05,
        kinds={"server group": 1.0},
        factors={Fault.LEASE_ENDED: 2.0, Fault.STORE_REFUSED: 0.3, Fault.WORKER_CRASH: 0.0},
        others=0.5,
        workers=(2, 3),
        sweep=0.2,
        aims=_aims(POST, "unknown"),
    ),
    # An operator settles what became unknown, cancels, and forgets. A question may come late.
    Theme.OPERATED: Emphasis(
        share=0.08,
        kinds={
            "server group": 2.0,
            "server by tag": 2.0,
            "servers by tag": 1.0,
            "server by metadata": 1.0,
            "reserved server": 1.0,
            "imported keypair": 1.0,
            "generated keypair": 1.0,
        },
        factors={
            Fault.POST_LOST: 3.0,
            Fault.ANSWER_LOST: 2.0,
            Fault.ANSWER_BROKEN: 2.0,
            Fault.POST_BROKEN: 2.0,
            Fault.COMMIT_LATE: 2.0,
            Fault.POST_WAITS: 2.0,
            Fault.QUESTION_BROKEN: 6.0,
            Fault.QUESTION_LOST: 6.0,
        },
        others=0.5,
        requests=(1, 2),
        operates=1.0,
        tries=(5, 7, 9),
        retries=(2.0,),
        quiet=(40.0, 60.0),
        lasts=60.0,
        lingers=25.0,
        aims=_aims(QUESTION, "released"),
    ),
    # A released record stays for a minute at most, and few come back for it then.
    Theme.RETURNED: Emphasis(
        share=0.02,
        kinds={"server group": 1.0, "server by tag": 2.0},
        factors={Fault.CONNECT_REFUSED: 12.0, Fault.WORKER_CRASH: 0.5},
        tries=(5, 7),
        retries=(2.0,),
        lingers=12.0,
        aims=_aims((*FRONT, Fault.WORKER_CLOCK), "released"),
    ),
}
"""What is drawn how often, and what it is for."""
