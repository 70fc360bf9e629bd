"""One project that Nova turns down leaves the others room, and most of its own requests alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dedupd.metrics import Metrics
from dedupd.worker import turns as turns_module
from dedupd.worker.turns import Turn, Turns

ROOM = 8


class Worker:
    """Requests of several projects, each held in its turn until it is told to end."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.turns = Turns(ROOM, self.metrics.put_off)
        self.begun: list[str] = []
        self.done_with: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, Turn] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def take(self, project: str, count: int = 1, *, held_up: bool = False) -> list[str]:
        """Take up requests of a project; their names."""
        names = [f"{project}{len(self.tasks) + number}" for number in range(count)]
        for name in names:
            self.tasks[name] = asyncio.create_task(self._work(name, project))
        await settled()
        if held_up:
            self.hold_up(*names)
        return names

    async def _work(self, name: str, project: str) -> None:
        async with self.turns.turn(project, lambda: self.done_with.append(name)) as turn:
            self._held[name], self._ends[name] = turn, asyncio.Event()
            self.begun.append(name)
            await self._ends[name].wait()

    def hold_up(self, *names: str) -> None:
        for name in names:
            self._held[name].hold_up()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await settled()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await settled()

    @property
    def put_off(self) -> float:
        """What the gauge says."""
        return self.metrics.registry.get_sample_value("dedupd_put_off_requests") or 0.0


async def settled() -> None:
    """Every task has gone as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    for task in worker.tasks.values():
        task.cancel()
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    assert worker.put_off == 0
    assert (worker.turns._projects, worker.turns._held_up) == ({}, 0)


async def test_as_many_are_begun_as_a_worker_has_messages(worker: Worker) -> None:
    names = await worker.take("a", ROOM)
    assert worker.begun == names
    assert worker.done_with == []


async def test_what_waits_to_be_sent_again_has_no_message(worker: Worker) -> None:
    names = await worker.take("a", 2, held_up=True)
    assert worker.done_with == names


async def test_it_is_counted_once_however_often_it_waits(worker: Worker) -> None:
    [name] = await worker.take("a", held_up=True)
    worker.hold_up(name, name)
    assert worker.turns._held_up == 1


async def test_of_a_project_that_is_turned_down_half_the_room_is_begun(worker: Worker) -> None:
    first = await worker.take("a", ROOM // 2, held_up=True)
    rest = await worker.take("a", 3)
    assert worker.begun == first
    assert worker.done_with == first + rest
    assert worker.put_off == 3


async def test_one_more_is_begun_where_there_is_room(worker: Worker) -> None:
    await worker.take("a", ROOM // 2 - 1, held_up=True)
    [name] = await worker.take("a")
    assert name in worker.begun
    assert name not in worker.done_with


async def test_others_are_begun_at_once(worker: Worker) -> None:
    await worker.take("a", ROOM, held_up=True)
    await worker.take("a")
    [other] = await worker.take("b")
    assert worker.begun[-1] == other


async def test_however_many_projects_are_turned_down_one_of_each_is_begun(worker: Worker) -> None:
    projects = [f"p{number}-" for number in range(3 * ROOM)]
    first = [(await worker.take(project, held_up=True))[0] for project in projects]
    for project in projects:
        await worker.take(project)
    assert worker.begun == first


async def test_the_next_are_begun_when_one_has_ended(worker: Worker) -> None:
    first = await worker.take("a", ROOM, held_up=True)
    rest = await worker.take("a", 3)
    await worker.end(*first[: ROOM // 2])
    assert worker.begun == first
    await worker.end(first[ROOM // 2])
    assert worker.begun == [*first, *rest[:2]]  # five of eight, and three wait
    assert worker.put_off == 1


async def test_all_are_begun_in_their_order_when_nova_takes_them_again(worker: Worker) -> None:
    first = await worker.take("a", ROOM, held_up=True)
    rest = await worker.take("a", 3 * ROOM)
    await worker.end(*first)
    while worker.begun != first + rest:
        before = len(worker.begun)
        await worker.end(*worker.begun[ROOM:])
        assert before < len(worker.begun) <= before + ROOM
    assert worker.put_off == 0


async def test_who_comes_later_does_not_overtake(worker: Worker) -> None:
    first = await worker.take("a", ROOM, held_up=True)
    [put_off] = await worker.take("a")
    [b] = await worker.take("b", held_up=True)
    await worker.end(*first[2:])
    await worker.end(b)
    assert worker.begun[-1] == put_off


async def test_a_turn_is_passed_on_by_whom_it_breaks_off(worker: Worker) -> None:
    first = await worker.take("a", ROOM, held_up=True)
    [put_off] = await worker.take("a")
    await worker.cancel(*first)
    assert worker.begun[-1] == put_off


async def test_who_stops_waiting_is_passed_over(worker: Worker) -> None:
    first = await worker.take("a", ROOM, held_up=True)
    [gone, stays] = await worker.take("a", 2)
    await worker.cancel(gone)
    assert worker.put_off == 1
    await worker.end(*first)
    assert worker.begun == [*first, stays]


async def test_so_is_who_stops_while_the_turn_is_passed_on(worker: Worker) -> None:
    first = await worker.take("a", ROOM, held_up=True)
    [gone, stays] = await worker.take("a", 2)
    for name in first:
        worker._ends[name].set()
    worker.tasks[gone].cancel()
    await settled()
    assert worker.begun == [*first, stays]


async def test_a_turn_that_comes_with_the_end_is_not_lost(worker: Worker) -> None:
    """Its turn has come, and the task that was to have it is cancelled before it runs."""
    [only] = await worker.take("a", held_up=True)
    await worker.take("b", ROOM - 1, held_up=True)
    [gone, stays] = await worker.take("a", 2)
    worker.turns.end("a", held_up=True)  # as at the end of ``only``
    worker.tasks[gone].cancel()
    await settled()
    assert worker.begun[-1] == stays
    worker.turns._projects["a"].begun += 1
    worker.turns._held_up += 1
    await worker.end(only)


async def test_beyond_a_bound_messages_stay_with_the_broker(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "MAX_PUT_OFF", 2)
    first = await worker.take("a", ROOM, held_up=True)
    rest = await worker.take("a", 3)
    assert worker.done_with == first + rest[:2]
    assert worker.put_off == 3
