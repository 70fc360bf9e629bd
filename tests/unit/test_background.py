"""What goes on beside a process's requests, and what becomes of a process where it fails."""

from __future__ import annotations

import asyncio

import pytest

from dedupd.background import Background


async def for_ever() -> None:
    await asyncio.Event().wait()


async def failing() -> None:
    await asyncio.sleep(0)
    raise LookupError("nobody foresaw it")


async def test_a_failure_is_told_and_stops_the_process_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    background = Background(lambda: told.append("stop"))
    tasks = [background.run(failing(), name) for name in ("The sweeper", "The other")]
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    assert told == ["stop"]
    assert not background.is_well
    assert "The sweeper has failed; this process stops" in caplog.text
    assert "nobody foresaw it" in caplog.text
    with pytest.raises(LookupError):
        background.check()


async def test_what_is_cancelled_has_ended_well(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    background = Background(lambda: told.append("stop"))
    task = background.run(for_ever(), "The sweeper")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    background.check()
    assert background.is_well
    assert not told
    assert not caplog.text
