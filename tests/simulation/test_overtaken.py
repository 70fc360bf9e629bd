"""A worker stands still between its last check and its send until another has sent, and ended.

The environment of the usual histories keeps to the assumption that this does not happen; here it
does, once in a history, and the late worker's own answer is lost as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dedupd.exchange import Answer, Call
from dedupd.ports import NotSent
from dedupd.sim.histories import cloud
from dedupd.sim.histories import run as runs
from dedupd.sim.histories.cloud import Course, HostileCloud
from dedupd.sim.histories.faults import Draw
from dedupd.sim.histories.plan import SETTLE_SECONDS, Mode, plan
from dedupd.sim.histories.programs import CONNECT_SECONDS, SEND_SECONDS
from dedupd.sim.histories.run import History, run
from dedupd.sim.histories.shrink import told
from dedupd.sim.histories.stage import IDENTITY, Node
from dedupd.sim.histories.themes import Theme
from dedupd.worker.compensation import Compensation
from dedupd.worker.job import Job

ASLEEP_SECONDS = 2 * (CONNECT_SECONDS + SEND_SECONDS + SETTLE_SECONDS)
"""Long enough for another worker to take over, to look after the settle time, and to send."""

SEEDS = 120


class _Late:
    """The one send of a history that comes too late; its answer is lost."""

    def __init__(self) -> None:
        self.asleep = self.sent = False

    async def send(
        self,
        real: Callable[..., Any],
        hostile: HostileCloud,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool],
    ) -> Answer:
        late = call.method == "POST" and not self.asleep
        if late:
            if not permitted():
                raise NotSent("It may not send.")
            self.asleep = True
            hostile._node.pause(ASLEEP_SECONDS)
            await asyncio.sleep(0.01)
            self.sent = True
        answer: Answer = await real(hostile, call, timeout, (lambda: True) if late else permitted)
        return answer

    def course(self, draw: Draw, timeout: float, *, deletes: bool = False) -> Course:
        lost, self.sent = self.sent, False
        return Course(0.01, None if lost else 0.01)


def overslept(monkeypatch: pytest.MonkeyPatch, seed: int) -> History:
    """The history of a seed with nothing else that goes wrong, watched until all is undone."""
    late, real = _Late(), HostileCloud.send

    async def send(
        hostile: HostileCloud,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool] = lambda: True,
        *,
        afresh: bool = False,
    ) -> Answer:
        carry = partial(real, afresh=afresh)
        return await late.send(carry, hostile, call, timeout, permitted)

    with monkeypatch.context() as patch:
        patch.setattr(HostileCloud, "send", send)
        patch.setattr(cloud, "course", late.course)
        patch.setattr(Node, "recover", lambda _: None)  # else it is woken when the faults end
        patch.setattr(runs, "WATCH_SECONDS", 4 * ASLEEP_SECONDS)
        return run(seed, intensity=0.0, focus=Theme.ANYTHING)


def histories(monkeypatch: pytest.MonkeyPatch) -> list[History]:
    """Those with another worker, in which nobody else is at work in Nova."""
    plans = (plan(seed, IDENTITY, 0.0, Theme.ANYTHING) for seed in range(SEEDS))
    return [
        overslept(monkeypatch, plan.seed)
        for plan in plans
        if plan.mode is Mode.QUIET and plan.workers > 1 and not plan.meddles
    ]


def left_behind(history: History) -> list[str]:
    """What is wrong at the end; that something was sent late, and unprobed, is the premise."""
    return [text for text in history.violations if text.startswith(("1:", "2:", "3:"))]


def test_what_a_late_worker_made_is_found_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    played = histories(monkeypatch)
    for history in played:
        assert not left_behind(history), told(history)
    undone = [any(event.what == "DELETE" for event in history.events) for history in played]
    assert sum(undone) > len(played) / 3


def test_else_it_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def overtaken(_self: Compensation, _job: Job) -> None:
        """It does not look."""

    monkeypatch.setattr(Compensation, "overtaken", overtaken)
    assert sum(map(bool, map(left_behind, histories(monkeypatch)))) > 1
