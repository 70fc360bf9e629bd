"""The loop on virtual time, and processes that stand still or vanish."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from dedupd.sim.histories.loop import Condition, Deadlock, Process, Spinning, VirtualLoop


def test_time_passes_only_while_nothing_can_run() -> None:
    loop = VirtualLoop()

    async def sleep() -> list[float]:
        times = [loop.time()]
        for _ in range(3):
            await asyncio.sleep(1000.0)
            times.append(loop.time())
        return times

    assert loop.run_until_complete(sleep()) == [0.0, 1000.0, 2000.0, 3000.0]
    loop.close()


def test_a_paused_process_goes_on_where_it_stood() -> None:
    loop = VirtualLoop()
    process = Process("one")
    seen: list[float] = []

    async def count() -> None:
        while True:
            seen.append(loop.time())
            await asyncio.sleep(1.0)

    async def scenario() -> None:
        counting = loop.create_task(count(), context=process.context.copy())
        await asyncio.sleep(1.5)
        process.condition = Condition.PAUSED
        await asyncio.sleep(10.0)
        loop.wake(process)
        await asyncio.sleep(1.2)
        counting.cancel()

    loop.run_until_complete(scenario())
    assert seen == [0.0, 1.0, 11.5, 12.5]
    loop.close()


def test_a_dead_process_runs_no_line_more() -> None:
    loop = VirtualLoop()
    process = Process("one")
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append("worked")
        finally:
            seen.append("cleaned up")

    async def scenario() -> None:
        task = loop.create_task(work(), context=process.context.copy())
        await asyncio.sleep(0.5)
        process.condition = Condition.DEAD
        task.cancel()
        await asyncio.sleep(5.0)

    loop.run_until_complete(scenario())
    assert seen == []
    loop.sweep_away()
    loop.close()


def test_what_waits_for_ever_and_what_never_waits_is_noticed() -> None:
    loop = VirtualLoop()

    async def spin() -> None:
        for _ in itertools.repeat(None):
            await asyncio.sleep(0)

    with pytest.raises(Spinning):
        loop.run_until_complete(spin())
    loop.sweep_away()
    loop.close()
    loop = VirtualLoop()
    with pytest.raises(Deadlock):
        loop.run_until_complete(loop.create_future())
    loop.close()
