"""Many histories on several processes, summed up in the order of their seeds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice

from dedupd.sim.histories import tally
from dedupd.sim.histories.tally import Tally

BLOCK = 200
"""Histories that a process runs at a time."""


def parts(first: int, last: int, processes: int, intensity: float) -> Iterator[Tally]:
    """The sums of one block after the other, so that what is done is the seeds up to some one."""
    starts = iter(range(first, last, BLOCK))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:

        def submitted(number: int) -> list[Future[Tally]]:
            return [
                pool.submit(tally.tallied, range(at, min(at + BLOCK, last)), intensity)
                for at in islice(starts, number)
            ]

        waiting = submitted(2 * processes)
        while waiting:
            yield waiting.pop(0).result()
            waiting += submitted(1)
