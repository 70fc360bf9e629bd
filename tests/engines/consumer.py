"""A consumer to be killed: prints each id that it is given, and settles nothing."""

from __future__ import annotations

import asyncio
import sys

from tests.contract.queues import queue_at


async def main(url: str, name: str) -> None:
    """Consume until killed."""
    queue = queue_at(url, name=name)
    await queue.open()
    await queue.consume(lambda delivery: print(delivery.id, flush=True), 10)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
