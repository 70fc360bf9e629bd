"""The play: a control group straight at Nova, then the storm on dedupd, and its death in it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from dedupd.cmd.demo.children import Dedupd, simulated_nova
from dedupd.cmd.demo.findings import Control, Findings, control_group, differing, lost
from dedupd.cmd.demo.observer import Observer, surplus
from dedupd.cmd.demo.screen import Screen
from dedupd.cmd.demo.storm import FAULTS, LATE_SECONDS, Storm, Tally, open_session

DEADLINE_SECONDS = 60.0
"""The storm ends then, whoever still waits; those are counted as lost."""

DRAW_SECONDS = 0.125
OURS = "demo"
PLAIN = "plain"


@dataclass(frozen=True)
class Script:
    """How big the storm is; ``seed`` fixes arrivals and faults, not the order of events."""

    tokens: int
    clients: int
    seed: int

    @property
    def names(self) -> list[str]:
        """The servers that are wanted; each name is also the client token."""
        return [f"server-{number:04}" for number in range(1, self.tokens + 1)]

    @property
    def control(self) -> list[str]:
        """The servers that the control group wants."""
        return [f"plain-{number:04}" for number in range(1, max(10, self.tokens // 4) + 1)]


@dataclass
class Death:
    """The kill in the middle: what it met."""

    count: int = 0
    in_flight: int = 0
    after: Counter[str] = field(default_factory=Counter)


class Play:
    """One run of the demo, in a private directory.

    Args:
        script: How big.
        screen: Where it is shown.
        directory: Where dedupd keeps its files; empty, and removed by whoever made it.
    """

    def __init__(self, script: Script, screen: Screen, directory: Path) -> None:
        self._script = script
        self._screen = screen
        self._directory = directory
        self._chance = random.Random(script.seed)  # noqa: S311 # seeded on purpose

    async def run(self) -> Findings:
        """Play it; everything that was started is stopped at the end, whatever happens.

        Raises:
            ChildFailed: a process did not start.
        """
        began = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            nova = await stack.enter_async_context(
                simulated_nova(self._directory, self._script.seed)
            )
            dedupd = Dedupd(self._directory, nova)
            stack.push_async_callback(dedupd.stop)
            session = await stack.enter_async_context(open_session())
            observer = Observer(session, nova)
            starting = asyncio.create_task(dedupd.start())
            ...
