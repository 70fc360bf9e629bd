"""An event loop on virtual time, in which a process can stand still or vanish with all it had.

Time passes only while nothing can run, and then jumps to the next timer. There is no selector and
no thread: nothing in a history can wait for the world outside.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any, Never, TypeVar, TypeVarTuple, Unpack

import msgspec

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

MAX_STEPS_AT_ONCE = 20_000
"""More steps than this without time passing: something spins."""


class Spinning(RuntimeError):
    """Something runs on and on without time passing."""


class Deadlock(RuntimeError):
    """Everything waits, and no timer will ever wake any of it."""


class Condition(enum.Enum):
    """Whether a process's code is carried out, kept for later, or never."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


_RUNNING = Condition.RUNNING


class Process:
    """One operating-system process: what began in its context runs only while it does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.condition = Condition.RUNNING
        self.frozen: deque[Step] = deque()
        self.context = copy_context()
        self.context.run(_process.set, self)

    @property
    def running(self) -> bool:
        """Whether its code is carried out now."""
        return self.condition is Condition.RUNNING


_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Step(msgspec.Struct):
    """A callback that is due; in which process is told by its context.

    A history makes hundreds: of an asyncio handle there is only what is needed.
    """

    callback: Callable[..., object]
    arguments: tuple[Any, ...]
    context: contextvars.Context
    is_cancelled: bool = False

    def cancel(self) -> None:
        """See ``asyncio``."""
        self.is_cancelled = True


class _Task(asyncio.Task[T]):
    """A task that may be dropped where it stands."""

    _log_destroy_pending: bool

    def drop(self) -> None:
        """End it without a word; its clean-up finds a world in which nothing happens any more."""
        coroutine = self.get_coro()
        if not self.done() and coroutine is not None:
            self._log_destroy_pending = False
            coroutine.close()


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop; its time begins at 0 and is the same in every run."""

    _context: contextvars.Context
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._tasks: list[_Task[Any]] = []
        self.now = 0.0
        """What ``time`` tells."""
        self._soon: deque[Step] = deque()
        self._timers: list[tuple[float, int, Step]] = []
        self._order = count()

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self.now

    def call_soon(
        self,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See ``asyncio``."""
        step = Step(callback, args, copy_context() if context is None else context)
        self._soon.append(step)
        return step

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See ``asyncio``; what is due at the same time comes in the order of the calls."""
        step = Step(callback, args, copy_context() if context is None else context)
        heappush(self._timers, (when, next(self._order), step))
        return step

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See ``asyncio``."""
        step = Step(callback, args, copy_context() if context is None else context)
        heappush(self._timers, (self.now + delay, next(self._order), step))
        return step

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """See ``asyncio``; every task is kept, so that none ends by being forgotten."""
        task = _Task(coro, loop=self, name=str(len(self._tasks)), context=context)
        self._tasks.append(task)
        return task

    def sweep_away(self) -> None:
        """End what still waits, so that nothing of it is carried out later."""
        for task in self._tasks:
            task.drop()
        self._tasks.clear()
        self._soon.clear()
        self._timers.clear()

    def wake(self, process: Process) -> None:
        """Carry on where the process stood still."""
        process.condition = Condition.RUNNING
        self._soon.extend(process.frozen)
        process.frozen.clear()

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> Never:
        """Refused: a history has no threads."""
        raise RuntimeError("a history has no threads")

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Arguments]], T],
        *args: *Arguments,
    ) -> Never:
        """Refused: a history has no threads."""
        raise RuntimeError("a history has no threads")

    def _run_once(self) -> None:
        """One thing after the other, until something stops the loop."""
        soon, last = self._soon, self.steps + MAX_STEPS_AT_ONCE
        while not self._stopping:
            if soon:
                step = soon.popleft()
            else:
                before = self.now
                step = self._advance()
                if self.now > before:
                    last = self.steps + MAX_STEPS_AT_ONCE
            self.steps += 1
            process = step.context.get(_process)
            if step.is_cancelled:
                pass
            elif process is None or process.condition is _RUNNING:
                try:
                    step.context.run(step.callback, *step.arguments)
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 # as asyncio's handles
                    told = {"message": f"in {step.callback!r}", "exception": error}
                    self.call_exception_handler(told)
            elif process.condition is Condition.PAUSED:
                process.frozen.append(step)
            if self.steps == last:
                raise Spinning(f"{MAX_STEPS_AT_ONCE} steps at {self.now:.3f} s: no time passes")

    def _advance(self) -> Step:
        """The next timer's step; time passes until it is due."""
        timers = self._timers
        while timers:
            when, _, step = heappop(timers)
            if not step.is_cancelled:
                if when > self.now:
                    self.now = when
                return step
        raise Deadlock("everything waits for something that nothing will ever do")
