"""Every deadline and every retry of the queue, in one place. Nothing beside these repeats."""

from __future__ import annotations

import tenacity

from dedupd.ports import QueueUnavailable

DEADLINE_SECONDS = 4.0
"""How long a broker may take to confirm a message, or to do anything else: with what goes before,
a caller hears within five seconds that it cannot be done."""

CONNECT_SECONDS = 3.0
"""How long one attempt to connect may take, all of a broker's addresses together."""

HEARTBEAT_SECONDS = 10.0
"""How often either side says that it is there; after twice this silence the connection is given up.
What was not acknowledged then goes to another consumer."""

STEADY_SECONDS = 10.0
"""A connection that lasted longer is replaced at once, another one only after a pause."""

ACKNOWLEDGE_SECONDS = 0.005
"""How long acknowledgements may gather, unless something else is said to the broker before."""


def reconnecting() -> tenacity.AsyncRetrying:
    """Connect again, as often as it takes: many processes lose a broker at the same moment."""
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(QueueUnavailable),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
        stop=tenacity.stop_never,
    )
