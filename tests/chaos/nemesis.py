"""Carries a schedule out: strikes, heals, and starts again what has ended by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.schedule import How, Party, Strike
from tests.chaos.victims import Victim, leader

_SUPERVISION_SECONDS = 3.0
"""Between two looks at what has ended by itself: like RestartSec in a unit of systemd."""


@dataclass(frozen=True)
class Healed:
    """A strike, and the moment (``time.monotonic``) when its victims were let go on."""

    strike: Strike
    at: float


@dataclass
class Nemesis:
    """Strikes as the schedule says, each party on its own, and heals everything in the end.

    Args:
        victims: Of each party.
        strikes: The schedule.
        tell: Is told what happens.
    """

    victims: Mapping[Party, Sequence[Victim]]
    strikes: Sequence[Strike]
    tell: Callable[[str], None]
    healed: list[Healed] = field(default_factory=list)
    started_again: int = 0
    """How often a front or a worker was started again that had ended by itself, as those do that
    are started while their engines are away."""
    _down: set[str] = field(default_factory=set)
    _turn: dict[Party, asyncio.Lock] = field(
        default_factory=lambda: {party: asyncio.Lock() for party in Party}
    )

    @property
    def down(self) -> frozenset[str]:
        """Who is struck at present."""
        return frozenset(self._down)

    async def run(self) -> None:
        """Return when everything has been healed."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for strike in self.strikes:
                group.create_task(self._carry_out(strike, began))

    async def supervise(self) -> None:
        """Start again whatever front or worker has ended by itself; cancel to stop."""
        while True:
            for victim in (*self.victims[Party.FRONT], *self.victims[Party.WORKER]):
                self._see_to(victim)
            await asyncio.sleep(_SUPERVISION_SECONDS)

    def _see_to(self, victim: Victim) -> None:
        if victim.name not in self._down and not victim.is_up():
            self.started_again += 1
            self.tell(f"{victim.name} had ended by itself, and was started again")
            victim.heal[How.KILL]()

    async def _carry_out(self, strike: Strike, began: float) -> None:
        await asyncio.sleep(began + strike.at - time.monotonic())
        async with self._turn[strike.fault.party]:  # the party's last heal may take its time
            struck = await self._chosen(strike)
            for victim in struck:
                self._see_to(victim)
            names = ", ".join(victim.name for victim in struck)
            self.tell(f"{strike.fault.name} ({names}), for {strike.seconds:.1f} s")
            self._down.update(victim.name for victim in struck)
            how = strike.fault.how
            await _all(victim.strike[how] for victim in struck)
            await asyncio.sleep(strike.seconds)
            self.healed.append(Healed(strike, time.monotonic()))
            await _all(victim.heal[how] for victim in struck)
            self._down.difference_update(victim.name for victim in struck)

    async def _chosen(self, strike: Strike) -> list[Victim]:
        party = self.victims[strike.fault.party]
        if strike.victims:
            return [party[place] for place in strike.victims]
        return [await asyncio.to_thread(leader, party)]


async def _all(actions: Iterable[Callable[[], object]]) -> None:
    """All at once; each may take seconds."""
    await asyncio.gather(*map(asyncio.to_thread, actions))
