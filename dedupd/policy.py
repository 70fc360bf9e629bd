"""How work is repeated: by tenacity's strategies, without the bookkeeping around them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple, Unpack

import tenacity

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True)
class Policy:
    """Whether, after how long, and how often something is tried again; many tasks may share one.

    ``tenacity.AsyncRetrying`` would ask of each strategy in each turn whether it is a coroutine
    function, and must be copied for each use. Most work succeeds at once, and is not worth that.
    """

    retry: Callable[[tenacity.RetryCallState], bool]
    wait: Callable[[tenacity.RetryCallState], float]
    """Seconds before the next try."""
    stop: Callable[[tenacity.RetryCallState], bool] = tenacity.stop_never

    async def repeat(
        self, work: Callable[[Unpack[Arguments]], Awaitable[T]], *arguments: *Arguments
    ) -> T:
        """The result of the last try.

        Raises:
            Exception: what the last try raised.
        """
        state = tenacity.RetryCallState(_NOBODY, None, (), {})
        while True:
            try:
                result = await work(*arguments)
            except Exception:
                state.set_exception(sys.exc_info())  # type: ignore[arg-type]
                if not self._again(state):
                    state.outcome = None  # its traceback leads here: nothing is to go in circles
                    raise
            else:
                state.set_result(result)
                if not self._again(state):
                    return result
            pause = state.upcoming_sleep
            state.prepare_for_next_attempt()
            await asyncio.sleep(pause)

    def _again(self, state: tenacity.RetryCallState) -> bool:
        if not self.retry(state):
            return False
        state.upcoming_sleep = self.wait(state)
        return not self.stop(state)


_NOBODY = tenacity.Retrying()
"""A state must belong to somebody; no strategy here asks to whom."""
