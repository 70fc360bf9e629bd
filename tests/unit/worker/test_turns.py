"""One project that Nova turns down leaves the others room, and most of its own requests alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from dedupd.metrics import Metrics
from dedupd.worker import turns as turns_module
from dedupd.worker.turns import Turn, Turns

LIMIT = 4


class Worker:
    """Requests of several projects, each held in its turn until it is told to end."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.turns = Turns(LIMIT, self.metrics.put_off)
        self.begun: list[str] = []
        self.done_with: list[str] = []
        self.dropped: list[str] = []
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
        turn = await self.turns.begin(project, lambda: self.done_with.append(name))
        if turn is None:
            self.dropped.append(name)
            return
        with turn:
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
    assert worker.turns._projects == {}


async def test_all_are_begun_that_come_before_nova_turns_one_down(worker: Worker) -> None:
    names = await worker.take("a", 3 * LIMIT)
    assert worker.begun == names
    assert worker.done_with == []


async def test_what_waits_to_be_sent_again_has_no_message(worker: Worker) -> None:
    names = await worker.take("a", 2, held_up=True)
    assert worker.done_with == names


async def test_it_is_counted_once_however_often_it_waits(worker: Worker) -> None:
    [name, other] = await worker.take("a", 2)
    worker.hold_up(name, name)
    await worker.end(name)
    names = await worker.take("a", 2 * LIMIT)
    assert worker.begun == [name, other, *names]


async def test_as_long_as_one_waits_no_more_are_begun_than_the_limit(worker: Worker) -> None:
    first = await worker.take("a", held_up=True)
    first += await worker.take("a", LIMIT - 1)
    rest = await worker.take("a", 3)
    assert worker.begun == first
    assert worker.done_with == [first[0], *rest]
    assert worker.put_off == 3


async def test_other_projects_have_their_turns_at_once(worker: Worker) -> None:
    """Whatever is turned down of any number of projects."""
    for number in range(3 * LIMIT):
        await worker.take(f"p{number}-", 2 * LIMIT, held_up=True)
        await worker.take(f"p{number}-", 2 * LIMIT)
    others = await worker.take("b", 3 * LIMIT)
    assert worker.begun[-3 * LIMIT :] == others


async def test_the_next_is_begun_when_one_has_ended(worker: Worker) -> None:
    first = await worker.take("a", LIMIT, held_up=True)
    rest = await worker.take("a", 3)
    await worker.end(first[0])
    assert worker.begun == [*first, rest[0]]
    assert worker.put_off == 2


async def test_what_was_begun_before_counts(worker: Worker) -> None:
    first = await worker.take("a", 2 * LIMIT, held_up=True)
    rest = await worker.take("a", 3)
    await worker.end(*first[:LIMIT])
    assert worker.begun == first
    await worker.end(first[LIMIT])
    assert worker.begun == [*first, rest[0]]


async def test_all_are_begun_in_their_order_when_nova_takes_them_again(worker: Worker) -> None:
    """No more at once than the limit: others come between them."""
    first = await worker.take("a", LIMIT, held_up=True)
    rest = await worker.take("a", 5 * LIMIT)
    await worker.end(*first)
    assert worker.begun == [*first, *rest[:LIMIT]]
    for name in rest:
        await worker.end(name)
    assert worker.begun == [*first, *rest]
    assert worker.put_off == 0


async def test_who_comes_later_does_not_overtake(worker: Worker) -> None:
    first = await worker.take("a", LIMIT, held_up=True)
    rest = await worker.take("a", LIMIT + 1)
    await worker.end(*first)  # none waits any more to be sent again
    [later] = await worker.take("a")
    assert worker.begun == [*first, *rest[:LIMIT]]
    await worker.end(rest[0])
    assert worker.begun[-1] == rest[LIMIT]
    await worker.end(rest[1])
    assert worker.begun[-1] == later


async def test_a_turn_is_passed_on_by_whom_it_breaks_off(worker: Worker) -> None:
    first = await worker.take("a", LIMIT, held_up=True)
    [put_off] = await worker.take("a")
    await worker.cancel(*first)
    assert worker.begun[-1] == put_off


async def test_who_stops_waiting_is_passed_over(worker: Worker) -> None:
    first = await worker.take("a", LIMIT, held_up=True)
    [gone, stays] = await worker.take("a", 2)
    await worker.cancel(gone)
    assert worker.put_off == 1
    await worker.end(first[0])
    assert worker.begun == [*first, stays]


async def test_so_is_who_stops_while_the_turn_is_passed_on(worker: Worker) -> None:
    first = await worker.take("a", LIMIT, held_up=True)
    [gone, stays] = await worker.take("a", 2)
    worker._ends[first[0]].set()
    worker.tasks[gone].cancel()
    await settled()
    assert worker.begun == [*first, stays]


async def test_a_turn_that_comes_with_the_end_is_not_lost(worker: Worker) -> None:
    """Its turn has come, and the task that was to have it is cancelled before it runs."""
    first = await worker.take("a", LIMIT, held_up=True)
    [gone, stays] = await worker.take("a", 2)
    project = worker.turns._projects["a"]
    worker.turns.end(project, held_up=True)  # as at the end of ``first[0]``
    worker.tasks[gone].cancel()
    await settled()
    assert worker.begun[-1] == stays
    project.begun, project.held_up = project.begun + 1, project.held_up + 1
    await worker.end(first[0])


async def test_what_comes_beyond_a_bound_is_dropped(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message would else keep others away."""
    monkeypatch.setattr(turns_module, "MAX_PUT_OFF", 2)
    first = await worker.take("a", LIMIT, held_up=True)
    rest = await worker.take("a", 3)
    [other] = await worker.take("b")
    assert worker.dropped == rest[2:]
    assert worker.put_off == 2
    assert worker.begun == [*first, other]
