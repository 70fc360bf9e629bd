"""What a history plays on: time, the engines that everybody shares, and the nodes around them."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple, Unpack

from dedupd.queue.memory import MemoryBroker
from dedupd.request import Record
from dedupd.seal import Keys
from dedupd.sim.histories.chronicle import Chronicle
from dedupd.sim.histories.copies import Sleepers
from dedupd.sim.histories.faults import LASTING, Fate, Fault, Stream, Torment
from dedupd.sim.histories.ledger import Ledger
from dedupd.sim.histories.loop import Condition, Process, VirtualLoop
from dedupd.sim.nova.simulated_nova import SimulatedNova
from dedupd.sim.nova.world import Settings
from dedupd.ssh_key import GeneratedKey
from dedupd.store.memory import MemoryStore

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

EPOCH = 1_800_000_000.0
"""What a true wall clock shows when a history begins."""

CLOCK_JUMP = 1.0
"""Seconds by which a worker's clock may be wrong, either way."""

FRONT_CLOCK_JUMP = 600.0
"""The same for a front: nothing that it writes is compared with a short time."""

RESTART_SECONDS = 6.0
"""The longest time for which a node is away after a crash."""

PAUSE_SECONDS = 30.0
"""The longest pause of a process: longer than a lease, and than the settle time."""

HEARTBEAT_SECONDS = 10.0
"""How long the broker keeps messages for a process that does not move."""

TROUBLE_SECONDS = 15.0
"""How long a node that is given up stays in trouble before it ends."""

FOR_EVER = 1e9

IDENTITY, SEAL = b"i" * 32, b"s" * 32


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as those of the memory store."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("it waits")


class Stage:
    """The engines, linearizable and always there; what is hostile is each node's way to them."""

    def __init__(
        self,
        loop: VirtualLoop,
        chance: random.Random,
        settings: Settings,
        generate_key: Callable[[], GeneratedKey],
    ) -> None:
        self.loop = loop
        self.context = contextvars.copy_context()
        """The world's own: what runs in it is no process's, and cannot be stopped."""
        self.chronicle = Chronicle(loop.time)
        self.truth = MemoryStore(self.clock)
        self.sleepers = Sleepers(self.later)
        self.broker = MemoryBroker()
        self.nova = SimulatedNova(
            clock=self.clock,
            seed=chance.getrandbits(32),
            settings=settings,
            generate_key=generate_key,
        )
        self.entropy = chance.randbytes
        self._generate_key = generate_key
        self.keys = Keys(IDENTITY, {1: SEAL}, self.entropy)
        self.ledger = Ledger(loop.time)
        self.nodes: dict[str, Node] = {}
        self._door_opens = 0.0
        self.torment: Torment
        self.pause_exponent = 3.0

    async def draw_key(self) -> GeneratedKey:
        """A new key, as a front draws it."""
        return self._generate_key()

    def later(
        self,
        delay: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
    ) -> None:
        """Have the world do something, whatever becomes of the process that asks for it."""
        self.loop.call_later(delay, callback, *args, context=self.context)

    def close_door(self, seconds: float) -> None:
        """Have the cloud accept no new connection for so long."""
        self._door_opens = max(self._door_opens, self.loop.now + seconds)

    @property
    def door_opens_in(self) -> float:
        """The seconds until the cloud accepts new connections, in the order in which they came."""
        return max(0.0, self._door_opens - self.loop.now)

    def clock(self) -> float:
        """The true time, in seconds since the epoch."""
        return EPOCH + self.loop.now

    def standing(self, request_id: str) -> Record | None:
        """The record of a request as it is in truth."""
        return self.truth.record(request_id)

    def state_of(self, request_id: str) -> str:
        """The state of that record, by name."""
        if not request_id:
            return ""
        record = self.standing(request_id)
        return "absent" if record is None else record.state.label


class Node:
    """A place where a front or a worker runs, and is started again after it crashed.

    Args:
        stage: What it shares with the others.
        name: What it is called.
        stream: Its chances.
        boot: Starts the program in a fresh process.
        jump: Seconds by which its wall clock may be wrong, either way.
    """

    def __init__(
        self, stage: Stage, name: str, stream: Stream, boot: Callable[[Node], None], jump: float
    ) -> None:
        self.stage = stage
        self.name = name
        self.stream = stream
        self.ahead = 0.0
        self.healthy = True
        """Whether it is started again; nobody does so any more at the end of some histories."""
        self._loop = stage.loop
        self._boot = boot
        self._jump = jump
        self._lives = 0
        self.lost: list[Callable[[], None]] = []
        """What the world does when the process ends."""
        self.lease_ended: Callable[[], None] = lambda: None
        self.process = Process(name)
        self.process.condition = Condition.DEAD

    def clock(self) -> float:
        """The wall clock as its processes see it."""
        return EPOCH + self._loop.now + self.ahead

    def start(self) -> None:
        """Start the program in a process of its own."""
        if self.process.condition is Condition.DEAD and self.healthy:
            self._lives += 1
            self.process = Process(f"{self.name}.{self._lives}")
            self.lost = []
            self.stage.chronicle.note(self.name, "started")
            self._boot(self)

    @property
    def reachable(self) -> bool:
        """Whether anybody listens there: the kernel does so for a process that stands still."""
        return self.process.condition is not Condition.DEAD

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a task in the process."""
        task = self.stage.loop.create_task(work, context=self.process.context.copy())
        del task  # the loop keeps it

    def crash(self, away: float) -> None:
        """End the process: its tasks and its memory are gone; it is back after ``away`` s."""
        if self.process.condition is Condition.DEAD:
            return
        self.process.condition = Condition.DEAD
        self.process.frozen.clear()
        self.stage.chronicle.note(self.name, "crashed")
        self.stage.later(0.0, self._lose)
        self.stage.later(away, self.start)

    def pause(self, seconds: float) -> None:
        """Stop the process (SIGSTOP) for a while; the world goes on."""
        process = self.process
        if not process.running:
            return
        process.condition = Condition.PAUSED
        self.stage.chronicle.note(self.name, "paused", round(seconds, 3))
        self.stage.later(seconds, self._wake, process)

    def _wake(self, process: Process) -> None:
        if process.condition is Condition.PAUSED:
            self.stage.chronicle.note(self.name, "woken")
            self.stage.loop.wake(process)

    def suffer(self, fate: Fate) -> None:
        """Be in trouble for good."""
        self.stage.chronicle.note(self.name, fate)
        self.healthy = False
        match fate:
            case Fate.DEAD:
                self.crash(0.0)
            case Fate.TROUBLED:
                self.stage.later(TROUBLE_SECONDS, self.crash, 0.0)
            case Fate.STOPPED:
                self.pause(FOR_EVER)
                self.stage.later(HEARTBEAT_SECONDS, self._lose)
            case _:
                self.stage.torment.lasting[self.name] = LASTING[fate]
                if fate is Fate.BROKERLESS:
                    self.stage.later(0.0, self._lose)

    def _lose(self) -> None:
        """The broker takes the connection for dead."""
        for forget in self.lost:
            forget()

    def recover(self) -> None:
        """Whatever befell it: it runs."""
        self._wake(self.process)
        self.start()

    def befall(self, fault: Fault | None, size: float) -> bool:
        """Carry out a fault that strikes the node itself, not its way to the engines.

        Returns:
            Whether the process is still there.
        """
        match fault:
            case Fault.FRONT_CRASH | Fault.WORKER_CRASH:
                self.crash(RESTART_SECONDS * abs(2 * size - 1))
                return False
            case Fault.FRONT_PAUSE | Fault.WORKER_PAUSE | Fault.SEND_PAUSE:
                self.pause(PAUSE_SECONDS * size**self.stage.pause_exponent)
            case Fault.FRONT_CLOCK | Fault.WORKER_CLOCK:
                self.ahead = self._jump * (2 * size - 1)
                self.stage.chronicle.note(self.name, "clock jumped", round(self.ahead, 3))
            case Fault.LEASE_ENDED:
                self.lease_ended()
            case Fault.BROKER_EMPTIED:
                self.stage.broker.waiting.clear()
            case _:
                pass
        return True
