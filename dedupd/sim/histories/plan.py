"""What a seed decides before a history begins."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, replace

from dedupd.sim.histories import faults, intents
from dedupd.sim.histories.clients import Habits, habits
from dedupd.sim.histories.faults import Fate, Menu, Operation
from dedupd.sim.histories.intents import PROJECTS, Intent
from dedupd.sim.histories.programs import Terms
from dedupd.sim.nova.world import Settings


class Mode(enum.StrEnum):
    """When the faults end."""

    SAFETY = "safety"
    """Never."""
    QUIET = "quiet"
    """After a while: then everything that was accepted must end."""
    CORE = "core"
    """After a while for one front, one worker and the engines; the others stay in trouble."""

    @property
    def live(self) -> bool:
        """Whether everything must end."""
        return self is not Mode.SAFETY


@dataclass(frozen=True)
class Plan:
    """Everything about a history but its chances."""

    seed: int
    mode: Mode
    fronts: int
    workers: int
    terms: Terms
    nova: Settings
    menus: dict[Operation, Menu]
    callers: tuple[tuple[Intent, Habits], ...]
    meddles: bool
    """Whether somebody renames, deletes or unmarks servers meanwhile."""
    preexisting: bool
    """Whether a keypair of the wanted name was there before."""
    fates: tuple[Fate, ...]
    """What becomes of those that are not of the healthy core, in turn."""
    quiet_at: float
    """When the faults end, in seconds; in safety mode, when the history does."""


INTENSITY = 2.0
"""How often faults strike where nobody says otherwise: over thirty in a history."""

SETTLE_SECONDS = 11.0
SPREAD_SECONDS = 5.0


def plan(seed: int, identity_key: bytes, intensity: float) -> Plan:
    """The plan of a seed; ``intensity`` 0 leaves all faults out."""
    chance = random.Random(f"{seed} plan")
    mode = chance.choice((Mode.SAFETY, Mode.SAFETY, Mode.QUIET, Mode.CORE))
    wanted = [intents.draw(chance, number, identity_key) for number in range(chance.randint(1, 3))]
    if chance.random() < 0.15:
        wanted.append(replace(wanted[0], project=PROJECTS[1], user="carol"))
    callers = tuple(
        (intent, habits(chance, intent, SPREAD_SECONDS))
        for intent in wanted
        for _ in range(chance.choice((1, 1, 2, 3)))
    )
    return Plan(
        seed=seed,
        mode=mode,
        fronts=chance.choice((1, 2, 2)),
        workers=chance.choice((1, 2, 2, 3)),
        terms=_terms(chance),
        nova=Settings(page_limit=chance.choice((1, 2, 1000))),
        menus=faults.menus(chance, intensity * chance.choice((0.5, 1.0, 1.0, 2.0))),
        callers=callers,
        meddles=chance.random() < 0.2,
        preexisting=chance.random() < 0.1,
        fates=tuple(chance.choice(list(Fate)) for _ in range(3)),
        quiet_at=chance.uniform(6.0, 16.0),
    )


def _terms(chance: random.Random) -> Terms:
    return Terms(
        settle=SETTLE_SECONDS,
        retry=chance.choice((2.0, 8.0)),
        result=chance.choice((6.0, 3600.0, 3600.0)),
        latch=chance.random() < 0.8,
        duplicates=chance.choice(("report", "delete")),
    )
