"""One fault that waits for a request to be in one state: what chance makes too rarely.

Between the moment when a process reads a record and the one when it acts on it, others may move
the record. An ambush keeps an operation back, as a process does whose turn does not come, until
that has happened; then its fault strikes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from dedupd.sim.histories.faults import WEIGHTS, Aim, Fault, Operation

KEPT_BACK_SECONDS = 20.0
"""The longest time for which an operation is kept back."""

SEND_KEPT_BACK_SECONDS = 4.0
"""The same for a POST. It waits for a connection, and asks for its lease afterwards."""

KEPT_BACK = 0.5
"""How often an operation is kept back that the fault could strike."""

USELESS = frozenset((Operation.FRONT_PUBLISH,))
"""What is not kept back: a front gives up before long, and takes its claim back."""


class Ambush:
    """The ambush of one history.

    Args:
        aim: Which fault strikes in which state.
        chance: Decides which operations are kept back, and for how long.
        state_of: The state in which a request's record stands now.
        clock: The history's time.
    """

    def __init__(
        self,
        aim: Aim,
        chance: random.Random,
        state_of: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        self._aim = aim
        self._chance = chance
        self._state_of = state_of
        self._clock = clock
        self._struck = False
        self._kept_until = 0.0
        self._subject = ""
        self._moved: asyncio.Future[None] | None = None

    @property
    def fault(self) -> Fault:
        """What strikes."""
        return self._aim.fault

    async def keep_back(self, operation: Operation, subject: str) -> None:
        """Let an operation wait until its request is in the state, one at a time, for a while."""
        fits = self._aim.fault in WEIGHTS[operation] and operation not in USELESS
        if not fits or self._struck or self._clock() < self._kept_until:
            return
        if self._state_of(subject) == self._aim.state or self._chance.random() >= KEPT_BACK:
            return
        longest = SEND_KEPT_BACK_SECONDS if operation is Operation.POST else KEPT_BACK_SECONDS
        seconds = longest * self._chance.random()
        self._kept_until = self._clock() + seconds
        self._subject = subject
        self._moved = moved = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await moved
        self._kept_until = 0.0

    def stir(self, request_id: str) -> None:
        """A record was written: what is kept back goes on if that was waited for."""
        moved = self._moved
        if moved is None or moved.done() or request_id != self._subject:
            return
        if self._state_of(request_id) == self._aim.state:
            moved.set_result(None)

    def strikes(self, operation: Operation, subject: str) -> bool:
        """Whether the fault strikes this operation; it does so once."""
        if self._struck or not subject or self._aim.fault not in WEIGHTS[operation]:
            return False
        self._struck = self._state_of(subject) == self._aim.state
        return self._struck
