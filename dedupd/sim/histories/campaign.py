"""Many histories on several processes, summed up in the order of their seeds."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from dedupd.sim.histories import tally
from dedupd.sim.histories.tally import Tally

BLOCK = 200
"""Histories that a process runs at a time."""


def parts(first: int, last: int, processes: int, intensity: float) -> Generator[Tally]:
    """The sums of one block after the other, so that what is done is the seeds up to some one.

    Where nobody wants more of them, the processes end with the blocks they are at; an interruption
    from the terminal is for the caller alone.
    """
    starts = iter(range(first, last, BLOCK))
    context = multiprocessing.get_context("spawn")
    ignoring = (signal.SIGINT, signal.SIG_IGN)
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=signal.signal, initargs=ignoring
    )
    try:

        def submitted(number: int) -> list[Future[Tally]]:
            return [
                pool.submit(tally.tallied, range(at, min(at + BLOCK, last)), intensity)
                for at in islice(starts, number)
            ]

        waiting = submitted(2 * processes)
        while waiting:
            yield waiting.pop(0).result()
            waiting += submitted(1)
    finally:
        pool.shutdown(cancel_futures=True)
