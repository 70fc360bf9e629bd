"""Every retry of the worker, in one place. Nothing beside these repeats anything."""

from __future__ import annotations

from collections.abc import Callable

import tenacity

from dedupd.cloud.ask import CannotAsk
from dedupd.policy import Policy
from dedupd.ports import QueueUnavailable, StoreUnavailable

COMMIT = Policy(
    retry=tenacity.retry_if_exception_type(StoreUnavailable),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
)
"""An answer of Nova is not given up: it is committed until it stands, or the worker stops.

So too a read that must not fail; whoever reads sets the deadline."""

PUBLISH = Policy(
    retry=tenacity.retry_if_exception_type(QueueUnavailable),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
)
"""What was put off is published until the broker has it, or the worker stops."""

ENDING = Policy(
    retry=tenacity.retry_if_exception_type(StoreUnavailable)
    | tenacity.retry_if_result(lambda record: record is not None and record.state.awaited),
    wait=tenacity.wait_exponential(multiplier=0.5, max=10),
)
"""Reads a record until nobody works on it any more; whoever waits sets the deadline."""

TELLING = Policy(
    retry=tenacity.retry_if_exception_type(CannotAsk),
    wait=tenacity.wait_exponential(multiplier=0.5, max=10),
)
"""Asks the cloud what it must know before it deletes anything; whoever asks sets the deadline."""

RESEND_WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=10)
"""Seconds before a request that had no effect is sent again, where Nova does not say when."""

LOOK_SECONDS_MAX = 15.0
"""The longest pause between two looks for a lost effect; they double from the first one."""

REVISIT_SECONDS = (5.0, 15.0, 60.0, 300.0, 900.0)
"""Seconds between the sweeper's looks at an unknown; the last one repeats."""


def looking(first: float, remaining: Callable[[], float]) -> Policy:
    """Look until there is a verdict: ``first`` seconds after the first look, then less often.

    One look begins exactly when ``remaining()`` seconds have run out.
    """
    growing = tenacity.wait_exponential(multiplier=first, max=LOOK_SECONDS_MAX)

    def wait(state: tenacity.RetryCallState) -> float:
        left = remaining()
        return min(growing(state), left) if left > 0 else growing(state)

    return Policy(
        retry=tenacity.retry_if_result(lambda verdict: verdict is None),
        wait=wait,
    )
