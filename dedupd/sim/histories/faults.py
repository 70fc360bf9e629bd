"""What may go wrong, how often, and the seeded choice of when it does.

Every operation of a process has a place in the *stream* of its node, and draws twice from it:
whether a fault strikes, and how hard. So one fault can be left out of a history and the rest stays
in place, as far as the history itself does not take another course.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dedupd.sim.histories.ambush import Ambush

import msgspec


class Fault(enum.StrEnum):
    """The kinds of faults, by what they strike."""

    STORE_SLOW = "store slow"
    STORE_REFUSED = "store refused"
    STORE_UNANSWERED = "store answer lost"
    STORE_LATE = "store committed late"
    STORE_COPIED = "store copy left behind"
    EVENT_LOST = "completion lost"
    EVENT_REPEATED = "completion repeated"
    EVENT_SLOW = "completion slow"
    PUBLISH_SLOW = "publish slow"
    PUBLISH_REFUSED = "publish refused"
    PUBLISH_UNCONFIRMED = "publish not confirmed"
    PUBLISH_LATE = "published late"
    BROKER_EMPTIED = "broker emptied"
    MESSAGE_LOST = "message lost"
    MESSAGE_REPEATED = "message repeated"
    MESSAGE_SLOW = "message reordered"
    CONNECT_SLOW = "connect slow"
    CONNECT_REFUSED = "connect refused"
    POST_LOST = "POST lost"
    POST_SLOW = "POST slow"
    POST_WAITS = "POST not taken yet"
    POST_BROKEN = "5xx before the commit"
    POST_THROTTLED = "throttled"
    ANSWER_LOST = "answer lost"
    ANSWER_BROKEN = "5xx after the commit"
    COMMIT_LATE = "commit late"
    SEND_PAUSE = "pause while sending"
    SEND_KEPT = "send kept past its lease"
    QUESTION_SLOW = "question slow"
    QUESTION_LOST = "question lost"
    QUESTION_BROKEN = "question 5xx"
    FRONT_CRASH = "front crash"
    FRONT_PAUSE = "front pause"
    FRONT_CLOCK = "front clock jump"
    WORKER_CRASH = "worker crash"
    WORKER_PAUSE = "worker pause"
    WORKER_CLOCK = "worker clock jump"
    LEASE_ENDED = "lease ended"
    REPLY_LOST = "reply lost"
    CALLER_GONE = "caller gone"


PUBLISH = (
    Fault.PUBLISH_SLOW,
    Fault.PUBLISH_REFUSED,
    Fault.PUBLISH_UNCONFIRMED,
    Fault.PUBLISH_LATE,
    Fault.BROKER_EMPTIED,
)
POST = (
    Fault.CONNECT_SLOW,
    Fault.CONNECT_REFUSED,
    Fault.POST_LOST,
    Fault.POST_SLOW,
    Fault.POST_WAITS,
    Fault.POST_BROKEN,
    Fault.POST_THROTTLED,
    Fault.ANSWER_LOST,
    Fault.ANSWER_BROKEN,
    Fault.COMMIT_LATE,
    Fault.SEND_PAUSE,
    Fault.SEND_KEPT,
)
EVENT = (Fault.EVENT_LOST, Fault.EVENT_REPEATED, Fault.EVENT_SLOW)
QUESTION = (Fault.QUESTION_SLOW, Fault.QUESTION_LOST, Fault.QUESTION_BROKEN)
LATER = frozenset((Fault.STORE_COPIED,))
"""Kinds that came later have chances of their own, so that a seed decides the rest as before."""
FRONT = (Fault.FRONT_CRASH, Fault.FRONT_PAUSE, Fault.FRONT_CLOCK)
"""Faults by what they strike and nothing else does."""


class Operation(enum.StrEnum):
    """The scheduling points: what a process waits for."""

    FRONT_STORE = "front store"
    FRONT_PUBLISH = "front publish"
    FRONT_QUESTION = "front question"
    FRONT_UPKEEP = "front upkeep"
    """A store operation about no request in particular."""
    WORKER_STORE = "worker store"
    WORKER_UPKEEP = "worker upkeep"
    WORKER_PUBLISH = "worker publish"
    WORKER_CONSUME = "worker consume"
    WORKER_QUESTION = "worker question"
    FRONT_PASSING = "front passing on"
    OPERATOR_STORE = "operator store"
    OPERATOR_QUESTION = "operator question"
    POST = "post"
    EVENT = "event"
    MESSAGE = "message"
    REPLY = "reply"


Weights = Mapping[Fault, float]

_STORE: Weights = {
    Fault.STORE_SLOW: 6.0,
    Fault.STORE_REFUSED: 4.0,
    Fault.STORE_UNANSWERED: 5.0,
    Fault.STORE_LATE: 4.0,
}
_COPIED: Weights = {Fault.STORE_COPIED: 3.0}
"""Behind the others wherever it stands: what struck an operation before does so still."""
_STORE_UPKEEP: Weights = {
    Fault.STORE_SLOW: 2.0,
    Fault.STORE_REFUSED: 1.5,
    Fault.STORE_UNANSWERED: 1.5,
    Fault.STORE_LATE: 1.0,
}
_PUBLISH: Weights = {
    Fault.PUBLISH_SLOW: 8.0,
    Fault.PUBLISH_REFUSED: 8.0,
    Fault.PUBLISH_UNCONFIRMED: 8.0,
    Fault.PUBLISH_LATE: 6.0,
    Fault.BROKER_EMPTIED: 4.0,
}
_CONSUME: Weights = {
    Fault.PUBLISH_SLOW: 3.0,
    Fault.PUBLISH_REFUSED: 3.0,
    Fault.BROKER_EMPTIED: 2.0,
    Fault.WORKER_CRASH: 0.5,
    Fault.WORKER_PAUSE: 0.5,
}
_QUESTION: Weights = {
    Fault.QUESTION_SLOW: 8.0,
    Fault.QUESTION_LOST: 6.0,
    Fault.QUESTION_BROKEN: 6.0,
}
_FRONT: Weights = {Fault.FRONT_CRASH: 0.8, Fault.FRONT_PAUSE: 1.0, Fault.FRONT_CLOCK: 1.0}
_WORKER: Weights = {
    Fault.WORKER_CRASH: 1.2,
    Fault.WORKER_PAUSE: 1.8,
    Fault.WORKER_CLOCK: 1.5,
    Fault.LEASE_ENDED: 1.0,
}
_WORKER_UPKEEP: Weights = {
    Fault.WORKER_CRASH: 0.3,
    Fault.WORKER_PAUSE: 0.5,
    Fault.WORKER_CLOCK: 0.4,
    Fault.LEASE_ENDED: 0.3,
}
_POST: Weights = {
    Fault.SEND_PAUSE: 8.0,
    Fault.SEND_KEPT: 6.0,
    Fault.CONNECT_SLOW: 5.0,
    Fault.CONNECT_REFUSED: 6.0,
    Fault.POST_LOST: 6.0,
    Fault.POST_SLOW: 8.0,
    Fault.POST_WAITS: 3.0,
    Fault.POST_BROKEN: 5.0,
    Fault.POST_THROTTLED: 5.0,
    Fault.ANSWER_LOST: 10.0,
    Fault.ANSWER_BROKEN: 6.0,
    Fault.COMMIT_LATE: 10.0,
    Fault.WORKER_CRASH: 6.0,
    Fault.WORKER_CLOCK: 2.0,
    Fault.LEASE_ENDED: 4.0,
}
_PASSING: Weights = {
    Fault.CONNECT_REFUSED: 6.0,
    Fault.POST_LOST: 6.0,
    Fault.POST_SLOW: 6.0,
    Fault.POST_BROKEN: 5.0,
    Fault.ANSWER_LOST: 8.0,
    Fault.ANSWER_BROKEN: 5.0,
    Fault.COMMIT_LATE: 6.0,
}
_EVENT: Weights = {Fault.EVENT_LOST: 12.0, Fault.EVENT_REPEATED: 10.0, Fault.EVENT_SLOW: 16.0}
_MESSAGE: Weights = {
    Fault.MESSAGE_LOST: 10.0,
    Fault.MESSAGE_REPEATED: 14.0,
    Fault.MESSAGE_SLOW: 16.0,
}
_REPLY: Weights = {Fault.REPLY_LOST: 8.0, Fault.CALLER_GONE: 8.0}

WEIGHTS: Mapping[Operation, Weights] = {
    Operation.FRONT_STORE: {**_STORE, **_FRONT, **_COPIED},
    Operation.FRONT_PUBLISH: {**_PUBLISH, **_FRONT},
    Operation.FRONT_QUESTION: {**_QUESTION, **_FRONT},
    Operation.FRONT_UPKEEP: {**_STORE_UPKEEP, **_FRONT},
    Operation.WORKER_STORE: {**_STORE, **_WORKER, **_COPIED},
    Operation.WORKER_UPKEEP: {**_STORE_UPKEEP, **_WORKER_UPKEEP},
    Operation.WORKER_PUBLISH: {**_PUBLISH, **_WORKER},
    Operation.WORKER_CONSUME: _CONSUME,
    Operation.WORKER_QUESTION: {**_QUESTION, **_WORKER},
    Operation.FRONT_PASSING: {**_PASSING, **_FRONT},
    Operation.OPERATOR_STORE: {**_STORE, **_COPIED},
    Operation.OPERATOR_QUESTION: _QUESTION,
    Operation.POST: _POST,
    Operation.EVENT: _EVENT,
    Operation.MESSAGE: _MESSAGE,
    Operation.REPLY: _REPLY,
}
"""How likely each fault is at each kind of operation, in percent at intensity 1."""

UPKEEP: Mapping[Operation, Operation] = {
    Operation.FRONT_STORE: Operation.FRONT_UPKEEP,
    Operation.WORKER_STORE: Operation.WORKER_UPKEEP,
    Operation.WORKER_PUBLISH: Operation.WORKER_CONSUME,
}
"""What an operation is where it is about no request: those are many, and tell little."""


class Fate(enum.StrEnum):
    """What becomes of a node that is not among the healthy core, for good."""

    DEAD = "dead"
    STOPPED = "stopped"
    TROUBLED = "troubled"
    BROKERLESS = "without the broker"
    STORELESS = "without the store"
    CLOUDLESS = "without the cloud"


LASTING: Mapping[Fate, Mapping[Operation, Fault]] = {
    Fate.BROKERLESS: {
        Operation.FRONT_PUBLISH: Fault.PUBLISH_REFUSED,
        Operation.WORKER_PUBLISH: Fault.PUBLISH_REFUSED,
        Operation.WORKER_CONSUME: Fault.PUBLISH_REFUSED,
    },
    Fate.STORELESS: {
        Operation.FRONT_STORE: Fault.STORE_REFUSED,
        Operation.FRONT_UPKEEP: Fault.STORE_REFUSED,
        Operation.WORKER_STORE: Fault.STORE_REFUSED,
        Operation.WORKER_UPKEEP: Fault.STORE_REFUSED,
        Operation.EVENT: Fault.EVENT_LOST,
    },
    Fate.CLOUDLESS: {
        Operation.POST: Fault.CONNECT_REFUSED,
        Operation.WORKER_QUESTION: Fault.QUESTION_LOST,
        Operation.FRONT_QUESTION: Fault.QUESTION_LOST,
    },
}
"""The one fault that strikes each such operation of a node that has lost an engine."""

SWARM = (0.0, 0.5, 1.0, 1.0, 2.0)
"""One history leaves some kinds out and has more of others: what hides one bug shows another."""


class Aim(NamedTuple):
    """A fault that is to strike an operation on a request in one state."""

    state: str
    fault: Fault


class Key(NamedTuple):
    """Which operation of which node a fault struck."""

    node: str
    place: int


class Injected(NamedTuple):
    """One fault that struck; ``state`` is that of the record which the operation was about."""

    key: Key
    when: float
    operation: Operation
    fault: Fault
    subject: str
    state: str


class Draw(msgspec.Struct, frozen=True, gc=False):
    """What an operation drew: a fault or none, and a number in [0, 1) that says how hard."""

    fault: Fault | None
    size: float


@dataclass
class Stream:
    """The chances of one node, in the order of its operations."""

    name: str
    chance: random.Random
    place: int = 0


def stream(seed: int, name: str) -> Stream:
    """The stream of a node in the history of a seed."""
    return Stream(name, random.Random(f"{seed} {name}"))


Menu = tuple[tuple[float, Fault], ...]
"""Cumulated probabilities."""


def menus(
    chance: random.Random, later: random.Random, often: Mapping[Fault, float]
) -> dict[Operation, Menu]:
    """How likely each fault is at each operation of one history; ``often`` 1: as in the table.

    ``later`` draws for the kinds of ``LATER``.
    """
    factors = {
        fault: (later if fault in LATER else chance).choice(SWARM) * factor / 100
        for fault, factor in often.items()
    }
    return {operation: _cumulated(weights, factors) for operation, weights in WEIGHTS.items()}


def _cumulated(weights: Weights, factors: Mapping[Fault, float]) -> Menu:
    total, menu = 0.0, []
    for fault, weight in weights.items():
        if factors[fault]:
            total += weight * factors[fault]
            menu.append((total, fault))
    return tuple(menu)


class Torment:
    """Draws the faults of one history and remembers them.

    Args:
        menus: How likely each is.
        keep: Where given, only these strike: what a failing history is shrunk with.
        state_of: The state in which a request's record stands now.
        clock: The history's time.
    """

    def __init__(
        self,
        menus: Mapping[Operation, Menu],
        keep: Iterable[Key] | None,
        state_of: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        self._menus = menus
        self._keep = None if keep is None else frozenset(keep)
        self._state_of = state_of
        self._clock = clock
        self.injected: list[Injected] = []
        self.spared: frozenset[str] = frozenset()
        """The nodes that no fault strikes any more."""
        self.lasting: dict[str, Mapping[Operation, Fault]] = {}
        """The nodes that have lost an engine for good; that is no chance, and not counted."""
        self.ambush: Ambush | None = None

    async def keep_back(self, stream: Stream, operation: Operation, subject: str) -> None:
        """Let an operation wait where its fault lies in wait; what is spared goes on at once."""
        if self.ambush is not None and subject and stream.name not in self.spared:
            await self.ambush.keep_back(operation, subject)

    def draw(self, stream: Stream, operation: Operation, subject: str) -> Draw:
        """What befalls a node's next operation, which is about the request ``subject``."""
        stream.place += 1
        chance = stream.chance.random
        lot, size = chance(), chance()
        if self.lasting and stream.name in self.lasting:
            return Draw(self.lasting[stream.name].get(operation), size)
        if stream.name in self.spared:
            return Draw(None, size)
        drawn = self._struck_by(stream, operation, subject, lot, size)
        if drawn.fault is not None:
            key = Key(stream.name, stream.place)
            state = self._state_of(subject)
            self.injected.append(
                Injected(key, self._clock(), operation, drawn.fault, subject, state)
            )
        return drawn

    def _struck_by(
        self, stream: Stream, operation: Operation, subject: str, lot: float, size: float
    ) -> Draw:
        """The fault of an operation that one may strike."""
        fault = None
        menu = self._menus[operation]
        if self.ambush is not None and self.ambush.strikes(operation, subject):
            fault = self.ambush.fault
        elif menu and lot < menu[-1][0]:
            fault = next(fault for bound, fault in menu if lot < bound)
        if fault is None or self._keep is None or Key(stream.name, stream.place) in self._keep:
            return Draw(fault, size)
        return Draw(None, size)
