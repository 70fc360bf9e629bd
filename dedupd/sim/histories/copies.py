"""Writes that were sent more than once: a copy lies in a member that stands still until it wakes.

It then does what it did at first, if what it compares is so again. A version never comes back; that
nothing stands in a claim's place does. ``EtcdStore`` fences that off: a claim also compares a key
that is deleted before anybody hears of it. Here is that fence, and what such a member holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

Copy = Callable[[], object]
"""What a copy of a write does, in one step."""

SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 120.0
"""How long a copy lies: longer than what is carried out at once takes."""

LEASE_SECONDS = 60.0
USED_SECONDS = 30.0
"""How long a fence stands by itself, and how long it is used, as ``etcd_fence`` has it."""


Later = Callable[[float, Callable[[Copy], object], Copy], None]
"""``Stage.later``: has the world do something with a copy after so many seconds."""


class Course(NamedTuple):
    """What becomes of a write of which a copy is left behind."""

    answered: bool
    """Whether its process hears what came of it, from another member; else that nobody can tell."""
    carried_out: bool
    """Whether another copy was carried out at once."""
    seconds: float
    """How long the one that is left behind lies."""


_OUTCOMES = ((True, True), (True, True), (False, True), (False, False))


def course(size: float) -> Course:
    """The course by a number in [0, 1); short times are as frequent as long ones."""
    which, share = divmod(len(_OUTCOMES) * size, 1.0)
    seconds = SHORTEST_SECONDS * (LONGEST_SECONDS / SHORTEST_SECONDS) ** share
    return Course(*_OUTCOMES[int(which)], seconds)


@dataclass(frozen=True)
class Doubt:
    """What a write's port does where it was sent more than once."""

    copy: Copy
    """What a copy does that is carried out later."""
    told: Callable[[], None] = lambda: None
    """Done before the process hears what came of it,"""
    untold: Callable[[], None] = lambda: None
    """or that nobody can tell."""


class Sleepers:
    """The members that stand still, with the copies that lie in them."""

    def __init__(self, later: Later) -> None:
        self._later = later
        self._lying: list[Copy] = []
        self._longest = LONGEST_SECONDS

    def leave(self, delay: float, seconds: float, copy: Copy) -> None:
        """Have a copy carried out so long after ``delay``, or when all wake if that is sooner."""
        self._lying.append(copy)
        self._later(delay + min(seconds, self._longest), self._carry_out, copy)

    def wake(self) -> None:
        """Carry out what lies there; from now on none stands still for more than a moment."""
        self._longest = SHORTEST_SECONDS
        for copy in self._lying:
            self._later(SHORTEST_SECONDS, self._carry_out, copy)

    def _carry_out(self, copy: Copy) -> None:
        if copy in self._lying:
            self._lying.remove(copy)
            copy()


@dataclass(eq=False)
class FenceKey:
    """One key that claims compare."""

    until: float
    torn_down: bool = False


class Fence:
    """The fence of one process, as ``dedupd.store.etcd_fence`` keeps it; ``clock`` is the store's.

    A process tears down what is condemned before it claims again; here, while it does.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._keys: list[FenceKey] = []
        """The last one is used; those before it are condemned."""
        self._used_until = 0.0

    def standing(self) -> FenceKey:
        """What a claim compares that is made now."""
        now = self._clock()
        if now >= self._used_until:
            self._used_until = now + USED_SECONDS
            self._keys.append(FenceKey(now + LEASE_SECONDS))
        return self._keys[-1]

    def condemn(self) -> None:
        """A write was in doubt: use what stands no more."""
        self._used_until = 0.0

    def tear_down(self) -> None:
        """From now on no claim is carried out that compared what is condemned."""
        used = self._keys[-1:] if self._clock() < self._used_until else []
        for key in self._keys:
            key.torn_down = key not in used
        self._keys = used

    def clear(self) -> None:
        """The same for all claims that were made so far."""
        self.condemn()
        self.tear_down()

    def is_there(self, key: FenceKey) -> bool:
        """Whether a copy of a claim that compares it finds it."""
        return not key.torn_down and self._clock() < key.until
