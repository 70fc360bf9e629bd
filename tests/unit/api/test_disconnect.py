from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from dedupd.api.disconnect import ClientGone, Disconnect

DEADLINE = 30.0
GONE: Message = {"type": "http.disconnect"}


class Caller:
    """An ASGI receive whose messages the test sends; counts who waits in it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.waiting = 0
        self.watched = asyncio.Event()

    async def receive(self) -> Message:
        self.waiting += 1
        self.watched.set()
        try:
            return await self.messages.get()
        finally:
            self.waiting -= 1

    def part(self, body: bytes, *, more: bool) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})


async def forever() -> None:
    async with asyncio.timeout(DEADLINE):
        await asyncio.Event().wait()


async def test_a_block_that_ends_soon_starts_nothing() -> None:
    caller = Caller()
    before = asyncio.all_tasks()
    with Disconnect(caller.receive):
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
    assert caller.waiting == 0


async def test_the_block_ends_when_the_caller_goes_away() -> None:
    caller = Caller()
    caller.messages.put_nowait(GONE)
    with pytest.raises(ClientGone), Disconnect(caller.receive, after=0.01):
        await forever()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_parts_of_a_body_that_nobody_asked_for_do_not_end_the_watch() -> None:
    caller = Caller()
    caller.part(b"x", more=True)
    caller.part(b"y", more=False)
    caller.messages.put_nowait(GONE)
    with pytest.raises(ClientGone), Disconnect(caller.receive, after=0.01):
        await forever()


async def test_the_watcher_ends_with_the_block() -> None:
    caller = Caller()
    with Disconnect(caller.receive, after=0.01):
        await asyncio.wait_for(caller.watched.wait(), DEADLINE)
        assert caller.waiting == 1
    await asyncio.sleep(0)
    assert caller.waiting == 0


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    caller = Caller()
    entered = asyncio.Event()

    async def guarded() -> None:
        with Disconnect(caller.receive):
            entered.set()
            await forever()

    task = asyncio.create_task(guarded())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_elsewhere_wins_over_a_disconnect() -> None:
    caller = Caller()

    async def guarded() -> None:
        with Disconnect(caller.receive, after=0.01):
            try:
                await forever()
            except asyncio.CancelledError:
                task.cancel()
                raise

    task = asyncio.create_task(guarded())
    caller.messages.put_nowait(GONE)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_leave_the_block_as_they_are() -> None:
    with pytest.raises(KeyError), Disconnect(Caller().receive):
        raise KeyError


async def test_an_enclosing_deadline_works_beside_it() -> None:
    async def guarded() -> None:
        with Disconnect(Caller().receive, after=0.01):
            await forever()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(guarded(), 0.05)


async def test_it_guards_a_task_only() -> None:
    failures: list[Exception] = []

    def enter() -> None:
        try:
            Disconnect(Caller().receive).__enter__()
        except RuntimeError as error:
            failures.append(error)

    asyncio.get_running_loop().call_soon(enter)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(failures) == 1


async def test_the_body_comes_through_and_is_watched_after_its_last_part() -> None:
    caller = Caller()
    caller.part(b"a", more=True)

    async def guarded() -> None:
        with Disconnect(caller.receive, body_pending=True, after=0.01) as client:
            assert (await client.receive())["body"] == b"a"
            pending = [client.body_pending]
            caller.watched.clear()
            await asyncio.sleep(0.05)  # several ticks: the body's reader alone may receive
            assert not caller.watched.is_set()
            caller.part(b"b", more=False)
            assert (await client.receive())["body"] == b"b"
            pending.append(client.body_pending)
            assert pending == [True, False]
            caller.messages.put_nowait(GONE)
            await forever()

    with pytest.raises(ClientGone):
        await guarded()


async def test_a_disconnect_met_while_reading_is_raised_there() -> None:
    caller = Caller()
    caller.messages.put_nowait(GONE)
    with Disconnect(caller.receive, body_pending=True) as client, pytest.raises(ClientGone):
        await client.receive()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_disconnect_met_by_another_task_that_reads_ends_the_block_too() -> None:
    caller = Caller()
    caller.messages.put_nowait(GONE)
    readers: list[asyncio.Task[Message]] = []

    async def guarded() -> None:
        with Disconnect(caller.receive, body_pending=True) as client:
            readers.append(asyncio.create_task(client.receive()))
            await forever()

    with pytest.raises(ClientGone):
        await guarded()
    assert isinstance(readers[0].exception(), ClientGone)


async def test_standstill_ends_the_block() -> None:
    caller = Caller()
    with pytest.raises(TimeoutError), Disconnect(caller.receive, idle_seconds=0.02):
        await forever()


async def test_what_moves_does_not_stand_still() -> None:
    moves = 0

    async def guarded() -> None:
        nonlocal moves
        with Disconnect(Caller().receive, idle_seconds=1) as client:
            while moves < 10:
                moves += 1
                client.moved()
                await asyncio.sleep(0.25)  # longer altogether than idle_seconds
            await forever()

    with pytest.raises(TimeoutError):
        await guarded()
    assert moves == 10


async def test_the_caller_is_watched_where_there_is_a_limit_to_standstill_too() -> None:
    caller = Caller()
    caller.messages.put_nowait(GONE)
    with pytest.raises(ClientGone), Disconnect(caller.receive, idle_seconds=DEADLINE, after=0.01):
        await forever()


@pytest.mark.parametrize("body_pending", [True, False])
async def test_receiving_tells_who_is_waited_for(body_pending: bool) -> None:
    caller = Caller()
    with (
        pytest.raises(TimeoutError),
        Disconnect(
            caller.receive, body_pending=body_pending, idle_seconds=0.02, body_seconds=0.02
        ) as client,
    ):
        await (client.receive() if body_pending else forever())
    assert client.receiving == body_pending


class Slow:
    """A caller who sends parts of ``size`` bytes for ever, with pauses between."""

    def __init__(self, size: int, pause: float) -> None:
        self._part = {"type": "http.request", "body": b"x" * size, "more_body": True}
        self._pause = pause

    async def receive(self) -> Message:
        await asyncio.sleep(self._pause)
        return self._part


async def test_who_sends_a_body_drop_by_drop_is_not_waited_for_for_ever() -> None:
    async def guarded() -> None:
        with Disconnect(Slow(1, 0.01).receive, body_pending=True, body_seconds=0.3) as client:
            while True:
                await client.receive()

    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await guarded()
    assert asyncio.get_running_loop().time() - began >= 0.3


async def test_who_sends_fast_enough_has_all_the_time() -> None:
    size = 0
    with Disconnect(Slow(1024, 0.1).receive, body_pending=True, body_seconds=0.5) as client:
        while size < 20 * 1024:  # two seconds altogether
            size += len((await client.receive())["body"])


async def test_the_time_that_the_reader_takes_is_not_the_sender_s() -> None:
    with Disconnect(Slow(1, 0).receive, body_pending=True, body_seconds=0.2) as client:
        for _ in range(4):
            await client.receive()
            await asyncio.sleep(0.1)
