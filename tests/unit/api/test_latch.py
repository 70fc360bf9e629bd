"""Callers that wait: woken together, found again by a slow poll, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack

import pytest

from dedupd import request
from dedupd.api.latch import POLL_SECONDS, Latch
from dedupd.errors import Unavailable
from dedupd.metrics import Metrics
from dedupd.ports import Stored, Unreadable
from dedupd.request import Record
from tests.unit.site import Site

VIRTUAL_TIME = True


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def latch(site: Site, metrics: Metrics) -> AsyncIterator[Latch]:
    """One that polls."""
    latch = Latch(site.store, 2, metrics)
    polling = asyncio.create_task(latch.poll())
    yield latch
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)


async def ended(site: Site, record: Record) -> Record:
    done = request.finish(record, site.clock(), status=202, resource=None, keep=60)
    written = await site.store.swap(record, done, result=b"answer")
    assert written
    return written


def waiting(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("dedupd_waiting_callers")


async def test_all_who_wait_are_woken_at_once(site: Site, latch: Latch) -> None:
    record = await site.claimed()
    began = site.clock()
    with ExitStack() as stack:
        waiters = [stack.enter_context(latch.watch(record.id)) for _ in range(3)]
        done = await ended(site, record)
        found = await asyncio.gather(*waiters)
    assert found == [Stored(done, None, b"answer")] * 3
    assert site.clock() == began


async def test_what_ends_between_watch_and_wait_is_not_missed(site: Site, latch: Latch) -> None:
    record = await site.claimed()
    with latch.watch(record.id) as waiter:
        await ended(site, record)
        await asyncio.sleep(1)
        assert waiter.done()


async def test_others_sleep_on(site: Site, latch: Latch) -> None:
    record, other = await site.claimed(), await site.claimed(client_token="other")
    with latch.watch(other.id) as waiter:
        await ended(site, record)
        await asyncio.sleep(2 * POLL_SECONDS)
        assert not waiter.done()


async def test_one_who_gave_up_is_not_woken(site: Site, latch: Latch) -> None:
    record = await site.claimed()
    with latch.watch(record.id) as waiter:
        waiter.cancel()
        await ended(site, record)
        await asyncio.sleep(1)
        assert waiter.cancelled()


async def test_what_was_missed_is_found_by_the_poll(site: Site, latch: Latch) -> None:
    """Another process moved the record, or the news was lost."""
    site.store._completions._listeners.clear()
    record = await site.claimed()
    await asyncio.sleep(POLL_SECONDS / 2)
    began = site.clock()
    with latch.watch(record.id) as waiter:
        done = await ended(site, record)
        assert await waiter == Stored(done, None, b"answer")
    assert site.clock() - began <= POLL_SECONDS


async def test_the_poll_passes_over_who_has_just_come(
    site: Site, latch: Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read once in POLL_SECONDS, and not before half of that has passed."""
    asked: list[float] = []
    read = site.store.read

    async def reading(ids: Sequence[str]) -> dict[str, Stored]:
        asked.append(site.clock())
        return await read(ids)

    monkeypatch.setattr(site.store, "read", reading)
    record = await site.claimed()
    await asyncio.sleep(POLL_SECONDS / 2 - 0.1)
    began = site.clock()
    with latch.watch(record.id):
        await asyncio.sleep(3 * POLL_SECONDS)
    first = POLL_SECONDS / 2 + 0.1
    assert [at - began for at in asked] == pytest.approx(
        [first, first + POLL_SECONDS, first + 2 * POLL_SECONDS]
    )


async def test_the_poll_passes_over_what_still_runs(site: Site, latch: Latch) -> None:
    record = await site.claimed()
    with latch.watch(record.id) as waiter:
        await asyncio.sleep(3 * POLL_SECONDS)
        assert not waiter.done()


async def test_the_poll_tells_of_what_is_not_there(latch: Latch) -> None:
    """A claim was taken back, of which there is no news; or is under way still."""
    with latch.watch("0" * 32) as waiter:
        assert await waiter is None
    assert latch.is_holding


async def test_the_poll_goes_on_when_the_store_was_away(
    site: Site, latch: Latch, caplog: pytest.LogCaptureFixture
) -> None:
    site.store._completions._listeners.clear()
    record = await site.claimed()
    with latch.watch(record.id) as waiter:
        await ended(site, record)
        site.store.away = True
        await asyncio.sleep(2 * POLL_SECONDS)
        assert "Waiting callers were not looked after" in caplog.text
        site.store.away = False
        await waiter


async def test_the_poll_passes_over_what_cannot_be_read_and_nothing_else(
    site: Site, latch: Latch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A later dedupd has written it, say."""
    site.store._completions._listeners.clear()
    records = [await site.claimed(client_token=f"t{number}") for number in range(7)]
    foreign, read = records[3], site.store.read

    async def reading(ids: Sequence[str]) -> dict[str, Stored]:
        if foreign.id in ids:
            raise Unreadable("not one of dedupd's records")
        return await read(ids)

    monkeypatch.setattr(site.store, "read", reading)
    with ExitStack() as stack:
        waiters = [stack.enter_context(latch.watch(record.id)) for record in records]
        for record in records:
            await ended(site, record)
        others = waiters[:3] + waiters[4:]
        await asyncio.gather(*others)
        assert not waiters[3].done()
    assert f"{foreign.id}: whoever waits for it is not looked after" in caplog.text


async def test_it_polls_in_portions(
    site: Site, latch: Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dedupd.api.latch._READ_AT_ONCE", 2)
    site.store._completions._listeners.clear()
    records = [await site.claimed(client_token=f"t{number}") for number in range(5)]
    with ExitStack() as stack:
        waiters = [stack.enter_context(latch.watch(record.id)) for record in records]
        for record in records:
            await ended(site, record)
        await asyncio.gather(*waiters)


async def test_waiting_callers_are_counted(latch: Latch, metrics: Metrics) -> None:
    with latch.watch("a"):
        assert waiting(metrics) == 1
        with latch.watch("a"), latch.watch("b"):
            assert waiting(metrics) == 3
        assert waiting(metrics) == 1
    assert waiting(metrics) == 0


async def test_only_so_many_may_wait(latch: Latch) -> None:
    with latch.watch("a"), latch.watch("b"):
        latch.check()
        with latch.watch("a"), pytest.raises(Unavailable, match="2 callers wait already") as caught:
            latch.check()
        assert caught.value.headers == {"Retry-After": "1"}
        latch.check()


async def test_those_who_are_gone_leave_nothing_behind(latch: Latch) -> None:
    with pytest.raises(ZeroDivisionError), latch.watch("a"):
        raise ZeroDivisionError
    assert latch._waiters == {}
    assert latch._count == 0


async def test_when_nobody_is_held_any_longer_all_are_told(site: Site, latch: Latch) -> None:
    """Those who wait, and those who come later; who has an answer keeps it."""
    record = await site.claimed()
    with latch.watch(record.id) as answered, latch.watch("other") as waiting:
        done = await ended(site, record)
        await asyncio.sleep(0)
        latch.let_go()
        with latch.watch("late") as late:
            assert await answered == Stored(done, None, b"answer")
            assert (await waiting, await late) == (None, None)
