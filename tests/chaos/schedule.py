"""What goes wrong, when, and for how long: one table, and a pure function of a seed."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass

LEASE_SECONDS = 3.0
"""A worker's lease: the pauses below are shorter or longer than that."""


class Party(enum.Enum):
    """Who may be struck. The parties are struck independently of each other."""

    FRONT = "front"
    WORKER = "worker"
    MEMBER = "etcd member"
    BROKER = "RabbitMQ"


BREATH = {
    Party.FRONT: (0.0, 4.0),
    Party.WORKER: (0.0, 4.0),
    Party.MEMBER: (0.0, 6.0),
    Party.BROKER: (30.0, 90.0),
}
"""Between how many seconds, at random, a party is left alone after it was healed: often less than
it takes to start. RabbitMQ takes long, and nothing goes on without it."""


class How(enum.Enum):
    """What is done to a victim. All but PAUSE end it, and the heal starts it again."""

    KILL = "kill -9"
    STOP = "SIGTERM"
    PAUSE = "SIGSTOP"
    WIPE = "kill -9, data gone"


class Whom(enum.Enum):
    """How many of a party are struck."""

    ONE = "one"
    LEADER = "the leader"
    MOST = "most"
    ALL = "all"


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    ``weight`` is its share among all; ``seconds`` are the bounds of the time until the heal.
    """

    name: str
    weight: float
    party: Party
    how: How
    seconds: tuple[float, float]
    whom: Whom = Whom.ONE


_SHORTLY = (0.2, 0.7 * LEASE_SECONDS)
_LONG = (1.2 * LEASE_SECONDS, 3 * LEASE_SECONDS)

FAULTS = (
    Fault("front killed", 12, Party.FRONT, How.KILL, (0, 2)),
    Fault("all fronts killed", 3, Party.FRONT, How.KILL, (0, 1), Whom.ALL),
    Fault("front told to stop", 3, Party.FRONT, How.STOP, (0, 1)),
    Fault("front paused", 8, Party.FRONT, How.PAUSE, (0.2, 6)),
    Fault("worker killed", 16, Party.WORKER, How.KILL, (0, 2)),
    Fault("all workers killed", 4, Party.WORKER, How.KILL, (0, 1), Whom.ALL),
    Fault("worker told to stop", 3, Party.WORKER, How.STOP, (0, 1)),
    Fault("worker paused, within its lease", 6, Party.WORKER, How.PAUSE, _SHORTLY),
    Fault("worker paused, past its lease", 8, Party.WORKER, How.PAUSE, _LONG),
    Fault("all workers paused, past the lease", 3, Party.WORKER, How.PAUSE, _LONG, Whom.ALL),
    Fault("etcd member killed", 6, Party.MEMBER, How.KILL, (0, 4)),
    Fault("etcd member restarted", 2, Party.MEMBER, How.STOP, (0, 1)),
    Fault("etcd member paused", 4, Party.MEMBER, How.PAUSE, (0.5, 6)),
    Fault("etcd leader killed", 6, Party.MEMBER, How.KILL, (0, 4), Whom.LEADER),
    Fault("etcd leader paused", 5, Party.MEMBER, How.PAUSE, (0.5, 6), Whom.LEADER),
    Fault("etcd without quorum, killed", 3, Party.MEMBER, How.KILL, (1, 6), Whom.MOST),
    Fault("etcd without quorum, paused", 3, Party.MEMBER, How.PAUSE, (1, 8), Whom.MOST),
    Fault("all etcd members killed", 2, Party.MEMBER, How.KILL, (0, 2), Whom.ALL),
    Fault("RabbitMQ killed", 4, Party.BROKER, How.KILL, (0, 4)),
    Fault("RabbitMQ restarted", 1, Party.BROKER, How.STOP, (0, 1)),
    Fault("RabbitMQ paused", 5, Party.BROKER, How.PAUSE, (0.5, 8)),
    Fault("RabbitMQ wiped", 3, Party.BROKER, How.WIPE, (0, 2)),
)


@dataclass(frozen=True)
class Strike:
    """A fault at a moment: ``at`` seconds after the beginning, healed ``seconds`` later.

    ``victims`` are their places in the party; empty: the leader, whoever that is then.
    """

    at: float
    fault: Fault
    victims: tuple[int, ...]
    seconds: float

    @property
    def ends(self) -> float:
        """When it is healed, in seconds after the beginning."""
        return self.at + self.seconds

    def __str__(self) -> str:
        places = ", ".join(map(str, self.victims)) or "whoever leads"
        return f"{self.at:7.2f} s  {self.fault.name} ({places}), for {self.seconds:.2f} s"


def schedule(
    seed: str, seconds: float, pause: float, sizes: dict[Party, int]
) -> tuple[Strike, ...]:
    """Everything that goes wrong; the last of it is healed within ``seconds``.

    Args:
        seed: The same one gives the same strikes.
        seconds: How long it goes on.
        pause: Seconds between two strikes, on average.
        sizes: How many there are of each party.
    """
    return tuple(_strikes(random.Random(seed), seconds, pause, sizes))  # noqa: S311


def _strikes(
    chance: random.Random, seconds: float, pause: float, sizes: dict[Party, int]
) -> Iterator[Strike]:
    at = 0.0
    left_alone_until = dict.fromkeys(Party, 0.0)
    while (at := at + chance.expovariate(1 / pause)) < seconds:
        free = [fault for fault in FAULTS if left_alone_until[fault.party] <= at]
        if not free:
            continue
        [fault] = chance.choices(free, [fault.weight for fault in free])
        victims = _victims(chance, fault.whom, sizes[fault.party])
        strike = Strike(at, fault, victims, chance.uniform(*fault.seconds))
        if strike.ends <= seconds:
            left_alone_until[fault.party] = strike.ends + chance.uniform(*BREATH[fault.party])
            yield strike


def _victims(chance: random.Random, whom: Whom, size: int) -> tuple[int, ...]:
    numbers = {Whom.ONE: 1, Whom.LEADER: 0, Whom.MOST: size // 2 + 1, Whom.ALL: size}
    return tuple(sorted(chance.sample(range(size), numbers[whom])))
