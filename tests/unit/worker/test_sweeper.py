"""What makes the queue a mere hint: nothing pending is forgotten, nothing expired is kept."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dedupd import request
from dedupd.metrics import Metrics
from dedupd.ports import Delivery, Query, Worker
from dedupd.queue.memory import MemoryQueue
from dedupd.request import Record, State
from dedupd.worker import policies
from dedupd.worker.service import REPUBLISH_SECONDS
from dedupd.worker.sweeper import PATIENCE, REMEMBERED, Sweeper
from tests.unit.site import SWEEP_SECONDS, Site

VIRTUAL_TIME = True

US, OTHER, DEAD = "us", "other", "dead"
BURIED = 7200.0


class Swept:
    """A sweeper that runs, and what it did: (when, what, id)."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.metrics = Metrics()
        self.queue = MemoryQueue(site.broker)
        self.in_hand: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self.published: list[tuple[float, str]] = []
        self.adopted: list[tuple[float, str]] = []
        self.revisited: list[tuple[float, str]] = []
        self.sweeper = Sweeper(
            store=site.store,
            queue=self.queue,
            metrics=self.metrics,
            clock=site.clock,
            tombstone_seconds=BURIED,
            republish_seconds=REPUBLISH_SECONDS,
            worker_id=lambda: US,
            in_hand=self.in_hand.__contains__,
            adopt=self._note(self.adopted),
            revisit=self._note(self.revisited),
        )

    def _note(self, notes: list[tuple[float, str]]) -> Callable[[Record], None]:
        return lambda record: notes.append((self.site.clock(), record.id))

    async def start(self, *, consuming: bool = True) -> None:
        await self.queue.open()
        if consuming:
            await self.queue.consume(self.take, 10**6)
        self._task = asyncio.create_task(self.sweeper.run(SWEEP_SECONDS))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take(self, delivery: Delivery) -> None:
        self.published.append((self.site.clock(), delivery.id))
        delivery.acknowledge()


@pytest.fixture
async def swept(site: Site) -> AsyncIterator[Swept]:
    """Started by the test, ended here; its worker lives."""
    await alive(site, US)
    swept = Swept(site)
    yield swept
    await swept.stop()


async def in_state(site: Site, number: int, state: State, owner: str = "") -> Record:
    record = await site.claimed(client_token=f"t{number}")
    now = site.clock()
    moves: dict[State, Callable[[], Record]] = {
        State.QUEUED: lambda: record,
        State.SENDING: lambda: request.begin_send(record, owner, now, 35),
        State.UNKNOWN: lambda: request.give_up(request.begin_send(record, "w", now, 35), "why"),
        State.DONE: lambda: request.finish(record, now, status=202, resource=None, keep=3600),
        State.CANCELLED: lambda: request.cancel(record, now, detail="why", keep=3600),
        State.RELEASED: lambda: request.release(record, now, status=429, keep=60),
    }
    written = await site.store.swap(record, moves[state](), result=b"answer")
    assert written
    return written


async def alive(site: Site, name: str) -> None:
    await site.store.register(Worker(name, "host", 1, site.clock() + 1e9))


async def queued_beside_another(site: Site, swept: Swept) -> Record:
    """What another worker may have the message of."""
    await alive(site, OTHER)
    await swept.start()
    await asyncio.sleep(1)
    return await in_state(site, 1, State.QUEUED)


def times(notes: list[tuple[float, str]], began: float) -> list[int]:
    return [round(when - began) for when, _ in notes]


class TestQueued:
    async def test_what_is_older_than_this_process_is_published_at_once(
        self, site: Site, swept: Swept
    ) -> None:
        """It may have survived a crash that the queue did not."""
        records = [await in_state(site, number, State.QUEUED) for number in range(3)]
        await asyncio.sleep(1)
        await swept.start()
        await asyncio.sleep(0.1)
        assert [id_ for _, id_ in swept.published] == [record.id for record in records]

    async def test_not_where_the_broker_has_kept_its_messages(
        self, site: Site, swept: Swept
    ) -> None:
        """Each leader of a rolling restart would else add as many as wait."""
        for number in range(5):
            await site.publish((await in_state(site, number, State.QUEUED)).id)
        await asyncio.sleep(1)
        await swept.start(consuming=False)
        await asyncio.sleep(2 * SWEEP_SECONDS)
        assert await swept.queue.depth() == 5

    async def test_what_is_new_has_been_published_and_gets_its_time(
        self, site: Site, swept: Swept
    ) -> None:
        await swept.start()
        await asyncio.sleep(1)
        began = site.clock()
        await in_state(site, 1, State.QUEUED)
        await asyncio.sleep(60)
        published = times(swept.published, began)
        assert published[0] >= REPUBLISH_SECONDS
        assert published[0] <= REPUBLISH_SECONDS + 2 * SWEEP_SECONDS
        assert all(
            later - earlier >= REPUBLISH_SECONDS for earlier, later in itertools.pairwise(published)
        )

    async def test_what_may_be_put_off_has_more_time(self, site: Site, swept: Swept) -> None:
        """A living worker waits to send another one of its project again."""
        await alive(site, OTHER)
        await swept.start()
        await asyncio.sleep(1)
        began = site.clock()
        waiting = await in_state(site, 1, State.SENDING, OTHER)
        assert await site.store.swap(waiting, request.requeue(waiting, OTHER, began + 1000))
        for number in range(2, 5):
            await in_state(site, number, State.QUEUED)
        await asyncio.sleep(PATIENCE * REPUBLISH_SECONDS - 1)
        assert not swept.published
        await asyncio.sleep(3 * SWEEP_SECONDS)
        assert len(swept.published) == 3

    @pytest.mark.parametrize("state", [State.QUEUED, State.SENDING])
    async def test_so_it_has_until_soon_after_that_one_has_waited(
        self, site: Site, swept: Swept, state: State
    ) -> None:
        """Or is sent again: it is queued and being sent by turns."""
        await alive(site, OTHER)
        await swept.start()
        await asyncio.sleep(1)
        began = site.clock()
        waiting = await in_state(site, 1, State.SENDING, OTHER)
        waits = await site.store.swap(waiting, request.requeue(waiting, OTHER, began + 40))
        assert waits is not None
        if state is State.SENDING:
            assert await site.store.swap(waits, request.begin_send(waits, OTHER, began, 35))
        record = await in_state(site, 2, State.QUEUED)
        await asyncio.sleep(40 + REPUBLISH_SECONDS)
        assert record.id not in [id_ for _, id_ in swept.published]
        await asyncio.sleep(REMEMBERED * REPUBLISH_SECONDS + 2 * SWEEP_SECONDS)
        assert record.id in [id_ for _, id_ in swept.published]

    async def test_what_was_to_be_sent_again_here_and_is_not_in_hand_has_no_more_time(
        self, site: Site, swept: Swept
    ) -> None:
        """Its worker has given it up: then nobody waits for Nova."""
        await swept.start()
        await asyncio.sleep(1)
        record = await in_state(site, 1, State.SENDING, US)
        swept.in_hand.add(record.id)
        assert await site.store.swap(record, request.requeue(record, US, site.clock() + 300))
        await asyncio.sleep(2 * SWEEP_SECONDS)
        await swept.queue.close()  # so that it is not published at once
        swept.in_hand.clear()
        await asyncio.sleep(SWEEP_SECONDS)
        await swept.queue.open()
        await swept.queue.consume(swept.take, 10**6)
        began = site.clock()
        await asyncio.sleep(REPUBLISH_SECONDS + 2 * SWEEP_SECONDS)
        assert times(swept.published, began)[0] <= REPUBLISH_SECONDS + SWEEP_SECONDS

    async def test_what_may_be_put_off_is_not_missed_in_a_backlog(
        self, site: Site, swept: Swept
    ) -> None:
        await alive(site, OTHER)
        await swept.start(consuming=False)
        await asyncio.sleep(1)
        waiting = await in_state(site, 0, State.SENDING, OTHER)
        queued = request.requeue(waiting, OTHER, site.clock() + 3600)
        assert await site.store.swap(waiting, queued)
        for number in range(1, 4):
            await in_state(site, number, State.QUEUED)
            other = await site.claimed(auth="u:" + "c" * 32, client_token=f"o{number}")
            await site.publish(other.id)
        await asyncio.sleep(100)
        assert await swept.queue.depth() == 3

    async def test_what_is_in_hand_is_not(self, site: Site, swept: Swept) -> None:
        record = await in_state(site, 1, State.QUEUED)
        swept.in_hand.add(record.id)
        await asyncio.sleep(1)
        await swept.start()
        await asyncio.sleep(100)
        assert not swept.published

    async def test_what_another_waits_to_send_again_is_left_to_it_while_it_lives(
        self, site: Site, swept: Swept
    ) -> None:
        """Nova may have asked for a pause."""
        await alive(site, OTHER)
        record = await in_state(site, 1, State.SENDING, OTHER)
        later = site.clock() + 300
        assert await site.store.swap(record, request.requeue(record, OTHER, later))
        await swept.start()
        await asyncio.sleep(100)
        assert not swept.published
        began = site.clock()
        await site.store.retire(OTHER)
        await asyncio.sleep(SWEEP_SECONDS + 0.1)
        assert times(swept.published, began)[0] <= SWEEP_SECONDS

    async def test_what_another_lets_lie_is_published_when_its_time_is_over(
        self, site: Site, swept: Swept
    ) -> None:
        """It lives, but may have no broker."""
        await alive(site, OTHER)
        record = await in_state(site, 1, State.SENDING, OTHER)
        began = site.clock()
        assert await site.store.swap(record, request.requeue(record, OTHER, began + 100))
        await swept.start()
        await asyncio.sleep(200)
        first = times(swept.published, began)[0]
        assert 100 <= first <= 100 + REPUBLISH_SECONDS + 2 * SWEEP_SECONDS

    async def test_what_a_worker_that_has_gone_may_have_had_is_published_at_once(
        self, site: Site, swept: Swept
    ) -> None:
        """RabbitMQ gives its messages to others only when it misses its heartbeats."""
        record, began = await queued_beside_another(site, swept), site.clock()
        await site.store.retire(OTHER)
        await asyncio.sleep(SWEEP_SECONDS / 10)
        assert [id_ for _, id_ in swept.published] == [record.id]
        assert times(swept.published, began) == [0]

    async def test_also_where_the_broker_was_away_when_it_went(
        self, site: Site, swept: Swept
    ) -> None:
        record, began = await queued_beside_another(site, swept), site.clock()
        await swept.queue.close()
        await site.store.retire(OTHER)
        await asyncio.sleep(1)
        await swept.queue.open()
        await swept.queue.consume(swept.take, 10**6)
        await asyncio.sleep(SWEEP_SECONDS)
        assert [id_ for _, id_ in swept.published] == [record.id]
        assert times(swept.published, began)[0] <= SWEEP_SECONDS

    async def test_what_is_published_says_how_it_stood(self, site: Site, swept: Swept) -> None:
        """So that nobody sends what another one waits to send again since."""
        heard: list[Record | None] = []
        record = await in_state(site, 1, State.QUEUED)
        await asyncio.sleep(1)
        await swept.queue.open()
        await swept.queue.consume(lambda delivery: heard.append(delivery.claimed), 1)
        await swept.sweeper.store.lead(US)
        sweeping = asyncio.create_task(swept.sweeper.run(SWEEP_SECONDS))
        await asyncio.sleep(SWEEP_SECONDS / 2)
        assert heard == [record]
        sweeping.cancel()

    async def test_a_backlog_has_one_message_for_each_request_however_long_it_stands(
        self, site: Site, swept: Swept
    ) -> None:
        await swept.queue.open()
        run = asyncio.create_task(swept.sweeper.run(SWEEP_SECONDS))
        await asyncio.sleep(1)
        for number in range(3):
            record = await in_state(site, number, State.QUEUED)
            await swept.queue.publish(record.id)
        await asyncio.sleep(600)
        assert await swept.queue.depth() == 3
        site.broker.waiting.pop()
        await asyncio.sleep(REPUBLISH_SECONDS + SWEEP_SECONDS)
        assert await swept.queue.depth() == 3
        run.cancel()

    async def test_what_a_living_worker_waits_to_send_again_is_not_missed_in_a_backlog(
        self, site: Site, swept: Swept
    ) -> None:
        """It has no message: others would be taken for lost in its place."""
        await alive(site, OTHER)
        await swept.start(consuming=False)
        await asyncio.sleep(1)
        for number in range(3):
            waiting = await in_state(site, number, State.SENDING, OTHER)
            later = site.clock() + 3600
            assert await site.store.swap(waiting, request.requeue(waiting, OTHER, later))
            await site.publish((await in_state(site, 3 + number, State.QUEUED)).id)
        await asyncio.sleep(600)
        assert await swept.queue.depth() == 3

    async def test_what_is_lost_is_missed_also_in_a_backlog(self, site: Site, swept: Swept) -> None:
        """What is due is less than what waits with the broker, and that less than all."""
        await swept.start(consuming=False)
        await asyncio.sleep(1)
        await in_state(site, 0, State.QUEUED)
        await asyncio.sleep(REPUBLISH_SECONDS - 1)
        for number in range(1, 6):
            await site.publish((await in_state(site, number, State.QUEUED)).id)
        await asyncio.sleep(SWEEP_SECONDS + 1)
        assert await swept.queue.depth() == 6

    async def test_what_is_in_hand_here_is_not_missed_in_a_backlog(
        self, site: Site, swept: Swept
    ) -> None:
        """Its message is held, or done with: either way the broker counts none for it."""
        await swept.start(consuming=False)
        await asyncio.sleep(1)
        for number in range(3):
            swept.in_hand.add((await in_state(site, number, State.QUEUED)).id)
            await site.publish((await in_state(site, 3 + number, State.QUEUED)).id)
        await asyncio.sleep(600)
        assert await swept.queue.depth() == 3

    @pytest.mark.parametrize("sent", [True, False])
    async def test_what_a_worker_waited_to_send_again_is_published_at_once_when_it_has_gone(
        self, site: Site, swept: Swept, sent: bool
    ) -> None:
        """Also where nothing was sent at all, since Nova could not even be asked."""
        await swept.start()
        await asyncio.sleep(1)
        began = site.clock()
        record = await in_state(site, 1, State.SENDING if sent else State.QUEUED, DEAD)
        assert await site.store.swap(record, request.requeue(record, DEAD, began + 300))
        await asyncio.sleep(SWEEP_SECONDS + 0.1)
        assert [id_ for _, id_ in swept.published] == [record.id]
        assert times(swept.published, began)[0] <= SWEEP_SECONDS

    async def test_what_came_back_without_a_message_is_published_soon(
        self, site: Site, swept: Swept
    ) -> None:
        """An operator had it sent again."""
        unknown = await in_state(site, 1, State.UNKNOWN)
        await swept.start()
        await asyncio.sleep(100)
        began = site.clock()
        assert await site.store.swap(unknown, request.send_again(unknown, "by an operator"))
        await asyncio.sleep(SWEEP_SECONDS + 0.1)
        assert len(swept.published) == 1
        assert times(swept.published, began)[0] <= SWEEP_SECONDS

    async def test_without_a_broker_the_rest_of_the_work_goes_on(
        self, site: Site, swept: Swept, caplog: pytest.LogCaptureFixture
    ) -> None:
        await in_state(site, 1, State.QUEUED)
        orphan = await in_state(site, 2, State.SENDING, DEAD)
        released = await in_state(site, 3, State.RELEASED)
        await asyncio.sleep(61)
        await swept.start()
        swept.queue.drop()
        await asyncio.sleep(1)
        assert [id_ for _, id_ in swept.adopted] == [orphan.id]
        assert await site.stored(released) is None
        assert "The sweep was broken off" in caplog.text
        await swept.queue.open()
        await swept.queue.consume(swept.take, 10)
        await asyncio.sleep(SWEEP_SECONDS)
        assert len(swept.published) == 1


class TestSending:
    @pytest.mark.parametrize("owner", [DEAD, US])
    async def test_what_nobody_alive_works_on_is_adopted(
        self, site: Site, swept: Swept, owner: str
    ) -> None:
        """US: this worker wrote SENDING and then did not send."""
        record = await in_state(site, 1, State.SENDING, owner)
        await swept.start()
        await asyncio.sleep(0.1)
        assert [id_ for _, id_ in swept.adopted] == [record.id]

    async def test_what_a_living_worker_has_is_left_alone(self, site: Site, swept: Swept) -> None:
        await alive(site, OTHER)
        await in_state(site, 1, State.SENDING, OTHER)
        await swept.start()
        await asyncio.sleep(1000)
        assert not swept.adopted
        assert not swept.published

    async def test_when_it_dies_it_is_adopted(self, site: Site, swept: Swept) -> None:
        await alive(site, OTHER)
        await in_state(site, 1, State.SENDING, OTHER)
        await swept.start()
        await asyncio.sleep(1)
        await site.store.retire(OTHER)
        began = site.clock()
        await asyncio.sleep(SWEEP_SECONDS / 10)
        assert times(swept.adopted, began) == [0]

    async def test_when_it_dies_unheard_it_is_adopted_by_the_next_sweep(
        self, site: Site, swept: Swept
    ) -> None:
        await site.store.register(Worker(OTHER, "host", 1, site.clock() + 10))
        await in_state(site, 1, State.SENDING, OTHER)
        await swept.start()
        await asyncio.sleep(10 + SWEEP_SECONDS)
        assert len(swept.adopted) == 1

    async def test_what_is_in_hand_here_is_left_alone(self, site: Site, swept: Swept) -> None:
        record = await in_state(site, 1, State.SENDING, US)
        swept.in_hand.add(record.id)
        await swept.start()
        await asyncio.sleep(100)
        assert not swept.adopted


class TestLeadership:
    async def test_who_does_not_lead_sees_to_its_own_only(self, site: Site, swept: Swept) -> None:
        await alive(site, OTHER)
        assert await site.store.lead(OTHER)
        own = await in_state(site, 1, State.SENDING, US)
        await in_state(site, 2, State.SENDING, DEAD)
        await in_state(site, 3, State.UNKNOWN)
        released = await in_state(site, 4, State.RELEASED)
        await swept.start()
        await asyncio.sleep(100)
        assert {id_ for _, id_ in swept.adopted} == {own.id}
        assert not swept.revisited
        assert await site.stored(released)

    async def test_it_follows_at_once_when_the_leader_has_gone(
        self, site: Site, swept: Swept
    ) -> None:
        await alive(site, OTHER)
        assert await site.store.lead(OTHER)
        orphan = await in_state(site, 1, State.SENDING, OTHER)
        await swept.start()
        await asyncio.sleep(1)
        assert not swept.adopted
        began = site.clock()
        await site.store.retire(OTHER)
        await asyncio.sleep(SWEEP_SECONDS / 10)
        assert [id_ for _, id_ in swept.adopted] == [orphan.id]
        assert times(swept.adopted, began) == [0]

    async def test_who_begins_to_lead_sees_to_what_the_one_before_may_have_failed_to(
        self, site: Site, swept: Swept
    ) -> None:
        """Of a project that Nova turns down; its worker went while the leader had no broker."""
        await alive(site, OTHER)
        assert await site.store.lead(OTHER)
        waiting = await in_state(site, 1, State.SENDING, OTHER)
        assert await site.store.swap(waiting, request.requeue(waiting, OTHER, site.clock() + 300))
        await swept.start()
        await asyncio.sleep(1)
        put_off, began = await in_state(site, 2, State.QUEUED), site.clock()
        await alive(site, DEAD)
        await site.store.retire(DEAD)
        await asyncio.sleep(SWEEP_SECONDS / 10)
        assert not swept.published
        await site.store.resign(OTHER)
        await asyncio.sleep(2 * SWEEP_SECONDS)
        assert [id_ for _, id_ in swept.published] == [put_off.id]
        assert times(swept.published, began)[0] <= 2 * SWEEP_SECONDS

    async def test_who_cannot_publish_lets_another_lead(self, site: Site, swept: Swept) -> None:
        await in_state(site, 1, State.QUEUED)
        await asyncio.sleep(1)
        await swept.start()
        swept.queue.drop()
        await asyncio.sleep(0.1)
        await alive(site, OTHER)
        assert await site.store.lead(OTHER)


class TestUnknown:
    async def test_it_is_looked_for_again_with_growing_pauses(
        self, site: Site, swept: Swept
    ) -> None:
        began = site.clock()
        await in_state(site, 1, State.UNKNOWN)
        await swept.start()
        await asyncio.sleep(sum(policies.REVISIT_SECONDS) + policies.REVISIT_SECONDS[-1] + 100)
        pauses = [*policies.REVISIT_SECONDS, policies.REVISIT_SECONDS[-1]]
        expected = [sum(pauses[: number + 1]) for number in range(len(pauses))]
        assert times(swept.revisited, began) == pytest.approx(expected, abs=6 * SWEEP_SECONDS)
        assert not swept.published

    async def test_pauses_begin_anew_with_a_new_state(self, site: Site, swept: Swept) -> None:
        record = await in_state(site, 1, State.QUEUED)
        await swept.start()
        await asyncio.sleep(1000)
        assert await site.store.swap(record, request.give_up(record, "why"))
        began = site.clock()
        await asyncio.sleep(30)
        assert times(swept.revisited, began)[0] <= policies.REVISIT_SECONDS[0] + SWEEP_SECONDS


class TestExpiry:
    async def states(self, site: Site) -> list[State]:
        return [record.state for record in await site.store.find(Query(limit=10**6))]

    @pytest.mark.parametrize("state", [State.DONE, State.CANCELLED])
    async def test_a_result_becomes_a_tombstone_and_then_nothing(
        self, site: Site, swept: Swept, state: State
    ) -> None:
        record = await in_state(site, 1, state)
        await swept.start()
        await asyncio.sleep(3600 - 1)
        assert (await site.record(record)).state is state
        await asyncio.sleep(1 + SWEEP_SECONDS)
        stored = await site.stored(record)
        assert stored
        assert (stored.record.state, stored.result) == (State.TOMBSTONE, None)
        await asyncio.sleep(BURIED - 2 * SWEEP_SECONDS)
        assert (await site.record(record)).state is State.TOMBSTONE
        await asyncio.sleep(3 * SWEEP_SECONDS)
        assert await site.stored(record) is None

    async def test_a_released_one_vanishes(self, site: Site, swept: Swept) -> None:
        record = await in_state(site, 1, State.RELEASED)
        await swept.start()
        await asyncio.sleep(60 - 0.1)
        assert await site.stored(record)
        await asyncio.sleep(SWEEP_SECONDS + 0.1)
        assert await site.stored(record) is None

    @pytest.mark.parametrize("state", [State.QUEUED, State.SENDING, State.UNKNOWN])
    async def test_what_is_pending_never_does(self, site: Site, swept: Swept, state: State) -> None:
        await alive(site, OTHER)
        record = await in_state(site, 1, state, OTHER)
        await swept.start()
        await asyncio.sleep(86400)
        assert await site.record(record) == record

    async def test_more_than_a_batch_goes_in_one_round(
        self, site: Site, swept: Swept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dedupd.worker.sweeper.BATCH", 3)
        for number in range(10):
            await in_state(site, number, State.RELEASED)
        await asyncio.sleep(100)
        await swept.start()
        await asyncio.sleep(0.1)
        assert not await self.states(site)

    async def test_what_is_pending_is_looked_at_between_much_that_has_expired(
        self, site: Site, swept: Swept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("dedupd.worker.sweeper.BATCH", 3)
        monkeypatch.setattr("dedupd.worker.sweeper.MAX_CLEARED", 1)
        for number in range(10):
            await in_state(site, number, State.RELEASED)
        await in_state(site, 10, State.SENDING, DEAD)
        await asyncio.sleep(100)
        await swept.start()
        await asyncio.sleep(0.1)
        assert await self.states(site) == [State.SENDING]
        assert len(swept.adopted) == 5

    async def test_what_others_clear_is_left_to_them(
        self, site: Site, swept: Swept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every swap fails: the round ends all the same."""
        record = await in_state(site, 1, State.DONE)
        await asyncio.sleep(4000)

        async def lost(*_: Any, **__: Any) -> None:
            return None

        monkeypatch.setattr(site.store, "swap", lost)
        await swept.start()
        await asyncio.sleep(20)
        assert await site.record(record) == record


async def test_a_store_that_is_away_is_tried_again(
    site: Site, swept: Swept, caplog: pytest.LogCaptureFixture
) -> None:
    await in_state(site, 1, State.SENDING, DEAD)
    site.store.away = True
    await swept.start()
    await asyncio.sleep(100)
    assert "The sweep was broken off: The store is away." in caplog.text
    site.store.away = False
    await asyncio.sleep(SWEEP_SECONDS)
    assert swept.adopted


async def test_what_is_pending_is_measured(site: Site, swept: Swept) -> None:
    await alive(site, OTHER)
    for number, state in enumerate([State.UNKNOWN, State.QUEUED, State.SENDING, State.QUEUED]):
        await in_state(site, number, state, OTHER)
        await asyncio.sleep(10)
    await swept.start()
    await asyncio.sleep(0.1)
    value = swept.metrics.registry.get_sample_value
    measured = {
        state: value("dedupd_pending_requests", {"state": state})
        for state in ("queued", "sending", "unknown")
    }
    assert measured == {"queued": 2, "sending": 1, "unknown": 1}
    assert value("dedupd_oldest_pending_seconds") == pytest.approx(30)
