"""Running one history, from its seed to what is wrong with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from dedupd.sim.histories import intents
from dedupd.sim.histories.ambush import Ambush
from dedupd.sim.histories.chronicle import Event, digest
from dedupd.sim.histories.clients import Caller, Door
from dedupd.sim.histories.cloud import LATE_SECONDS, WORK_SECONDS
from dedupd.sim.histories.faults import Aim, Injected, Key, Torment, stream
from dedupd.sim.histories.intents import Intent
from dedupd.sim.histories.invariants import violations
from dedupd.sim.histories.ledger import Post
from dedupd.sim.histories.logs import unexpected
from dedupd.sim.histories.loop import Condition, Spinning, VirtualLoop
from dedupd.sim.histories.meddler import Meddler, make_keypairs_before, make_servers_before
from dedupd.sim.histories.operators import Care, Operator
from dedupd.sim.histories.plan import INTENSITY, Mode, Plan, plan
from dedupd.sim.histories.programs import FrontProgram, WorkerProgram
from dedupd.sim.histories.stage import CLOCK_JUMP, FRONT_CLOCK_JUMP, IDENTITY, Node, Stage
from dedupd.sim.histories.strangers import NAME, Stranger, passed_on
from dedupd.sim.histories.themes import Theme
from dedupd.ssh_key import GeneratedKey

ENDING_SECONDS = {Mode.QUIET: 90.0, Mode.CORE: 240.0}
"""Within how long everything must end when the faults have ended.

A worker outside the healthy core may live on without the cloud, and with it what it owns. What was
sent settles within 15 s, and is looked for during up to 8 more; the last look begins 15 s later at
most. It, and one before it, asks four times, and each may wait 20 s for a connection and 2 for an
answer (seed 225955: 101 s).
"""

WATCH_SECONDS = 6.0
"""How long nothing may be sent when everything has ended."""

MakeTorment = Callable[[Callable[[str], str], Callable[[], float]], Torment]
"""Makes what befalls a history, given the state of each request's record, and the time."""

STEPS_PER_SECOND = 200
"""How much may go on in the background."""


@dataclass(frozen=True)
class History:
    """One history, after it has ended."""

    plan: Plan
    violations: list[str]
    injected: list[Injected]
    events: list[Event]
    seconds: float
    steps: int

    @property
    def digest(self) -> str:
        """The same for two runs in which exactly the same happened at the same times."""
        return digest(self.events)


def run(
    seed: int,
    *,
    intensity: float = INTENSITY,
    keep: Iterable[Key] | None = None,
    focus: Theme | None = None,
    aim: Aim | None = None,
) -> History:
    """The history of a seed.

    Args:
        seed: Decides everything.
        intensity: How often faults strike; 0: never.
        keep: Where given, only these faults strike.
        focus: The theme; None: what the seed draws.
        aim: The fault that waits for a state; None: what the seed draws, if anything.
    """
    return rerun(plan(seed, IDENTITY, intensity, focus, aim), keep)


def rerun(plan: Plan, keep: Iterable[Key] | None) -> History:
    """The history of a plan; where ``keep`` is given, only these faults strike."""
    return play(plan, partial(Torment, plan.menus, keep))


def play(plan: Plan, make: MakeTorment) -> History:
    """The history of a plan; ``make`` decides what befalls it, given states and the time."""
    random.seed(plan.seed)  # tenacity's random waits draw from there
    loop = VirtualLoop()
    try:
        with unexpected() as logged:
            return _Play(loop, plan, make).run(logged.found)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _counts_from(post: Post) -> float:
    """From when on a look for a POST's effect counts: it cannot come any more."""
    carried_out = post.waited + WORK_SECONDS if post.waited else 0.0
    return post.when + max(post.timeout + LATE_SECONDS, carried_out)


class _Play:
    """One history while it runs."""

    def __init__(self, loop: VirtualLoop, plan: Plan, make: MakeTorment) -> None:
        self._plan = plan
        self._loop = loop
        chance = random.Random(f"{plan.seed} stage")
        self._keys = 100
        self.stage = Stage(loop, chance, plan.nova, self._generate_key)
        self.stage.pause_exponent = plan.pause_exponent
        self.stage.ledger.look_after = _counts_from
        self.stage.torment = make(self.stage.state_of, loop.time)
        if plan.aim is not None:
            chance = random.Random(f"{plan.seed} ambush")
            ambush = Ambush(plan.aim, chance, self.stage.state_of, loop.time)
            self.stage.torment.ambush = ambush
        self._trouble: list[str] = []
        self._calls: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[None]] = []
        loop.set_exception_handler(self._unexpected)
        self._workers = [self._worker(number) for number in range(plan.workers)]
        self._doors = [self._front(number) for number in range(plan.fronts)]

    def run(self, logged: list[str]) -> History:
        """Play it to its end; ``logged`` is what the programs log as a failure of their own."""
        try:
            self._loop.run_until_complete(self._main())
        except Spinning as error:
            self._trouble.append(f"4: {error}")
        found = violations(
            self.stage,
            [intent for intent, _ in self._plan.callers],
            ended=self._plan.mode.live,
        )
        found += [f"7: {text}" for text in passed_on(self.stage)]
        seconds, steps = self._loop.time(), self._loop.steps
        self._sweep_away()
        return History(
            self._plan,
            found + self._trouble + logged,
            self.stage.torment.injected,
            self.stage.chronicle.events,
            seconds,
            steps,
        )

    async def _main(self) -> None:
        plan = self._plan
        for node in self.stage.nodes.values():
            node.start()
        wanted = [intent for intent, _ in plan.callers]
        before = make_keypairs_before(self.stage, wanted) if plan.preexisting else []
        if plan.reused:
            make_servers_before(self.stage, wanted)
        operator = None if plan.care is None else self._operator(plan.care, wanted)
        for number in range(plan.strangers):
            name = f"{NAME}-{number}"
            stranger = Stranger(self.stage, self._doors, stream(plan.seed, name), name)
            self._others.append(self._loop.create_task(stranger.run()))
        if plan.meddles:
            meddler = Meddler(self.stage, random.Random(f"{plan.seed} meddler"), before, plan.haste)
            self._others.append(self._loop.create_task(meddler.run()))
        self._calls = [self._call(number) for number in range(len(plan.callers))]
        if plan.mode.live:
            await self._until_ended(plan.quiet_at)
            await asyncio.sleep(plan.lingers)
            if operator is not None:
                operator.cancel()
            self._make_quiet()
            await self._until_ended(ENDING_SECONDS[plan.mode])
            while await self._disturbed():
                await self._until_ended(ENDING_SECONDS[plan.mode])
        else:
            await self._until_ended(plan.lasts)
            await asyncio.sleep(plan.lingers)
        tasks = [*self._calls, *self._others]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _until_ended(self, seconds: float) -> None:
        """Wait until no request is awaited any more, at most so long."""
        until = self._loop.time() + seconds
        while self._loop.time() < until:
            await asyncio.sleep(2.0)
            lives = self.stage.ledger.lives
            if self._callers_done() and not any(self._awaited(id_) for id_, _ in lives):
                return

    def _awaited(self, request_id: str) -> bool:
        record = self.stage.standing(request_id)
        return record is not None and record.state.awaited

    def _make_quiet(self) -> None:
        """End the faults, for everybody or for the healthy core."""
        nodes = self.stage.nodes
        core = {self._workers[0].name, self._doors[0].node.name}
        well = core if self._plan.mode is Mode.CORE else set(nodes)
        callers = {f"caller-{number}" for number in range(len(self._plan.callers))}
        self.stage.torment.spared = frozenset(well | callers)
        self.stage.chronicle.note("world", "the faults end for", *sorted(well))
        self.stage.sleepers.wake()
        fates = iter(self._plan.fates)
        for name, node in nodes.items():
            if name in well:
                node.recover()
            else:
                node.suffer(next(fates))

    async def _disturbed(self) -> bool:
        """When everything has ended, nothing may be sent, and little may go on.

        Returns:
            Whether there is something new: a front that woke up claimed what nobody waits for.
        """
        ledger = self.stage.ledger
        claims, sent, steps = len(ledger.lives), ledger.sends, self._loop.steps
        await asyncio.sleep(WATCH_SECONDS)
        if len(ledger.lives) > claims:
            return True
        if ledger.sends > sent:
            self._trouble.append("4: something was sent when everything had ended")
        if self._loop.steps - steps > STEPS_PER_SECOND * WATCH_SECONDS:
            self._trouble.append(f"4: {self._loop.steps - steps} steps when everything had ended")
        return False

    def _callers_done(self) -> bool:
        return all(task.done() for task in self._calls)

    def _call(self, number: int) -> asyncio.Task[None]:
        intent, habits = self._plan.callers[number]
        chances = stream(self._plan.seed, f"caller-{number}")
        caller = Caller(self.stage, self._doors, chances, intent, habits)
        return self._loop.create_task(caller.run())

    def _operator(self, care: Care, wanted: list[Intent]) -> asyncio.Task[None]:
        plan, stage = self._plan, self.stage
        node = Node(stage, "operator", stream(plan.seed, "operator"), lambda _: None, CLOCK_JUMP)
        chance = random.Random(f"{plan.seed} deeds")
        intents = list({intent.id: intent for intent in wanted}.values())
        operator = Operator(node, chance, care, intents, plan.terms)
        task = self._loop.create_task(operator.run())
        self._others.append(task)
        return task

    def _worker(self, number: int) -> Node:
        program = WorkerProgram(self._plan.terms)
        return self._node(f"worker-{number}", program.boot, CLOCK_JUMP)

    def _front(self, number: int) -> Door:
        program = FrontProgram(self._plan.terms)
        return Door(self._node(f"front-{number}", program.boot, FRONT_CLOCK_JUMP), program)

    def _node(self, name: str, boot: Callable[[Node], None], jump: float) -> Node:
        node = Node(self.stage, name, stream(self._plan.seed, name), boot, jump)
        self.stage.nodes[name] = node
        return node

    def _generate_key(self) -> GeneratedKey:
        self._keys += 1
        return intents.key(self._keys)

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no program should let happen: an exception that nobody caught."""
        self._trouble.append(f"an error was not caught: {context}")

    def _sweep_away(self) -> None:
        """End what still runs, so that nothing of it runs in the next history."""
        self._loop.set_exception_handler(lambda _loop, _context: None)
        for node in self.stage.nodes.values():
            node.process.condition = Condition.DEAD
        self._loop.sweep_away()
