"""What a seed decides before a history begins."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, replace

from dedupd.sim.histories import faults, intents
from dedupd.sim.histories.clients import Habits, habits
from dedupd.sim.histories.faults import Aim, Fate, Fault, Menu, Operation
from dedupd.sim.histories.intents import PROJECTS, Intent
from dedupd.sim.histories.operators import Care
from dedupd.sim.histories.programs import Terms
from dedupd.sim.histories.themes import THEMES, Emphasis, Theme
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
    """Everything about a history but its chances.

    Scripts are kept of it: a field may only be added with a default.
    """

    seed: int
    theme: Theme
    aim: Aim | None
    """A fault that waits for a request to be in one state."""
    mode: Mode
    fronts: int
    workers: int
    terms: Terms
    nova: Settings
    menus: dict[Operation, Menu]
    callers: tuple[tuple[Intent, Habits], ...]
    meddles: bool
    """Whether somebody renames, deletes or unmarks servers meanwhile."""
    haste: float
    """How much quicker than usual that one is."""
    care: Care | None
    """Of what kind an operator is at work, if any."""
    preexisting: bool
    """Whether keypairs of the wanted names were there before."""
    fates: tuple[Fate, ...]
    """What becomes of those that are not of the healthy core, in turn."""
    pause_exponent: float
    """How rare long pauses are."""
    quiet_at: float
    """When the faults end, in seconds."""
    lasts: float
    """When the history ends where they never do."""
    lingers: float
    """For how many seconds it goes on when everything has ended, before the faults end."""
    strangers: int = 0
    """How many clients know of no tokens."""
    reused: bool = False
    """Whether the tokens were used before, so long ago that their tombstones have expired."""


INTENSITY = 2.4
"""How often faults strike where nobody says otherwise: over thirty in a history."""

STRANGERS = (0, 0, 0, 0, 0, 0, 0, 1)
"""How many clients know of no tokens: one of these."""

REUSED = 0.1
"""How likely the tokens of a history were used before."""

HELD_UP = (1, 1, 2, 4)
"""How many requests of a project wait to be sent again when a worker begins no other."""

SETTLE_SECONDS = 11.0
SPREAD_SECONDS = 5.0


def plan(
    seed: int,
    identity_key: bytes,
    intensity: float,
    focus: Theme | None = None,
    aim: Aim | None = None,
) -> Plan:
    """The plan of a seed.

    ``intensity`` 0 leaves all faults out, ``focus`` sets the theme, ``aim`` the one fault that
    waits for a state.
    """
    chance = random.Random(f"{seed} plan")
    [drawn] = chance.choices(list(THEMES), [emphasis.share for emphasis in THEMES.values()])
    theme = drawn if focus is None else focus
    emphasis = THEMES[theme]
    mode = chance.choice((Mode.SAFETY, Mode.SAFETY, Mode.QUIET, Mode.CORE))
    callers = _callers(chance, identity_key, emphasis)
    return Plan(
        seed=seed,
        theme=theme,
        aim=aim or _aim(chance, emphasis) if intensity else None,
        mode=mode,
        fronts=chance.choice((1, 2, 2)),
        workers=chance.choice(emphasis.workers),
        terms=_terms(seed, chance, emphasis),
        nova=Settings(page_limit=chance.choice(emphasis.pages)),
        menus=_menus(seed, chance, emphasis, intensity),
        callers=callers,
        meddles=chance.random() < emphasis.meddles,
        haste=emphasis.haste,
        strangers=_strangers(seed),
        reused=random.Random(f"{seed} reused").random() < REUSED,
        care=_care(seed, emphasis),
        preexisting=chance.random() < emphasis.preexisting,
        fates=tuple(chance.choice(list(Fate)) for _ in range(3)),
        pause_exponent=emphasis.pause_exponent,
        quiet_at=chance.uniform(*emphasis.quiet),
        lasts=emphasis.lasts,
        lingers=emphasis.lingers,
    )


def _callers(
    chance: random.Random, identity_key: bytes, emphasis: Emphasis
) -> tuple[tuple[Intent, Habits], ...]:
    """What is wanted, sometimes by a second project with the first one's token, and by whom."""
    wanted = [
        intents.draw(chance, number, identity_key, emphasis.kinds)
        for number in range(chance.choice(emphasis.requests))
    ]
    if chance.random() < 0.15:
        wanted.append(replace(wanted[0], project=PROJECTS[1], user="carol"))
    return tuple(
        (intent, habits(chance, intent, SPREAD_SECONDS, emphasis))
        for intent in wanted
        for _ in range(chance.choice((1, 1, 2, 3)))
    )


def _strangers(seed: int) -> int:
    return random.Random(f"{seed} strangers").choice(STRANGERS)


def _care(seed: int, emphasis: Emphasis) -> Care | None:
    chance = random.Random(f"{seed} care")
    return chance.choice(list(Care)) if chance.random() < emphasis.operates else None


def _aim(chance: random.Random, emphasis: Emphasis) -> Aim | None:
    return chance.choice(emphasis.aims) if emphasis.aims else None


def _menus(
    seed: int, chance: random.Random, emphasis: Emphasis, intensity: float
) -> dict[Operation, Menu]:
    often = emphasis.factors or {}
    later = random.Random(f"{seed} later kinds")
    level = intensity * chance.choice((0.5, 1.0, 1.0, 2.0))
    return faults.menus(
        chance, later, {fault: level * often.get(fault, emphasis.others) for fault in Fault}
    )


def _terms(seed: int, chance: random.Random, emphasis: Emphasis) -> Terms:
    return Terms(
        settle=SETTLE_SECONDS,
        retry=chance.choice(emphasis.retries),
        result=chance.choice(emphasis.results),
        latch=chance.random() < 0.8,
        duplicates=chance.choice(("report", "delete")),
        sweep=emphasis.sweep,
        held_up=random.Random(f"{seed} held up").choice(HELD_UP),
    )
