"""The play: a control group straight at Nova, then the storm on dedupd, and its death in it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dedupd.cmd.demo.children import Dedupd, simulated_nova
from dedupd.cmd.demo.findings import Control, Findings, control_group, differing, lost
from dedupd.cmd.demo.observer import Observer, surplus
from dedupd.cmd.demo.screen import Screen
from dedupd.cmd.demo.storm import FAULTS, LATE_SECONDS, Storm, Tally, open_session

DEADLINE_SECONDS = 30.0
"""The storm ends then, whoever still waits; those are counted as lost."""

WATCH_SECONDS = 0.125
OURS = "demo"
PLAIN = "plain"

T = TypeVar("T")


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
    def plain_names(self) -> list[str]:
        """The servers that the control group wants."""
        return [f"plain-{number:04}" for number in range(1, max(10, self.tokens // 4) + 1)]


class Play:
    """One run of the demo.

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
            starting = simulated_nova(self._directory, self._script.seed)
            nova = await stack.enter_async_context(starting)
            dedupd = Dedupd(self._directory, nova)
            stack.push_async_callback(dedupd.stop)
            start = await stack.enter_async_context(_beside(dedupd.start()))
            observer = Observer(await stack.enter_async_context(open_session()), nova)
            stack.enter_context(self._screen.showing())
            control = await self._control_group(observer, nova)
            pid = await start
            self._screen.event(f"dedupd is process {pid} and listens on {dedupd.url}")
            found = await self._storm(observer, dedupd, control)
        return found.after(time.monotonic() - began)

    async def _control_group(self, observer: Observer, nova: str) -> Control:
        """What plain clients, who repeat until they are answered, make of the same faults."""
        names = self._script.plain_names
        tally = Tally(wanted=len(names))
        self._screen.phase("Plain clients, straight at Nova", len(names))
        await observer.torment(FAULTS, self._script.seed)
        async with open_session() as session, self._watched(tally, observer, PLAIN):
            storm = Storm(session, observer.nova, PLAIN, tally, tokens=False)
            await self._blow(storm, names, 1)
        lost_answers = await observer.lost_answers()
        made = await observer.servers(PLAIN)
        return control_group(tally, sum(lost_answers.values()), made)

    async def _storm(self, observer: Observer, dedupd: Dedupd, control: Control) -> Findings:
        """Many clients for each token, dedupd between them and Nova, and its death halfway."""
        script, names = self._script, self._script.names
        tally = Tally(wanted=len(names))
        self._screen.phase("The storm, through dedupd", len(names) * (script.clients + 1))
        await observer.torment(FAULTS, script.seed)
        async with open_session() as session, self._watched(tally, observer, OURS):
            storm = Storm(session, dedupd.url, OURS, tally, tokens=True)
            async with _beside(self._die(dedupd, tally)) as death:
                await self._blow(storm, names, script.clients)
                tally.halfway.set()  # at the latest now: a storm that was not answered ends too
                in_flight = await death
            self._screen.event("Each token once more, now that all of them are used")
            await self._blow(storm, names, 1)
        servers = await observer.servers(OURS)
        return Findings(
            seed=script.seed,
            tokens=script.tokens,
            clients=script.clients,
            posts=tally.posts,
            unanswered_posts=dict(tally.unanswered),
            lost_answers=await observer.lost_answers(),
            kills=dedupd.kills,
            in_flight_at_kill=in_flight,
            answers=tally.answered,
            differing=differing(tally),
            servers=sum(map(len, servers.values())),
            duplicates=surplus(servers).total(),
            lost=lost(names, tally, servers),
            control=control,
        )

    async def _blow(self, storm: Storm, names: list[str], clients: int) -> None:
        """Until all are answered, and what Nova does late has been done."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_SECONDS):
                await storm.blow(names, clients, self._chance)
        await asyncio.sleep(LATE_SECONDS)

    async def _die(self, dedupd: Dedupd, tally: Tally) -> int:
        """Kill dedupd halfway and start it again; gives the POSTs under way at that moment."""
        await tally.halfway.wait()
        in_flight = tally.in_flight
        pid = await dedupd.kill()
        self._screen.event(f"kill -9 {pid}, with {in_flight} POSTs under way")
        pid = await dedupd.start()
        self._screen.event(f"dedupd is back on the same files as process {pid}")
        return in_flight

    @contextlib.asynccontextmanager
    async def _watched(self, tally: Tally, observer: Observer, project: str) -> AsyncIterator[None]:
        """Show where it stands, beside the block."""

        async def watch() -> None:
            while True:
                servers = await observer.servers(project)
                self._screen.draw(tally, sum(map(len, servers.values())))
                await asyncio.sleep(WATCH_SECONDS)

        async with _beside(watch()):
            yield


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run it beside the block, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
