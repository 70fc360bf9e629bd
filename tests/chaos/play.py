"""One run: a site on real engines before a Nova, tormented under load, then judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.evidence import evidence, stuck
from tests.chaos.findings import Findings, recoveries, silence
from tests.chaos.nemesis import Nemesis
from tests.chaos.novas import NOVAS, Behind, Nova
from tests.chaos.schedule import Party, Strike, schedule
from tests.chaos.screen import Screen
from tests.chaos.victims import victims
from tests.integration.fleet import Catalogue, Fleet
from tests.integration.load import ORDERING, mishaps, stocked, working
from tests.integration.site import Engines, Site
from tests.integration.verdict import Verdict, Violation, Wrong

SIZES = {Party.FRONT: 2, Party.WORKER: 3, Party.MEMBER: 3, Party.BROKER: 1}
"""What an installation here consists of."""

WHOLE_SECONDS = 120.0
"""How long everybody may take to be ready when everything is healed, on a busy machine."""

_POLL_SECONDS = 0.2

MANNERS = (0.05, 1.0)
"""Between how many seconds, at random, a client tries again: outages last, and a storm of repeats
would only take the machine away from those who start."""


@dataclass(frozen=True)
class Script:
    """What is to be done.

    ``seconds`` are how long it is tormented, ``pause`` how many pass between two strikes on
    average; ``nova`` is a name in NOVAS.
    """

    seed: str
    seconds: float
    pause: float
    nova: str

    @property
    def strikes(self) -> tuple[Strike, ...]:
        """All that goes wrong beside what does in Nova."""
        return schedule(self.seed, self.seconds, self.pause, SIZES)

    @property
    def chance(self) -> random.Random:
        """Decides what is ordered, when clients lose patience, and what goes wrong in Nova."""
        return random.Random(f"{self.seed} load")  # noqa: S311


async def run(script: Script, directory: Path, screen: Screen) -> Findings:
    """Do it; all files are below ``directory``, and all that was started has ended afterwards."""
    behind = NOVAS[script.nova]
    with ExitStack() as stack:
        nova = stack.enter_context(behind.start())
        engines = stack.enter_context(Engines(directory / "engines", SIZES[Party.MEMBER]))
        site = stack.enter_context(
            Site(directory, engines, nova.url, behind.settings, measured=False)
        )
        site.start(SIZES[Party.FRONT], SIZES[Party.WORKER])
        return await Torment(script, behind, nova, site, directory, screen).run()


@dataclass
class Torment:
    """What happens to a site that runs."""

    script: Script
    behind: Behind
    nova: Nova
    site: Site
    directory: Path
    screen: Screen

    async def run(self) -> Findings:
        """Torment it under load, let it come to rest, and judge."""
        chance = self.script.chance
        fleet = Fleet(self.site.urls, *ORDERING, chance, MANNERS)
        rules = mishaps(chance)
        orders = self._catalogue().orders(chance)
        nemesis = Nemesis(victims(self.site), self.script.strikes, self.screen.tell)
        self.nova.faults(rules)
        began = time.monotonic()
        async with self._shown(nemesis, fleet), working(fleet, orders, self.behind.clients):
            await asyncio.gather(nemesis.run(), asyncio.sleep(self.script.seconds))
            ended = time.monotonic()
            self.screen.tell("everything is healed")
            missing = await self._missing()
            self.screen.tell("what was begun comes to its end")
        answered = list(fleet.answered)
        struck = self.nova.struck(rules)
        self.nova.faults([])
        self.screen.tell(f"every order once more: {len(fleet.answers)}")
        await fleet.repeat_all(self.behind.clients)
        verdict = Verdict.of(fleet, self.nova, may_undo=True)
        verdict = replace(verdict, found=(*verdict.found, *missing, *await stuck(self.site)))
        return Findings(
            seed=self.script.seed,
            nova=self.script.nova,
            seconds=ended - began,
            recoveries=recoveries(nemesis.healed, answered),
            started_again=nemesis.started_again,
            silence=silence(answered, began, ended),
            mishaps=struck,
            answers=len(answered),
            unknown=sum(found[-1].unknown for found in fleet.answers.values()),
            verdict=verdict,
            evidence=evidence(verdict, self.site, self.nova, self.directory),
        )

    def _catalogue(self) -> Catalogue:
        catalogue = stocked(self.nova)
        return catalogue if self.behind.snapshots else replace(catalogue, server_id=None)

    async def _missing(self) -> list[Violation]:
        """Every front and worker that is not ready in time when everything is healed."""
        deadline = time.monotonic() + WHOLE_SECONDS
        while missing := await asyncio.to_thread(self._not_ready):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        return [Violation(Wrong.OTHER, None, f"{name} is not ready") for name in missing]

    def _not_ready(self) -> list[str]:
        return [one.directory.name for one in self.site.services if not one.is_ready()]

    @asynccontextmanager
    async def _shown(self, nemesis: Nemesis, fleet: Fleet) -> AsyncIterator[None]:
        """Show it, and start again what ends by itself, as long as the block."""
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(nemesis.supervise()),
                group.create_task(self.screen.show(nemesis, fleet, self.script.seconds)),
            ]
            yield
            for task in beside:
                task.cancel()
