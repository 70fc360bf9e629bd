"""Workers at work: whatever dies or is lost, each request has one effect and one end."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from dedupd import request
from dedupd.exchange import Answer, Call
from dedupd.ports import Lost, NotSent, QueueUnavailable, StoreUnavailable
from dedupd.request import Record, State, Verdict
from dedupd.seal import Keys
from dedupd.sim.faults import Rule
from dedupd.worker import service, turns
from dedupd.worker.service import MAX_REVISITS, REPUBLISH_SECONDS
from tests.unit.site import (
    KEYPAIRS,
    KEYS,
    LEASE_SECONDS,
    LIMITS,
    PREFETCH,
    SERVERS,
    STOP_SECONDS,
    SWEEP_SECONDS,
    VM,
    Crew,
    Delivered,
    Site,
    TroubledStore,
)

VIRTUAL_TIME = True

KEYPAIR = {"keypair": {"name": "kp"}}
IMPORT = {
    "keypair": {
        "name": "kp",
        "public_key": "ssh-ed25519 "
        "AAAAC3NzaC1lZDI1NTE5AAAAINJtbNlJ9nTq4QfXGwQHnKqP5Lk3b0Y6rn0bM4Wqk1mS",
    }
}
QUICK_SECONDS = 15.0
"""Within this a healthy worker has done what another one could not: without a sweep."""

SLOW = Rule(fault="delay-after", method="POST", seconds=25)
"""Nova needs longer than a lease lasts, and less than it may."""

PAUSE = Answer(429, ((b"Retry-After", b"100"),))
"""Nova asks for a pause, longer than a lease lasts."""

RULES = [
    pytest.param(Rule(fault="drop-before", method="POST"), id="never arrived"),
    pytest.param(Rule(fault="drop-after", method="POST"), id="answer lost"),
    pytest.param(Rule(fault="503-before", method="POST"), id="503, nothing done"),
    pytest.param(Rule(fault="500-after", method="POST"), id="500, all the same done"),
    pytest.param(Rule(fault="delay-before", method="POST", seconds=50), id="late"),
    pytest.param(Rule(fault="late-commit", method="POST", seconds=70), id="later"),
]

Start = Callable[..., Any]


@pytest.fixture
async def start(site: Site) -> AsyncIterator[Start]:
    """Start a worker; all of them end with the test."""
    crews: list[Crew] = []

    async def started(**parts: Any) -> Crew:
        crews.append(await site.started(**parts))
        return crews[-1]

    yield started
    site.store.away = False
    for crew in crews:
        await crew.kill()


def unsettled(site: Site, crew: Crew) -> int:
    """Messages that wait, or that the worker has not acknowledged."""
    return len(site.broker.waiting) + len(crew.queue._unacknowledged)


async def waiting(site: Site, record: Record) -> Record:
    """The record when Nova has turned the request down, and it waits to be sent again."""
    await site.until(lambda: site.now(record).retry_until is not None)
    return site.now(record)


async def overtaken(
    site: Site, start: Start, stall: asyncio.Event, rule: Rule | None = None
) -> tuple[Crew, Record]:
    """A worker that stalls on its way out, until the event, and what another made meanwhile.

    That one has looked, found nothing, and sent for itself. ``rule`` befalls the first one's send.
    """
    stalled: Crew = await start()

    async def first_stalls(call: Call) -> None:
        if call.method == "POST" and len(site.cloud.posts()) == 1:
            await stall.wait()
            if rule is not None:
                site.cloud.torment(rule)

    site.cloud.before_send = first_stalls
    record = await site.submitted()
    await site.until(lambda: bool(site.cloud.posts()))
    await site.store.retire(stalled.lease.worker_id)
    await start()
    return stalled, await site.until_state(record, State.DONE)


class Way:
    """One worker's way to the store; while it is ``cut`` all that is asked fails after 5 s."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def asked(*arguments: Any, **more: Any) -> Any:
            if self.cut:
                await asyncio.sleep(5)
                raise StoreUnavailable("The worker is cut off.")
            return await method(*arguments, **more)

        return method if name.startswith("on_") else asked


class Throttled:
    """Requests of one project whose every POST is turned down, until that ``is_over``."""

    auth = "noisy:" + "b" * 32
    OTHERS_TAKE = 2.0

    def __init__(self, site: Site, crew: Crew) -> None:
        self.crew = crew
        self.is_over = False
        self.records: list[Record] = []
        self._site = site
        self.answers_after = 0.0
        self._carry_out = site.cloud.carry_out
        site.cloud.carry_out = self._answer  # type: ignore[method-assign]
        site.cloud.before_send = self._wait

    def is_ours(self, call: Call) -> bool:
        return self.auth.encode() in dict(call.headers).values()

    async def _wait(self, call: Call) -> None:
        if call.method == "POST":
            await asyncio.sleep(self.answers_after if self.is_ours(call) else self.OTHERS_TAKE)

    def _answer(self, call: Call) -> Answer:
        turned_down = self.is_ours(call) and call.method == "POST" and not self.is_over
        return Answer(429, ((b"Retry-After", b"8"),)) if turned_down else self._carry_out(call)

    async def submit(self, number: int) -> None:
        name = f"t{number}"
        self.records.append(await self._site.submitted(auth=self.auth, client_token=name))

    def begun(self) -> list[Record]:
        """Those that were sent, and wait to be sent again."""
        found = map(self._site.now, self.records)
        return [record for record in found if record.state <= State.SENDING and record.attempts]

    def untouched(self) -> list[Record]:
        """Those that are as they were claimed."""
        return [record for record in self.records if self._site.now(record) == record]

    async def until_done(self) -> None:
        for record in self.records:
            await self._site.until_state(record, State.DONE)

    async def until_ended(self) -> None:
        """Done, or released and cleared."""
        for record in self.records:
            await self._site.until(functools.partial(self.has_ended, record))

    def has_ended(self, record: Record) -> bool:
        gone = record.id not in self._site.store._requests
        return gone or self._site.now(record).state >= State.DONE


class TestDelivery:
    async def test_a_queued_request_is_carried_out(self, site: Site, start: Start) -> None:
        crew = await start()
        record = await site.until_state(await site.submitted(), State.DONE)
        assert record.status == 202
        await asyncio.sleep(0)
        assert unsettled(site, crew) == 0
        assert len(site.cloud.posts()) == len(site.servers()) == 1

    @pytest.mark.parametrize(
        "move",
        [
            lambda record, now: request.cancel(record, now, detail="why", keep=60),
            lambda record, now: request.finish(record, now, status=202, resource=None, keep=60),
            lambda record, _: request.give_up(record, "why"),
        ],
    )
    async def test_what_is_not_queued_is_none_of_a_message_s_business(
        self, site: Site, start: Start, move: Callable[[Record, float], Record]
    ) -> None:
        record = await site.claimed()
        moved = await site.store.swap(record, move(record, site.clock()))
        crew = await start()
        await site.publish(record.id)
        await asyncio.sleep(1)
        assert unsettled(site, crew) == 0
        assert not site.cloud.posts()
        assert await site.record(record) == moved

    async def test_a_message_without_a_record_is_done_with(self, site: Site, start: Start) -> None:
        crew = await start()
        await site.publish("0" * 32)
        await asyncio.sleep(1)
        assert unsettled(site, crew) == 0

    @pytest.mark.parametrize("said", [True, False])
    async def test_repeated_messages_mean_one_request(
        self, site: Site, start: Start, said: bool
    ) -> None:
        one, other = await start(), await start()
        record = await site.claimed()
        for _ in range(10):
            await site.publish(record.id, record if said else None)
        await site.until_state(record, State.DONE)
        await asyncio.sleep(1)
        assert len(site.cloud.posts()) == 1
        assert unsettled(site, one) + unsettled(site, other) == 0

    async def test_what_is_as_it_was_claimed_is_not_read(
        self, site: Site, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def read(_: Any) -> Any:
            raise AssertionError("it was read")

        await start()
        monkeypatch.setattr(site.store, "read", read)
        await site.until_state(await site.submitted(), State.DONE)
        assert len(site.servers()) == 1

    @pytest.mark.parametrize(
        "change", [{"birth": "another"}, {"path": "/v2.1/os-keypairs"}, {"user_id": "mallory"}]
    )
    async def test_what_a_message_says_counts_only_if_the_store_says_it_too(
        self, site: Site, start: Start, change: dict[str, str]
    ) -> None:
        await start()
        record = await site.claimed()
        await site.publish(record.id, msgspec.structs.replace(record, **change))
        done = await site.until_state(record, State.DONE)
        assert (done.birth, done.path, done.user_id) == (record.birth, SERVERS, record.user_id)
        assert len(site.servers()) == 1

    @pytest.mark.parametrize("moved", [State.QUEUED, State.CANCELLED])
    async def test_what_was_moved_since_it_was_claimed_is_read(
        self, site: Site, start: Start, moved: State
    ) -> None:
        await start()
        record = await site.claimed()
        after = msgspec.structs.replace(record, state=moved, detail="by an operator")
        assert await site.store.swap(record, after)
        await site.publish(record.id, record)
        if moved is State.QUEUED:
            assert (await site.until_state(record, State.DONE)).detail == ""
        await asyncio.sleep(1)
        assert len(site.servers()) == (moved is State.QUEUED)

    async def test_a_message_for_what_is_in_hand_is_acknowledged(
        self, site: Site, start: Start
    ) -> None:
        site.cloud.torment(SLOW)
        crew = await start()
        record = await site.submitted()
        await asyncio.sleep(1)
        again = Delivered(record.id)
        crew.service._deliver(again)
        assert again.ends == ["acknowledged"]

    async def test_the_message_is_done_with_before_a_doubt_is_cleared_up(
        self, site: Site, start: Start
    ) -> None:
        """The record says more than it from then on; looking may take long."""
        site.cloud.torment(Rule(fault="drop-before", method="POST"))
        crew = await start()
        record = await site.submitted()
        await asyncio.sleep(LIMITS.settle)
        assert site.now(record).state is State.SENDING
        assert unsettled(site, crew) == 0
        assert len(site.cloud.posts()) == 1
        await site.until_state(record, State.DONE)

    @pytest.mark.parametrize("said", [True, False])
    async def test_it_is_done_with_before_the_wait_to_send_again(
        self, site: Site, start: Start, said: bool
    ) -> None:
        site.cloud.script.append(PAUSE)
        crew = await start()
        record = await site.claimed()
        await site.publish(record.id, record if said else None)
        await waiting(site, record)
        await asyncio.sleep(0)
        assert unsettled(site, crew) == 0
        await site.until_state(record, State.DONE)
        assert len(site.servers()) == 1

    async def test_a_message_lost_by_the_broker_costs_seconds(
        self, site: Site, start: Start
    ) -> None:
        await start()
        await asyncio.sleep(1)
        began = site.clock()
        await site.until_state(await site.claimed(), State.DONE)
        assert site.clock() - began < 30

    async def test_what_was_pending_before_the_start_is_found(
        self, site: Site, start: Start
    ) -> None:
        record = await site.claimed()
        await asyncio.sleep(3600)
        began = site.clock()
        await start()
        await site.until_state(record, State.DONE)
        assert site.clock() - began < 1


class TestDoubt:
    """The cloud answers badly, late or not at all; one request has one effect."""

    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize(
        ("document", "path", "version"),
        [
            pytest.param(VM, SERVERS, "2.96", id="server by tag"),
            pytest.param(VM, SERVERS, "2.51", id="server by metadata"),
            pytest.param(KEYPAIR, KEYPAIRS, "2.2", id="generated keypair"),
            pytest.param(KEYPAIR, KEYPAIRS, None, id="generated keypair, 2.1"),
            pytest.param(IMPORT, KEYPAIRS, "2.96", id="imported keypair"),
        ],
    )
    async def test_one_effect_survives_and_it_is_the_one_told_of(
        self, site: Site, start: Start, rule: Rule, document: Any, path: str, version: str | None
    ) -> None:
        site.cloud.torment(rule)
        await start()
        record = await site.submitted(document, path=path, version=version)
        done = await site.until_state(record, State.DONE)
        assert done.status in (200, 201, 202)
        assert done.resource is not None
        await asyncio.sleep(LIMITS.send + LIMITS.settle)
        alive = self.alive(site)
        assert alive == [done.resource.id]
        told = msgspec.json.decode((await site.answer(done)).body)
        shown = told.get("server") or told["keypair"]
        assert shown.get("id", shown.get("name")) == done.resource.id
        if document is KEYPAIR:
            kept = site.cloud.nova._world.keypairs["alice"]["kp"]
            assert shown["public_key"] == kept.public_key
            assert shown["private_key"]

    def alive(self, site: Site) -> list[str]:
        names = site.cloud.nova._world.keypairs.get("alice", {})
        return [row["id"] for row in site.servers()] + list(names)

    @pytest.mark.parametrize("rule", RULES)
    async def test_nothing_is_sent_again_before_all_has_settled(
        self, site: Site, start: Start, rule: Rule
    ) -> None:
        site.cloud.torment(rule)
        await start()
        await site.until_state(await site.submitted(), State.DONE)
        first, *again = site.cloud.posts()
        settled = first.when + LIMITS.connect + LIMITS.send + LIMITS.settle
        for post in again:
            looked = [sent.when for sent in site.cloud.of("GET") if "tags" in sent.query]
            assert any(settled <= when <= post.when for when in looked)

    async def test_one_doubt_after_the_other(self, site: Site, start: Start) -> None:
        site.cloud.script += [Lost("reset"), NotSent("refused"), Answer(503, ()), Lost("reset")]
        await start()
        record = await site.until_state(await site.submitted(), State.DONE)
        assert len(site.cloud.posts()) == 5
        assert len(site.servers()) == 1
        verdicts = [attempt.verdict for attempt in record.attempts]
        absent, none = Verdict.ABSENT, Verdict.NO_EFFECT
        assert verdicts == [absent, none, absent, absent, Verdict.ANSWERED]

    async def test_what_is_unknown_is_adopted_when_nova_shows_it(
        self, site: Site, start: Start
    ) -> None:
        site.cloud.torment(
            Rule(fault="drop-after", method="POST"),
            Rule(fault="503-before", method="GET", times=10**9),
        )
        await start()
        record = await site.until_state(await site.submitted(), State.UNKNOWN)
        await asyncio.sleep(3600)
        assert site.now(record).state is State.UNKNOWN
        site.cloud.torment()
        done = await site.until_state(record, State.DONE)
        assert done.status == 202
        assert len(site.cloud.posts()) == 1

    async def test_what_cannot_be_found_stays_unknown(self, site: Site, start: Start) -> None:
        site.cloud.torment(Rule(fault="drop-after", method="POST"))
        await start()
        record = await site.submitted({"x": None}, path=f"{SERVERS}/s/action")
        await site.until_state(record, State.UNKNOWN)
        await asyncio.sleep(86400)
        assert site.now(record).state is State.UNKNOWN
        assert len(site.cloud.posts()) == 1


class TestDeath:
    async def test_what_a_dead_worker_sent_is_adopted_by_another(
        self, site: Site, start: Start
    ) -> None:
        site.cloud.torment(SLOW)
        dead, other = await start(), await start()
        record = await site.submitted()
        await site.until(lambda: bool(site.cloud.posts()))
        owner = next(crew for crew in (dead, other) if crew.service._in_hand)
        heir = other if owner is dead else dead
        await owner.kill()
        began = site.clock()
        done = await site.until_state(record, State.DONE)
        assert site.clock() - began < LEASE_SECONDS + SWEEP_SECONDS + 2
        assert len(site.cloud.posts()) == len(site.servers()) == 1
        assert (done.sending.verdict, done.sending.worker) == (
            Verdict.ADOPTED,
            owner.lease.worker_id,
        )
        assert heir.count("dedupd_requests_ended_total", state="done") == 1

    async def test_what_it_had_not_sent_is_sent_after_settling(
        self, site: Site, start: Start
    ) -> None:
        dead = await start()
        record = await site.claimed()
        sending = request.begin_send(record, dead.lease.worker_id, site.clock(), 35)
        assert await site.store.swap(record, sending)
        began = site.clock()
        await dead.kill()
        await start()
        await site.until_state(record, State.DONE)
        [post] = site.cloud.posts()
        assert post.when >= began + 35 + LIMITS.settle
        assert len(site.servers()) == 1

    async def test_what_it_waited_to_send_again_goes_to_another(
        self, site: Site, start: Start
    ) -> None:
        site.cloud.script.append(PAUSE)
        dead = await start()
        record = await waiting(site, await site.submitted())
        await start()
        await dead.kill()
        began = site.clock()
        await site.until_state(record, State.DONE)
        assert site.clock() - began < LEASE_SECONDS + SWEEP_SECONDS + 2
        assert len(site.servers()) == 1

    async def test_what_it_had_not_taken_up_goes_to_another(self, site: Site, start: Start) -> None:
        dead = await start()
        records = [await site.claimed(client_token=f"t{number}") for number in range(5)]
        for record in records:
            await site.publish(record.id)
        await dead.kill()
        await start()
        for record in records:
            await site.until_state(record, State.DONE)
        assert len(site.servers()) == 5

    async def test_what_a_living_worker_sends_is_left_to_it(self, site: Site, start: Start) -> None:
        """Even if Nova takes longer than a lease lasts, and the message comes again."""
        site.cloud.torment(SLOW)
        crews = [await start() for _ in range(3)]
        record = await site.submitted()
        await asyncio.sleep(5)
        owner = site.now(record).owner
        await site.publish(record.id)
        done = await site.until_state(record, State.DONE)
        assert done.sending.worker == owner
        assert done.sending.verdict is Verdict.ANSWERED
        assert len(site.cloud.posts()) == len(site.servers()) == 1
        assert not site.cloud.of("DELETE")
        assert sum(unsettled(site, crew) for crew in crews) == 0

    async def test_a_worker_takes_up_again_what_it_left_unsent(
        self, site: Site, start: Start
    ) -> None:
        """Its lease ran short between the write and the send; the record is still its own."""
        crew = await start()
        swap = site.store.swap

        async def paused(before: Record, after: Record, **more: Any) -> Record | None:
            written = await swap(before, after, **more)
            if after.state is State.SENDING:
                site.store.swap = swap  # type: ignore[method-assign]
                site.clock.ahead += LEASE_SECONDS * 0.8
            return written

        site.store.swap = paused  # type: ignore[method-assign]
        name = crew.lease.worker_id
        record = await site.submitted()
        await site.until_state(record, State.SENDING)
        assert site.now(record).owner == name
        done = await site.until_state(record, State.DONE)
        [post] = site.cloud.posts()
        assert post.when >= done.attempts[0].send_deadline + LIMITS.settle
        assert len(site.servers()) == 1

    async def test_it_takes_over_what_it_would_undo_if_who_had_moved_it_has_died(
        self, site: Site, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The other had sent it once more; nobody else is there."""
        await start()
        record = await site.claimed()

        async def send_again_and_die(call: Call) -> None:
            if call.method == "POST":
                standing = site.now(record)
                again = request.begin_send(standing, "dead", site.clock(), LIMITS.send)
                assert await site.store.swap(standing, again)

        site.cloud.before_send = send_again_and_die
        began = site.clock()
        await site.publish(record.id)
        done = await site.until_state(record, State.DONE)
        assert site.clock() - began < 2 * SWEEP_SECONDS + LIMITS.settle
        await asyncio.sleep(LIMITS.settle + LIMITS.retry)
        [server] = site.servers()
        assert done.resource is not None
        assert done.resource.id == server["id"]
        assert "was not deleted" not in caplog.text

    async def test_a_suspended_worker_wakes_up_to_find_its_work_done(
        self, site: Site, start: Start
    ) -> None:
        """Another adopted what it had sent; the answer that comes late changes nothing."""
        site.cloud.torment(SLOW)
        crew = await start()
        record = await site.submitted()
        await asyncio.sleep(5)
        await site.store.retire(crew.lease.worker_id)  # as after its end
        await start()
        await site.until_state(record, State.DONE)
        await asyncio.sleep(60)
        assert site.now(record).sending.verdict is Verdict.ADOPTED
        assert len(site.cloud.posts()) == len(site.servers()) == 1
        assert not site.cloud.of("DELETE")

    async def test_a_worker_that_sent_too_late_undoes_it(self, site: Site, start: Start) -> None:
        stall = asyncio.Event()
        stalled, done = await overtaken(site, start, stall)
        [server] = site.servers()
        stall.set()
        await site.until(lambda: bool(site.cloud.of("DELETE")))
        await asyncio.sleep(1)
        assert [row["id"] for row in site.servers()] == [server["id"]]
        assert done.resource is not None
        assert done.resource.id == server["id"]
        assert stalled.count("dedupd_compensations_total") == 1

    @pytest.mark.parametrize("stopped", [True, False])
    async def test_also_where_its_own_answer_is_lost(
        self, site: Site, start: Start, stopped: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It does not know what it made; if it stops, it tells."""
        stall = asyncio.Event()
        stalled, done = await overtaken(site, start, stall, Rule(fault="503-after", method="POST"))
        stall.set()
        await asyncio.sleep(2)
        assert len(site.servers()) == 2
        if stopped:
            await stalled.service.stop()
            assert "was not deleted, look after it" in caplog.text
            return
        await site.until(lambda: bool(site.cloud.of("DELETE")))
        await asyncio.sleep(1)
        assert done.resource is not None
        assert [row["id"] for row in site.servers()] == [done.resource.id]
        assert stalled.count("dedupd_compensations_total") == 1

    async def test_what_it_learns_while_it_stops_is_told_too(
        self, site: Site, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        stall = asyncio.Event()
        stalled, _ = await overtaken(site, start, stall, Rule(fault="503-after", method="POST"))
        stopping = asyncio.create_task(stalled.service.stop())
        await asyncio.sleep(1)
        assert not caplog.text.count("look after it")
        stall.set()
        await stopping
        assert "was not deleted, look after it" in caplog.text


async def test_whose_lease_is_not_kept_alive_does_not_consume(site: Site, start: Start) -> None:
    crew = await start()
    assert crew.service.consuming
    site.store.away = True
    await asyncio.sleep(LEASE_SECONDS)
    assert not crew.service.consuming
    site.store.away = False
    await asyncio.sleep(LEASE_SECONDS)
    assert crew.service.consuming


class TestThrottled:
    """A project with more requests than a worker holds messages, which Nova turns down."""

    @pytest.fixture
    async def throttled(self, site: Site, start: Start) -> Throttled:
        throttled = Throttled(site, await start())
        for number in range(3 * PREFETCH):
            await throttled.submit(number)
        await asyncio.sleep(5)
        return throttled

    async def test_most_of_its_requests_are_left_alone(
        self, site: Site, throttled: Throttled
    ) -> None:
        """Their time for retries has not begun: they wait for their turn, as in the queue."""
        begun, untouched = throttled.begun(), throttled.untouched()
        assert LIMITS.in_flight <= len(begun) <= PREFETCH
        assert len(untouched) == 3 * PREFETCH - len(begun)
        await asyncio.sleep(LIMITS.retry - 30)
        assert throttled.untouched() == untouched

    async def test_all_are_carried_out_when_nova_takes_them_again(
        self, site: Site, throttled: Throttled
    ) -> None:
        throttled.is_over = True
        await throttled.until_done()
        assert len(site.servers(throttled.auth)) == 3 * PREFETCH

    async def test_those_that_nova_takes_in_vain_make_room_for_others(
        self, site: Site, throttled: Throttled
    ) -> None:
        first = throttled.begun()
        for record in first:
            await site.until_state(record, State.RELEASED)
        await asyncio.sleep(5)
        assert len(throttled.begun()) == LIMITS.in_flight

    @pytest.mark.parametrize("killed", [True, False])
    async def test_they_go_to_another_when_their_worker_has_gone(
        self, site: Site, start: Start, throttled: Throttled, killed: bool
    ) -> None:
        """Their messages are done with; their records are enough."""
        dead = throttled.crew
        await start()
        await (dead.kill() if killed else dead.service.stop())
        throttled.is_over = True
        began = site.clock()
        await throttled.until_done()
        assert site.clock() - began < LEASE_SECONDS + SWEEP_SECONDS + 2
        assert len(site.servers(throttled.auth)) == 3 * PREFETCH

    @pytest.mark.parametrize("turned_down_after", [0.0, 0.1])
    async def test_others_have_all_of_the_worker_s_slots(
        self, site: Site, throttled: Throttled, turned_down_after: float
    ) -> None:
        """Time and again, also when many have just been released at once."""
        throttled.answers_after, its = turned_down_after, 2 * LIMITS.in_flight
        for turn in range(10):
            records = [await site.submitted(client_token=f"{turn}-{n}") for n in range(its)]
            began = site.clock()
            for record in records:
                await site.until_state(record, State.DONE)
            assert site.clock() - began < 2 * Throttled.OTHERS_TAKE + 1
            await asyncio.sleep(90)

    async def test_whose_questions_are_turned_down_leaves_others_room(
        self, site: Site, start: Start
    ) -> None:
        """Before a keypair is imported Nova is asked whether it is there; then nothing is sent."""
        throttled = Throttled(site, await start())
        site.cloud.carry_out = lambda call: (  # type: ignore[method-assign]
            PAUSE if throttled.is_ours(call) else throttled._carry_out(call)
        )
        for n in range(3 * PREFETCH):
            auth, name = throttled.auth, f"t{n}"
            await site.submitted(IMPORT, path=KEYPAIRS, auth=auth, client_token=name)
        await asyncio.sleep(20)
        began = site.clock()
        await site.until_state(await site.submitted(), State.DONE)
        assert site.clock() - began < QUICK_SECONDS

    async def test_what_another_worker_leaves_is_released_when_its_time_is_over(
        self, site: Site, start: Start, throttled: Throttled
    ) -> None:
        """Also where others of its project wait already, and a backlog behind them."""
        await start()
        for number in range(3 * PREFETCH, 10 * PREFETCH):
            await throttled.submit(number)
        await asyncio.sleep(10)
        begun = throttled.begun()
        left = [r for r in begun if r.owner == throttled.crew.lease.worker_id]
        until = max(record.retry_until or 0 for record in left)
        await throttled.crew.service.stop()
        for record in left:
            await site.until(functools.partial(throttled.has_ended, record))
        assert site.clock() < until + 10

    @pytest.mark.parametrize("seconds", [12, 60])
    async def test_a_broker_that_is_away_costs_them_little(
        self, site: Site, throttled: Throttled, monkeypatch: pytest.MonkeyPatch, seconds: float
    ) -> None:
        """Although one of them still waits, so that the others may have been put off."""
        throttled.is_over = True
        site.cloud.script.append(Answer(429, ((b"Retry-After", b"280"),)))
        with monkeypatch.context() as patch:

            async def away(_request_id: str, _claimed: Record | None = None) -> None:
                raise QueueUnavailable("The broker is away.")

            patch.setattr(throttled.crew.queue, "publish", away)
            await asyncio.sleep(seconds)
        await asyncio.sleep(20)
        assert len(throttled.records) - len(site.servers(throttled.auth)) <= 1

    async def test_where_nova_is_away_no_backlog_is_begun(self, site: Site, start: Start) -> None:
        """Beyond what a worker holds messages for, however many projects there are."""

        async def away(_call: Call) -> None:
            raise NotSent("Nova is away.")

        site.cloud.before_send = away
        records = [
            await site.claimed(auth=f"u:{project:032}", client_token=f"t{number}")
            for project in range(100)
            for number in range(3)
        ]
        for record in records:
            await site.publish(record.id, record)
        crew = await start()
        await asyncio.sleep(60)
        begun = [record for record in records if site.now(record).retry_until is not None]
        assert len(begun) == PREFETCH
        assert len(crew.queue._unacknowledged) == PREFETCH

    async def test_what_is_dropped_beyond_the_bound_goes_on_later(
        self, site: Site, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "MAX_PUT_OFF", 8)
        throttled = Throttled(site, await start())
        for number in range(3 * PREFETCH):
            await throttled.submit(number)
        await site.until_state(await site.submitted(), State.DONE)
        throttled.is_over = True
        await throttled.until_done()
        assert len(site.servers(throttled.auth)) == 3 * PREFETCH

    async def test_who_hears_of_it_as_it_was_claimed_leaves_it_to_who_waits_for_nova(
        self, site: Site, start: Start
    ) -> None:
        """As of one that was put off, and is sent meanwhile: Nova has asked for a pause."""
        site.cloud.script.append(PAUSE)
        one, other = await start(), await start()
        record = await site.claimed()
        one.queue.take((record.id, record))
        await waiting(site, record)
        other.queue.take((record.id, record))
        await site.until_state(record, State.DONE)
        first, second = site.cloud.posts()
        assert second.when >= first.when + 100

    @pytest.mark.parametrize("pause", [None, 60])
    async def test_who_meets_one_429_leaves_others_their_share(
        self, site: Site, start: Start, pause: int | None
    ) -> None:
        """It does not draw all that its project has."""
        crews = [await start() for _ in range(4)]
        headers = () if pause is None else ((b"Retry-After", str(pause).encode()),)
        site.cloud.script.append(Answer(429, headers))

        async def slow(call: Call) -> None:
            if call.method == "POST":
                await asyncio.sleep(2)

        site.cloud.before_send = slow
        records = [await site.submitted(client_token=f"t{number}") for number in range(500)]
        began = site.clock()
        for record in records:
            await site.until_state(record, State.DONE)
        alone = 2 * len(records) / LIMITS.in_flight
        assert site.clock() - began < alone / len(crews) + (pause or 0) + 15

    @pytest.mark.parametrize("seconds", [3, 8])
    async def test_a_store_that_is_away_costs_them_little(
        self, site: Site, throttled: Throttled, seconds: float
    ) -> None:
        await asyncio.sleep(200)
        throttled.is_over = True
        site.store.away = True
        await asyncio.sleep(seconds)
        site.store.away = False
        began = site.clock()
        await throttled.until_ended()
        assert site.clock() - began < LEASE_SECONDS + 2 * REPUBLISH_SECONDS

    async def test_a_worker_cut_off_from_the_store_does_not_keep_them(
        self, site: Site, start: Start
    ) -> None:
        leader, way = await start(), Way(site.store)
        throttled = Throttled(site, await start(store=way))
        leader.queue._stop()
        for number in range(10 * PREFETCH):
            await throttled.submit(number)
        await asyncio.sleep(5)
        way.cut = throttled.is_over = True
        site.broker.consumers.append(leader.queue)
        began = site.clock()
        await asyncio.sleep(LEASE_SECONDS + 1)
        await site.store.retire(throttled.crew.lease.worker_id)  # as etcd tells
        await throttled.until_ended()
        assert site.clock() - began < LEASE_SECONDS + 3 * REPUBLISH_SECONDS

    async def test_nor_what_it_waits_to_send_again(self, site: Site, start: Start) -> None:
        """It sends nothing any more: another message of it is for others."""
        site.cloud.script.append(PAUSE)
        way = Way(site.store)
        crew = await start(store=way)
        record = await waiting(site, await site.submitted())
        way.cut = True
        await asyncio.sleep(LEASE_SECONDS + 1)
        delivery = Delivered(record.id)
        crew.service._deliver(delivery)
        await asyncio.sleep(2)
        assert delivery.ends == ["handed back"]

    async def test_they_go_to_another_as_soon_as_their_worker_is_told_to_stop(
        self, site: Site, start: Start, throttled: Throttled
    ) -> None:
        """Although something of another project is under way there until the end."""
        throttled.OTHERS_TAKE = STOP_SECONDS - 1
        await site.submitted()
        await site.until(lambda: not throttled.is_ours(site.cloud.posts()[-1].call))
        await start()
        throttled.is_over = True
        stopping = asyncio.create_task(throttled.crew.service.stop())
        began = site.clock()
        await throttled.until_done()
        assert site.clock() - began < 5
        await stopping

    async def test_a_stop_ends_when_they_are_published(
        self, site: Site, throttled: Throttled, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its process is closed next."""
        queue = throttled.crew.queue
        publish = queue.publish

        async def slow(request_id: str, claimed: Record | None = None) -> None:
            await asyncio.sleep(1)
            await publish(request_id, claimed)

        monkeypatch.setattr(queue, "publish", slow)
        await throttled.crew.service.stop()
        assert {request_id for request_id, _ in site.broker.waiting} == {
            record.id for record in throttled.records
        }

    async def test_nor_do_they_wait_there_for_one_that_is_being_sent_again(
        self, site: Site, start: Start, throttled: Throttled
    ) -> None:
        await site.until(lambda: len(site.cloud.posts()) > PREFETCH)
        throttled.answers_after = STOP_SECONDS - 1
        await asyncio.sleep(10)
        await start()
        throttled.is_over, throttled.answers_after = True, 0.0
        stopping = asyncio.create_task(throttled.crew.service.stop())
        await asyncio.sleep(2)
        assert len(throttled.untouched()) == 0
        await stopping

    @pytest.mark.parametrize("many", [3, 300])
    async def test_a_stop_does_not_wait_long_for_a_broker(
        self, site: Site, throttled: Throttled, monkeypatch: pytest.MonkeyPatch, many: int
    ) -> None:
        """What is not published is left to the sweeper."""
        monkeypatch.setattr(service, "PUBLISHED_AT_ONCE", many)

        async def hanging(_request_id: str, _claimed: Record | None = None) -> None:
            await asyncio.sleep(4)
            raise QueueUnavailable("The broker hangs.")

        monkeypatch.setattr(throttled.crew.queue, "publish", hanging)
        began = site.clock()
        await throttled.crew.service.stop()
        assert site.clock() - began < 9

    async def test_a_turn_ends_whatever_ends_it(
        self, site: Site, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        crew = await start()

        async def failing(job: Any, turned_down: Callable[[Record], None]) -> Any:
            turned_down(job.record)
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(crew.executor, "send", failing)
            await site.submitted()
            await asyncio.sleep(1)
        assert crew.service._turns._projects == {}

    async def test_what_is_turned_down_during_a_stop_goes_to_another_at_once(
        self, site: Site, start: Start
    ) -> None:
        """Its message says that nobody has it; so does its record."""
        site.cloud.script.append(Answer(429, ((b"Retry-After", b"1"),)))
        seconds = [2.0, STOP_SECONDS - 1]

        async def slow(call: Call) -> None:
            if call.method == "POST" and seconds:
                await asyncio.sleep(seconds.pop(0))

        site.cloud.before_send = slow
        crew = await start()
        record = await site.submitted()
        await site.until(lambda: len(site.cloud.posts()) == 1)
        await site.submitted(client_token="other")
        await site.until(lambda: len(site.cloud.posts()) == 2)
        await start()
        began = site.clock()
        stopping = asyncio.create_task(crew.service.stop())
        await site.until_state(record, State.DONE)
        assert site.clock() - began < 5
        await stopping


class TestStop:
    async def test_what_is_in_flight_ends_first(self, site: Site, start: Start) -> None:
        site.cloud.torment(Rule(fault="delay-after", method="POST", seconds=STOP_SECONDS - 1))
        crew = await start()
        record = await site.submitted()
        await site.until(lambda: bool(site.cloud.posts()))
        later = await site.claimed(client_token="later")
        stopping = asyncio.create_task(crew.service.stop())
        await asyncio.sleep(1)
        assert not crew.service.consuming
        await site.publish(later.id)
        await stopping
        assert site.now(record).state is State.DONE
        assert site.now(later).state is State.QUEUED
        assert not await site.store.workers()
        assert list(site.broker.waiting) == [(later.id, None)]

    async def test_another_leads_while_it_finishes(self, site: Site, start: Start) -> None:
        site.cloud.torment(Rule(fault="delay-after", method="POST", seconds=STOP_SECONDS - 1))
        crew = await start()
        await site.submitted()
        await site.until(lambda: bool(site.cloud.posts()))
        other = await start()
        assert not await site.store.lead(other.lease.worker_id)
        stopping = asyncio.create_task(crew.service.stop())
        await asyncio.sleep(0.1)
        assert await site.store.lead(other.lease.worker_id)
        assert len(await site.store.workers()) == 2
        await stopping

    async def test_what_takes_longer_is_handed_back(self, site: Site, start: Start) -> None:
        site.cloud.torment(Rule(fault="delay-after", method="POST", seconds=STOP_SECONDS + 5))
        crew = await start()
        record = await site.submitted()
        await site.until(lambda: bool(site.cloud.posts()))
        began = site.clock()
        await crew.service.stop()
        assert site.clock() - began == pytest.approx(STOP_SECONDS, abs=0.1)
        assert site.now(record).state is State.SENDING
        assert list(site.broker.waiting) == [(record.id, record)]
        assert not await site.store.workers()
        await start()
        done = await site.until_state(record, State.DONE)
        assert done.sending.verdict is Verdict.ADOPTED
        assert len(site.servers()) == 1

    async def test_what_waits_for_its_turn_goes_to_others_at_once(
        self, site: Site, start: Start
    ) -> None:
        """None of it is begun any more, lest it be cut off."""
        site.limits = dataclasses.replace(site.limits, in_flight=1)
        seconds = STOP_SECONDS - 1
        site.cloud.torment(Rule(fault="delay-after", method="POST", seconds=seconds, times=9))
        crew = await start()
        records = [await site.submitted(client_token=f"t{number}") for number in range(3)]
        await site.until(lambda: bool(site.cloud.posts()))
        stopping = asyncio.create_task(crew.service.stop())
        await asyncio.sleep(1)
        assert len(site.broker.waiting) == 2
        await stopping
        states = sorted(site.now(record).state.label for record in records)
        assert states == ["done", "queued", "queued"]
        assert len(site.cloud.posts()) == 1

    @pytest.mark.parametrize("alone", [True, False])
    async def test_what_waits_for_its_next_try_goes_to_others_when_it_has_stopped(
        self, site: Site, start: Start, alone: bool
    ) -> None:
        """Its message is done with; the next leader goes by its record, at once."""
        site.cloud.script.append(PAUSE)
        crew = await start()
        record = await waiting(site, await site.submitted())
        if not alone:
            await start()
        await crew.service.stop()
        began = site.clock()
        if alone:
            await start()
        await site.until_state(record, State.DONE)
        assert site.clock() - began < 1
        assert len(site.servers()) == 1

    @pytest.mark.parametrize(
        ("document", "path"),
        [
            pytest.param(VM, SERVERS, id="server"),
            pytest.param({"x": None}, f"{SERVERS}/s/action", id="action"),
        ],
    )
    async def test_what_had_no_effect_is_sent_again_by_others_only(
        self, site: Site, start: Start, document: Any, path: str
    ) -> None:
        """It would be cut off: nobody can look for an action, and it would become unknown."""
        crew = await start()
        turned_down = Answer(429, ())

        async def turn_down_late(call: Call) -> None:
            if call.method == "POST":
                await asyncio.sleep(STOP_SECONDS - 1)
                site.cloud.script.append(turned_down)

        site.cloud.before_send = turn_down_late
        record = await site.submitted(document, path=path)
        await site.until(lambda: bool(site.cloud.posts()))
        await crew.service.stop()
        queued = site.now(record)
        assert (queued.state, queued.sending.verdict) == (State.QUEUED, Verdict.NO_EFFECT)
        assert list(site.broker.waiting) == [(record.id, record)]
        assert len(site.cloud.posts()) == 1
        site.cloud.before_send = lambda _: asyncio.sleep(0)
        await start()
        done = await site.until_state(record, State.DONE)
        assert [attempt.verdict for attempt in done.attempts] == [
            Verdict.NO_EFFECT,
            Verdict.ANSWERED,
        ]

    async def test_so_it_is_where_it_was_sent_again_before_the_stop(
        self, site: Site, start: Start
    ) -> None:
        """Its message is done with; the next leader goes by its record."""
        site.cloud.script += [Answer(429, ()), Answer(429, ())]
        crew = await start()

        async def second_is_slow(call: Call) -> None:
            if call.method == "POST" and len(site.cloud.posts()) == 2:
                await asyncio.sleep(STOP_SECONDS - 1)

        site.cloud.before_send = second_is_slow
        record = await site.submitted()
        await site.until(lambda: len(site.cloud.posts()) == 2)
        await crew.service.stop()
        queued = site.now(record)
        assert (queued.state, queued.sending.verdict) == (State.QUEUED, Verdict.NO_EFFECT)
        began = site.clock()
        await start()
        await site.until_state(record, State.DONE)
        assert site.clock() - began < 1
        assert len(site.cloud.posts()) == 3

    async def test_an_idle_worker_stops_at_once(self, site: Site, start: Start) -> None:
        crew = await start()
        await asyncio.sleep(100)
        began = site.clock()
        await crew.service.stop()
        assert site.clock() == began
        await crew.service.stop()

    async def test_one_that_never_started_stops_too(self, site: Site) -> None:
        crew = site.crew()
        await crew.service.stop()

    async def test_without_the_store_it_stops_all_the_same(
        self, site: Site, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew = await start()
        site.store.away = True
        await crew.service.stop()
        assert "The lease was not given up" in caplog.text

    async def test_an_answer_it_could_not_commit_is_found_by_another(
        self, site: Site, start: Start
    ) -> None:
        crew = await start()

        async def lose_the_store(call: Call) -> None:
            site.store.away = site.store.away or call.method == "POST"

        site.cloud.before_send = lose_the_store
        record = await site.submitted()
        await asyncio.sleep(5)
        await crew.service.stop()
        site.store.away = False
        assert site.now(record).state is State.SENDING
        site.cloud.before_send = lambda _: asyncio.sleep(0)
        await start()
        done = await site.until_state(record, State.DONE)
        assert done.sending.verdict is Verdict.ADOPTED
        assert len(site.servers()) == len(site.cloud.posts()) == 1


class TestTrouble:
    @pytest.mark.parametrize("said", [True, False])
    async def test_a_request_that_cannot_be_opened_stops_no_other(
        self, site: Site, start: Start, caplog: pytest.LogCaptureFixture, said: bool
    ) -> None:
        broken = await site.claimed(client_token="broken")
        stored = site.store._requests[broken.id]
        site.store._requests[broken.id] = msgspec.structs.replace(stored, payload=b"\x01\x09")
        crew = await start()
        await site.publish(broken.id, broken if said else None)
        await site.until_state(await site.submitted(), State.DONE)
        assert f"{broken.id}: left to the sweeper" in caplog.text
        assert unsettled(site, crew) == 0
        assert (site.now(broken).state, site.now(broken).attempts) == (State.QUEUED, ())

    async def test_a_worker_whose_sweeper_has_failed_is_not_ready_and_says_so(
        self,
        site: Site,
        start: Start,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def unreadable(_limit: int) -> list[Record]:
            raise msgspec.ValidationError("one byte is wrong")

        crew = await start()
        assert crew.service.consuming
        monkeypatch.setattr(site.store, "pending", unreadable)
        await asyncio.sleep(2 * SWEEP_SECONDS)
        assert not crew.service.consuming
        assert "The worker's sweeper has failed; this process stops" in caplog.text
        assert "one byte is wrong" in caplog.text

    async def test_nor_does_an_error_of_our_own(
        self,
        site: Site,
        start: Start,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        crew = await start()
        executor, tries = crew.executor.send, 0

        async def failing(*arguments: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise ZeroDivisionError
            return await executor(*arguments)

        monkeypatch.setattr(crew.executor, "send", failing)
        record = await site.submitted()
        await site.until_state(record, State.DONE)
        assert f"{record.id}: left to the sweeper" in caplog.text
        assert "ZeroDivisionError" in caplog.text
        assert unsettled(site, crew) == 0

    async def test_while_the_store_is_away_nothing_is_sent_and_nothing_lost(
        self, site: Site, start: Start
    ) -> None:
        await start()
        record = await site.claimed()
        site.store.away = True
        await site.publish(record.id)
        await asyncio.sleep(600)
        assert not site.cloud.posts()
        site.store.away = False
        await site.until_state(record, State.DONE)
        assert len(site.servers()) == 1

    async def test_what_it_waited_to_send_again_meanwhile_is_not_lost_either(
        self, site: Site, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its message is done with: its record is enough."""
        site.cloud.script.append(Answer(429, ((b"Retry-After", b"20"),)))
        await start()
        record = await waiting(site, await site.submitted())
        site.store.away = True
        await asyncio.sleep(60)
        assert f"{record.id}: left to the sweeper" in caplog.text
        assert len(site.cloud.posts()) == 1
        site.store.away = False
        began = site.clock()
        await site.until_state(record, State.DONE)
        assert site.clock() - began < LEASE_SECONDS + REPUBLISH_SECONDS
        assert len(site.servers()) == 1

    async def test_a_worker_cut_off_from_the_store_leaves_its_messages_to_others(
        self, site: Site, start: Start
    ) -> None:
        """It would else eat what a healthy one could carry out."""
        healthy = site.store
        site.store = TroubledStore(site.clock)
        cut_off = await start()
        site.store.away = True
        site.store = healthy
        await start()
        began = site.clock()
        records = [await site.submitted(client_token=f"t{number}") for number in range(8)]
        for record in records:
            await site.until_state(record, State.DONE)
        assert site.clock() - began < REPUBLISH_SECONDS
        await cut_off.kill()

    async def test_a_write_before_the_send_that_seems_lost_is_settled_first(
        self, site: Site, start: Start
    ) -> None:
        """The record says SENDING, and nobody knows whether it was sent."""
        await start()
        record = await site.claimed()
        site.store.lost = 1
        await site.publish(record.id)
        done = await site.until_state(record, State.DONE)
        [post] = site.cloud.posts()
        assert post.when >= done.attempts[0].send_deadline + LIMITS.settle

    async def test_what_changes_between_two_glances_is_left_to_the_next_sweep(
        self, site: Site, start: Start
    ) -> None:
        """The sweeper saw an orphan; a moment later it is somebody's."""
        crew = await start()
        record = await site.claimed()
        sending = request.begin_send(record, "dead", site.clock(), 35)
        orphan = await site.store.swap(record, sending)
        assert orphan
        stale = msgspec.structs.replace(orphan, version=0)
        await crew.service._adopt(stale)
        assert await site.record(record) == orphan
        unknown = await site.store.swap(orphan, request.give_up(orphan, "why"))
        assert unknown
        done = request.finish(unknown, site.clock(), status=202, resource=None, keep=60)
        written = await site.store.swap(unknown, done)
        await crew.service._revisit(unknown)
        assert await site.record(record) == written
        assert not site.cloud.sent

    async def test_who_cannot_read_it_does_not_take_it(
        self, site: Site, start: Start, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Another one, which has the key, may lead the next time."""
        crew = await start()
        crew.opener._keys = Keys(KEYS.identity, {99: bytes(32)})
        record = await site.claimed()
        orphan = await site.store.swap(record, request.begin_send(record, "dead", site.clock(), 35))
        assert orphan
        await asyncio.sleep(LEASE_SECONDS + 2 * SWEEP_SECONDS)
        assert "sealed with key 1" in caplog.text
        assert await site.record(record) == orphan

    async def test_what_is_in_hand_is_not_begun_twice(self, site: Site, start: Start) -> None:
        """Not even where the sweeper has looked a moment too early."""
        site.cloud.torment(SLOW)
        crew = await start()
        record = await site.submitted()
        await site.until(lambda: bool(site.cloud.posts()))
        crew.service._sweeper.adopt(site.now(record))
        assert (await site.until_state(record, State.DONE)).attempts[0].worker
        assert len(site.cloud.posts()) == 1
        assert not site.cloud.of("GET")

    async def test_only_so_many_unknowns_are_looked_for_at_once(
        self, site: Site, start: Start
    ) -> None:
        for number in range(30):
            record = await site.claimed(client_token=f"t{number}")
            sending = request.begin_send(record, "w", site.clock(), 35)
            assert await site.store.swap(record, request.give_up(sending, "why"))
        await start()
        now = most = 0

        async def measure(_: Call) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(1)
            now -= 1

        site.cloud.before_send = measure
        await asyncio.sleep(60)
        assert most == MAX_REVISITS
        assert not site.cloud.posts()


class CutOff(TroubledStore):
    """The site's store as a worker sees it whose way to it is gone while ``away``."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.clock)
        self.__dict__ |= {**site.store.__dict__, "away": False}

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("The store is away.")


async def test_what_a_worker_without_its_store_is_given_goes_to_another(site: Site) -> None:
    store = CutOff(site)
    cut_off, healthy = await site.started(store=store), await site.started()
    store.away = True
    await asyncio.sleep(2 * LEASE_SECONDS)
    assert not cut_off.service.consuming
    began = site.clock()
    records = [await site.submitted(client_token=f"t{number}") for number in range(40)]
    for record in records:
        await site.until_state(record, State.DONE)
    assert site.clock() - began < QUICK_SECONDS
    assert len(site.cloud.posts()) == 40
    await cut_off.kill()
    await healthy.kill()
