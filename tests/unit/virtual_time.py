"""An event loop whose time is not the machine's: when nothing is left to do, it jumps ahead.

A test that waits for an hour takes a moment, and takes the same course each time. Nothing under
such a loop may wait for the world outside: a socket or a thread gives no event while time jumps.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

EPOCH = 1_800_000_000.0
"""What the wall clock shows when a loop starts."""


class Deadlock(RuntimeError):
    """Everything waits, and no timer will ever wake any of it."""


class _Selector(selectors.DefaultSelector):
    """Never waits: what the loop would have waited, it hands on."""

    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events:
            return events
        if timeout is None:
            raise Deadlock("everything waits for something that nothing will ever do")
        self._skip(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop; its time begins at 0 and passes only while nothing can run."""

    _clock_resolution: float

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self._pass))
        self._clock_resolution = 1e-6  # sums of floats are not exact to the nanosecond

    def time(self) -> float:
        return self._now

    def _pass(self, seconds: float) -> None:
        self._now += seconds


class WallClock:
    """The wall clock of a test: goes with the running loop, or with nothing outside of one.

    ``ahead`` is what it was set forward by: time that passed without anybody being woken, as when
    a machine was suspended.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        try:
            passed = asyncio.get_running_loop().time()
        except RuntimeError:
            passed = 0.0
        return EPOCH + passed + self.ahead
