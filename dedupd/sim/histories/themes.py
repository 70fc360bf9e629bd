"""What some histories are about: what is rare by chance alone is drawn on purpose in them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from dedupd.sim.histories.faults import Fault


class Theme(enum.StrEnum):
    """The themes; what each is for stands in ``THEMES``."""

    ANYTHING = "anything"
    NAMESAKES = "namesakes"
    OVERTAKEN = "overtaken"
    AFTERWARDS = "afterwards"


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
    haste: float = 1.0
    """How much quicker that one is, and how much fonder of taking marks away."""
    preexisting: float = 0.1
    """How likely keypairs of the wanted names are there before."""
    cancels: float = 0.04
    """How likely a caller cancels."""
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


THEMES: Mapping[Theme, Emphasis] = {
    Theme.ANYTHING: Emphasis(share=0.5),
    # Answers are lost while Nova lists many servers of one name on many pages.
    Theme.NAMESAKES: Emphasis(
        share=0.1,
        kinds={"server by metadata": 5.0, "server by tag": 1.0},
        factors={Fault.ANSWER_LOST: 4.0, Fault.ANSWER_BROKEN: 4.0, Fault.COMMIT_LATE: 3.0},
        others=0.7,
        pages=(1,),
        requests=(3,),
    ),
    # A worker stands still until others have taken its requests over and ended them.
    Theme.OVERTAKEN: Emphasis(
        share=0.2,
        kinds={
            "server by tag": 8.0,
            "server by metadata": 1.0,
            "imported keypair": 2.0,
            "generated keypair": 1.0,
        },
        factors={Fault.SEND_PAUSE: 1.6, Fault.WORKER_PAUSE: 0.7, Fault.LEASE_ENDED: 2.0},
        others=0.5,
        workers=(2, 2, 3),
        requests=(1, 2),
        meddles=0.8,
        haste=4.0,
        preexisting=0.6,
        pause_exponent=0.4,
        quiet=(24.0, 34.0),
        lasts=40.0,
    ),
    # Callers come back to what has ended: unknown, cancelled, released, or a tombstone.
    Theme.AFTERWARDS: Emphasis(
        share=0.2,
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
}
"""What is drawn how often, and what it is for."""
