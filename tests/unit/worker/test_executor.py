"""Write, send once, commit: in that order, whatever fails in between."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from dedupd import request, ssh_key
from dedupd.exchange import Answer, Call
from dedupd.ports import Lost, NotSent, Stored, StoreUnavailable
from dedupd.request import Record, Resource, State, Verdict
from dedupd.sim.faults import Rule
from dedupd.worker.executor import RELEASED_SECONDS, Step
from dedupd.worker.job import Job
from tests.unit.site import (
    KEYPAIRS,
    LASTING,
    LEASE_SECONDS,
    LIMITS,
    PROJECT,
    SERVERS,
    USER,
    Crew,
    Site,
)

VIRTUAL_TIME = True

REFUSED = NotSent("Nova at http://nova cannot be reached: refused")
ACTION = f"{SERVERS}/s-1/action"
KEYPAIR = {"keypair": {"name": "kp", "public_key": ssh_key.generate().public_key}}


def answered(status: int, retry_after: bytes | None = None, body: bytes = b"{}") -> Answer:
    headers = [(b"Content-Type", b"application/json")]
    if retry_after is not None:
        headers.append((b"Retry-After", retry_after))
    return Answer(status, tuple(headers), body)


QUOTA = answered(403, body=b'{"forbidden": {"code": 403, "message": "Quota exceeded"}}')


@pytest.fixture(params=[True, False], ids=["read", "unread"])
def read(request: pytest.FixtureRequest) -> bool:
    """Whether a request is read before it is sent, or begun as it was claimed."""
    return bool(request.param)


async def taken_up(
    site: Site, crew: Crew | None = None, *, read: bool = True, **what: Any
) -> tuple[Crew, Job]:
    """A worker, and a request in its hands."""
    crew = crew or await site.hired()
    record = await site.claimed(**what)
    return crew, await in_hand(site, record, crew, read=read)


async def in_hand(site: Site, record: Record, crew: Crew, *, read: bool) -> Job:
    if read:
        return await site.job(record, crew)
    job = crew.opener.unread(msgspec.structs.replace(record, version=0))
    assert job is not None
    return job


async def sent(site: Site, **what: Any) -> tuple[Step, Record]:
    """Where a request stands after it was sent."""
    crew, job = await taken_up(site, **what)
    step = await crew.executor.send(job)
    return step, await site.record(job.record)


class TestOrder:
    async def test_the_record_says_sending_before_a_byte_goes_out(
        self, site: Site, read: bool
    ) -> None:
        crew, job = await taken_up(site, read=read)
        seen: list[Record] = []

        async def look(_: Call) -> None:
            seen.append(await site.record(job.record))

        site.cloud.before_send = look
        began = site.clock()
        assert await crew.executor.send(job) is Step.ENDED
        [standing] = seen
        assert (standing.state, standing.owner) == (State.SENDING, crew.lease.worker_id)
        assert standing.sending == request.Attempt(
            crew.lease.worker_id, began, began + LIMITS.connect + LIMITS.send
        )

    async def test_the_answer_is_kept_as_it_came(self, site: Site, read: bool) -> None:
        step, record = await sent(site, read=read)
        assert (step, record.state, record.status) == (Step.ENDED, State.DONE, 202)
        [server] = site.servers()
        link = f"http://nova.example.org/v2.1/servers/{server['id']}"
        assert record.resource == Resource("server", server["id"], "vm", link)
        assert (record.owner, record.expires_at) == ("", site.clock() + LIMITS.result)
        assert (record.sending.verdict, record.sending.status) == (Verdict.ANSWERED, 202)
        answer = await site.answer(record)
        assert answer.header(b"location") == link.encode()
        assert msgspec.json.decode(answer.body)["server"]["id"] == server["id"]
        stored = await site.stored(record)
        assert stored is not None
        assert stored.payload is None, "credentials are not kept"

    async def test_what_goes_out_is_marked_once(self, site: Site, read: bool) -> None:
        _, record = await sent(site, read=read)
        [post] = site.cloud.posts()
        assert post.document["server"]["tags"] == [f"dedupd.{record.id}"]
        body = msgspec.json.decode((await site.answer(record)).body)
        assert body["server"]["adminPass"] == post.document["server"]["adminPass"]

    async def test_it_is_counted(self, site: Site, read: bool) -> None:
        crew, job = await taken_up(site, read=read)
        await crew.executor.send(job)
        assert crew.count("dedupd_attempts_total", outcome="definite") == 1
        assert crew.count("dedupd_requests_ended_total", state="done") == 1
        assert crew.count("dedupd_sends_inprogress") == 0


class TestTheRightToSend:
    async def test_nothing_is_sent_when_the_lease_runs_short(self, site: Site, read: bool) -> None:
        crew, job = await taken_up(site, read=read)
        record = site.now(job.record)
        site.clock.ahead += LEASE_SECONDS * 0.71
        with pytest.raises(StoreUnavailable, match="lease is not kept alive"):
            await crew.executor.send(job)
        assert not site.cloud.sent
        assert await site.record(record) == record, "it stays for another"

    async def test_enough_of_it_is_enough(self, site: Site, read: bool) -> None:
        crew, job = await taken_up(site, read=read)
        site.clock.ahead += LEASE_SECONDS * 0.69
        assert await crew.executor.send(job) is Step.ENDED
        assert len(site.cloud.posts()) == 1

    async def test_nor_when_it_ran_short_after_the_write(self, site: Site, read: bool) -> None:
        """A worker that was paused between the two does not send: others may have gone on."""
        crew, job = await taken_up(site, read=read)
        swap = site.store.swap

        async def paused(*what: Record, **more: str) -> Record | None:
            written = await swap(*what, worker=more["worker"])
            site.clock.ahead += LEASE_SECONDS
            return written

        site.store.swap = paused  # type: ignore[assignment, method-assign]
        assert await crew.executor.send(job) is Step.ENDED
        assert not site.cloud.sent
        assert (await site.record(job.record)).state is State.SENDING

    async def test_nor_when_it_has_been_replaced_after_the_write(
        self, site: Site, read: bool
    ) -> None:
        """The new one permits other sends, not this one."""
        crew, job = await taken_up(site, read=read)
        swap = site.store.swap

        async def replaced(*what: Record, **more: str) -> Record | None:
            written = await swap(*what, worker=more["worker"])
            await crew.lease.take()
            return written

        site.store.swap = replaced  # type: ignore[assignment, method-assign]
        assert await crew.executor.send(job) is Step.ENDED
        assert not site.cloud.sent
        assert (await site.record(job.record)).state is State.SENDING

    async def test_nor_when_it_runs_short_while_nova_is_connected_to(
        self, site: Site, read: bool
    ) -> None:
        crew, job = await taken_up(site, read=read)
        send, swap = site.cloud.send, site.store.swap

        async def paused(call: Any, timeout: float, permitted: Callable[[], bool]) -> Any:
            site.clock.ahead += LEASE_SECONDS
            taken = request.take_over(job.record, "another")
            assert await swap(job.record, taken)
            return await send(call, timeout, permitted)

        site.cloud.send = paused  # type: ignore[assignment, method-assign]
        assert await crew.executor.send(job) is Step.ENDED
        assert not site.cloud.sent
        assert (await site.record(job.record)).owner == "another"

    async def test_nor_when_the_store_says_that_it_has_ended(self, site: Site, read: bool) -> None:
        crew, job = await taken_up(site, read=read)
        await site.store.retire(crew.lease.worker_id)
        assert await crew.executor.send(job) is (Step.ENDED if read else Step.READ)
        assert not site.cloud.sent
        assert (await site.record(job.record)).state is State.QUEUED

    @pytest.mark.parametrize(
        "move",
        [
            lambda record, now: request.cancel(record, now, detail="by its project", keep=60),
            lambda record, now: request.begin_send(record, "another", now, 30),
            lambda record, _: request.take_over(record, "another"),
        ],
    )
    async def test_nor_when_another_has_moved_the_record(
        self, site: Site, read: bool, move: Callable[[Record, float], Record]
    ) -> None:
        crew, job = await taken_up(site, read=read)
        record = site.now(job.record)
        moved = await site.store.swap(record, move(record, site.clock()))
        assert await crew.executor.send(job) is (Step.ENDED if read else Step.READ)
        assert not site.cloud.sent
        assert await site.record(job.record) == moved

    async def test_of_two_workers_with_one_request_one_sends(self, site: Site, read: bool) -> None:
        one, job = await taken_up(site, read=read)
        other = await site.hired()
        same = await in_hand(site, site.now(job.record), other, read=read)
        await asyncio.gather(one.executor.send(job), other.executor.send(same))
        assert len(site.cloud.posts()) == len(site.servers()) == 1

    async def test_no_more_are_sent_at_once_than_allowed(self, site: Site) -> None:
        site.cloud.torment(Rule(fault="delay-after", method="POST", seconds=10, times=100))
        crew = await site.hired(lease_seconds=LASTING)
        jobs = [(await taken_up(site, crew, client_token=f"t{n}"))[1] for n in range(20)]
        most = 0.0

        async def measure(_: Call) -> None:
            nonlocal most
            most = max(most, crew.count("dedupd_sends_inprogress"))

        site.cloud.before_send = measure
        await asyncio.gather(*(crew.executor.send(job) for job in jobs))
        assert most == LIMITS.in_flight
        assert len(site.servers()) == 20


class TestNoEffect:
    async def test_what_was_not_sent_is_sent_again(self, site: Site) -> None:
        site.cloud.script += [REFUSED, REFUSED]
        crew = await site.started()
        record = await site.until_state(await site.submitted(), State.DONE)
        assert len(site.cloud.posts()) == 3
        verdicts = [attempt.verdict for attempt in record.attempts]
        assert verdicts == [Verdict.NO_EFFECT, Verdict.NO_EFFECT, Verdict.ANSWERED]
        assert record.attempts[0].detail == REFUSED.message
        assert crew.count("dedupd_attempts_total", outcome="no-effect") == 2
        assert len(site.servers()) == 1
        await crew.service.stop()

    async def test_until_its_time_is_up(self, site: Site) -> None:
        site.cloud.script.extend([REFUSED] * 10_000)
        crew = await site.started()
        record = await site.until_state(await site.submitted(), State.RELEASED)
        first, last = site.cloud.posts()[0].when, site.cloud.posts()[-1].when
        assert first + LIMITS.retry <= last < first + LIMITS.retry + 10
        assert record.retry_until == first + LIMITS.retry
        assert (record.status, (await site.answer(record)).status) == (502, 502)
        assert record.expires_at == record.completed_at + RELEASED_SECONDS  # type: ignore[operator]
        assert len(record.attempts) == 1 + request.KEPT_ATTEMPTS
        assert crew.count("dedupd_requests_ended_total", state="released") == 1
        await crew.service.stop()

    async def test_retry_after_is_honoured(self, site: Site) -> None:
        site.cloud.script.append(answered(429, b"7"))
        crew = await site.started()
        await site.until_state(await site.submitted(), State.DONE)
        first, second = [post.when for post in site.cloud.posts()]
        assert second - first == pytest.approx(7)
        await crew.service.stop()

    async def test_that_nova_is_away_is_told_once_for_each_request_and_at_its_end(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.cloud.script.extend([REFUSED] * 1000)
        crew = await site.started()
        record = await site.until_state(await site.submitted(), State.RELEASED)
        told = [entry for entry in caplog.messages if entry.startswith(record.id)]
        assert [line.partition(": ")[2] for line in told] == [
            f"no effect, {end}: {REFUSED.message}" for end in ("tried again", "released")
        ]
        await crew.service.stop()

    async def test_where_it_asks_for_no_pause_there_are_pauses_too(self, site: Site) -> None:
        """RFC 9110 allows 0; one request would send thousands of POSTs."""
        site.cloud.script.extend([answered(429, b"0")] * 1000)
        crew = await site.started()
        await site.until_state(await site.submitted(), State.RELEASED)
        assert len(site.cloud.posts()) < LIMITS.retry
        await crew.service.stop()

    @pytest.mark.parametrize("status", [408, 425, 429])
    async def test_without_it_there_are_pauses_too(self, site: Site, status: int) -> None:
        site.cloud.script.extend([answered(status)] * 6)
        crew = await site.started()
        await site.until_state(await site.submitted(), State.DONE)
        times = [post.when for post in site.cloud.posts()]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(pauses) == 6
        assert 0 < max(pauses) <= 10
        await crew.service.stop()

    async def test_while_it_waits_it_is_queued(self, site: Site) -> None:
        """Then it can be cancelled; the others see who waits."""
        site.cloud.script.append(answered(429, b"100"))
        crew, job = await taken_up(site, await site.hired(lease_seconds=LASTING))
        waiting = asyncio.create_task(crew.executor.send(job))
        record = await site.until_state(job.record, State.QUEUED)
        await site.until(lambda: site.now(record).retry_until is not None)
        queued = await site.record(record)
        assert queued.owner == crew.lease.worker_id
        assert queued.sending.verdict is Verdict.NO_EFFECT
        cancelled = request.cancel(queued, site.clock(), detail="by its project", keep=60)
        assert await site.store.swap(queued, cancelled)
        assert await waiting is Step.ENDED
        assert len(site.cloud.posts()) == 1

    async def test_who_stops_sending_does_not_wait_to_send_again(
        self, site: Site, read: bool
    ) -> None:
        site.cloud.script.append(answered(429, b"100"))
        crew, job = await taken_up(site, read=read)

        async def stop(_: Call) -> None:
            crew.executor.stop_sending()

        site.cloud.before_send = stop
        began = site.clock()
        assert await crew.executor.send(job) is Step.STOPPED
        assert site.clock() == began
        record = await site.record(job.record)
        assert (record.state, record.sending.verdict) == (State.QUEUED, Verdict.NO_EFFECT)
        assert not crew.executor.under_way

    async def test_nor_does_it_begin_what_it_had_in_hand(self, site: Site, read: bool) -> None:
        crew, job = await taken_up(site, read=read)
        record = site.now(job.record)
        crew.executor.stop_sending()
        assert await crew.executor.send(job) is Step.STOPPED
        assert not site.cloud.sent
        assert await site.record(record) == record
        assert not crew.executor.under_way

    @pytest.mark.parametrize(
        "answer",
        [answered(401), QUOTA, answered(413), answered(429, b"301"), answered(413, b"301")],
    )
    async def test_where_again_does_not_help_it_is_released_at_once(
        self, site: Site, answer: Answer
    ) -> None:
        site.cloud.script.append(answer)
        began = site.clock()
        step, record = await sent(site)
        assert (step, record.state, record.status) == (Step.ENDED, State.RELEASED, answer.status)
        assert site.clock() - began < 1
        assert await site.answer(record) == answer
        assert len(site.cloud.posts()) == 1

    async def test_too_large_is_sent_again_where_nova_says_when(self, site: Site) -> None:
        site.cloud.script.append(answered(413, b"3"))
        crew = await site.started()
        await site.until_state(await site.submitted(), State.DONE)
        assert [post.when - site.cloud.posts()[0].when for post in site.cloud.posts()] == (
            pytest.approx([0, 3])
        )
        await crew.service.stop()

    async def test_no_time_for_retries_means_one_try(self, site: Site) -> None:
        site.limits = dataclasses.replace(LIMITS, retry=0)
        site.cloud.script += [REFUSED]
        step, record = await sent(site)
        assert (step, record.state) == (Step.ENDED, State.RELEASED)


class TestDefinite:
    @pytest.mark.parametrize("status", [400, 403, 404, 405, 406, 409, 415, 422, 300])
    async def test_a_refusal_is_kept(self, site: Site, status: int) -> None:
        site.cloud.script.append(answered(status))
        step, record = await sent(site)
        assert (step, record.state, record.status) == (Step.ENDED, State.DONE, status)
        assert record.resource is None
        assert await site.answer(record) == answered(status)

    async def test_a_route_without_a_probe_is_sent_as_it_came(self, site: Site) -> None:
        site.cloud.script.append(answered(202))
        raw = b'{ "os-start" : null }'
        step, record = await sent(site, path=f"{SERVERS}/s-1/action", raw=raw)
        assert (step, record.state, record.resource) == (Step.ENDED, State.DONE, None)
        assert site.cloud.posts()[0].call.body == raw


class TestAmbiguous:
    @pytest.mark.parametrize("trouble", [answered(500), answered(503), Lost("reset")])
    async def test_it_is_not_sent_again_blindly(self, site: Site, trouble: Answer | Lost) -> None:
        site.cloud.script.append(trouble)
        crew, job = await taken_up(site)
        assert await crew.executor.send(job) is Step.RECONCILE
        assert len(site.cloud.posts()) == 1
        assert (await site.record(job.record)).state is State.SENDING
        assert job.record.sending.verdict is Verdict.AMBIGUOUS
        assert crew.count("dedupd_attempts_total", outcome="ambiguous") == 1

    @pytest.mark.parametrize("body", [b'{"server": {"id": "5d', b"", b"<h1>Accepted</h1>", b"{}"])
    async def test_nor_when_the_answer_does_not_name_what_was_made(
        self, site: Site, body: bytes
    ) -> None:
        """Where its end is that of the connection it may be one half; or not Nova's at all."""
        crew, job = await taken_up(site)

        async def made(call: Call) -> None:
            if call.method == "POST":
                site.cloud.carry_out(call)

        site.cloud.before_send = made
        site.cloud.script.append(answered(202, body=body))
        assert await crew.executor.send(job) is Step.RECONCILE
        assert (job.record.state, job.record.sending.status) == (State.SENDING, None)
        assert "does not name what it made" in job.record.sending.detail
        await crew.reconciler.decide(job)
        [server] = site.servers()
        done = await site.record(job.record)
        assert done.resource
        assert (done.state, done.status, done.resource.id) == (State.DONE, 202, server["id"])
        assert server["id"].encode() in (await site.answer(done)).body

    async def test_nor_when_nova_takes_too_long(self, site: Site) -> None:
        site.cloud.torment(Rule(fault="delay-before", method="POST", seconds=LIMITS.send + 1))
        crew, job = await taken_up(site)
        assert await crew.executor.send(job) is Step.RECONCILE
        assert not site.servers()
        await asyncio.sleep(2)
        assert len(site.servers()) == 1, "it took effect all the same"

    async def test_what_follows_no_effect_may_be_ambiguous(self, site: Site) -> None:
        site.cloud.script += [REFUSED, answered(503)]
        crew, job = await taken_up(site)
        assert await crew.executor.send(job) is Step.RECONCILE


def questions_meet(site: Site, what: Answer | NotSent, times: int) -> None:
    """What so many GETs, four to a question, meet in the place of Nova."""
    left, carry_out = [what] * times, site.cloud.carry_out

    def met(call: Call) -> Answer:
        if call.method != "GET" or not left:
            return carry_out(call)
        left.pop()
        assert isinstance(what, Answer)
        return what

    async def before(call: Call) -> None:
        if call.method == "GET" and left and isinstance(what, NotSent):
            left.pop()
            raise what

    site.cloud.before_send, site.cloud.carry_out = before, met  # type: ignore[method-assign]


class TestWhatWasThereBefore:
    @pytest.mark.parametrize("there", [True, False])
    async def test_is_asked_before_the_first_send_and_written_with_it(
        self, site: Site, there: bool
    ) -> None:
        if there:
            crew, job = await taken_up(site, document=KEYPAIR, path=KEYPAIRS, version="2.2")
            await crew.executor.send(job)
        seen: list[bool | None] = []

        async def look(call: Call) -> None:
            if call.method == "POST":
                seen.append(site.now(record).existed)

        crew, job = await taken_up(
            site, document=KEYPAIR, path=KEYPAIRS, version="2.2", client_token="bar"
        )
        record = job.record
        site.cloud.before_send = look
        await crew.executor.send(job)
        assert [sent.call.method for sent in site.cloud.sent][-2:] == ["GET", "POST"]
        assert seen == [there]
        done = await site.record(record)
        assert (done.existed, done.status) == (there, 409 if there else 201)

    async def test_while_nova_cannot_be_asked_nothing_is_sent(self, site: Site) -> None:
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10_000))
        crew = await site.started()
        record = await site.submitted(KEYPAIR, path=KEYPAIRS, version="2.2")
        released = await site.until_state(record, State.RELEASED)
        assert not site.cloud.posts()
        assert not released.attempts
        assert (released.status, (await site.answer(record)).status) == (502, 502)
        assert b"nothing was sent" in (await site.answer(record)).body
        await crew.service.stop()

    async def test_where_nova_turns_the_question_down_it_waits_as_nova_asks(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As if its POST had been turned down."""
        questions_meet(site, answered(429, b"100"), times=4)
        crew = await site.hired(lease_seconds=LASTING)
        _, job = await taken_up(site, crew, document=KEYPAIR, path=KEYPAIRS, version="2.2")
        began, turned_down = site.clock(), list[Record]()
        assert await crew.executor.send(job, turned_down.append) is Step.ENDED
        [waited] = turned_down
        assert (waited.owner, waited.attempts) == (crew.lease.worker_id, ())
        [post] = site.cloud.posts()
        assert post.when >= began + 100
        assert "no effect, tried again: not sent: GET" in caplog.text
        assert "Nova answered 429" in caplog.text

    async def test_it_is_released_with_the_pause_that_nova_asks_for(self, site: Site) -> None:
        questions_meet(site, answered(429, b"100000"), times=4)
        crew, job = await taken_up(site, document=KEYPAIR, path=KEYPAIRS, version="2.2")
        assert await crew.executor.send(job) is Step.ENDED
        answer = await site.answer(job.record)
        assert (answer.status, answer.header(b"retry-after")) == (502, b"100000")

    @pytest.mark.parametrize("met", [REFUSED, answered(503)], ids=["refused", "503"])
    async def test_what_cannot_be_asked_was_not_turned_down(
        self, site: Site, met: Answer | NotSent
    ) -> None:
        """Where Nova is away its message is kept, like those of all others."""
        questions_meet(site, met, times=4)
        crew, job = await taken_up(site, document=KEYPAIR, path=KEYPAIRS, version="2.2")
        turned_down = list[Record]()
        assert await crew.executor.send(job, turned_down.append) is Step.ENDED
        assert not turned_down
        assert len(site.cloud.posts()) == 1

    async def test_once_it_can_it_is(self, site: Site) -> None:
        site.cloud.torment(Rule(fault="503-before", method="GET", times=9))
        crew = await site.started()
        record = await site.submitted(KEYPAIR, path=KEYPAIRS, version="2.2")
        done = await site.until_state(record, State.DONE)
        assert (done.existed, done.status) == (False, 201)
        await crew.service.stop()

    async def test_it_is_asked_again_as_long_as_nothing_was_sent(self, site: Site) -> None:
        """Another may have made it meanwhile: what is there then is not ours to delete."""
        crew = await site.hired(lease_seconds=LASTING)
        _, job = await taken_up(site, crew, document=KEYPAIR, path=KEYPAIRS, version="2.2")
        site.cloud.script += [answered(429, b"60")]
        sending = asyncio.create_task(crew.executor.send(job))
        await site.until(lambda: site.now(job.record).retry_until is not None)
        assert (await site.record(job.record)).existed is False
        headers = [("X-Auth-Token", f"{USER}:{PROJECT}"), ("OpenStack-API-Version", "compute 2.2")]
        site.cloud.nova.handle("POST", KEYPAIRS, headers, msgspec.json.encode(KEYPAIR))
        await sending
        done = await site.record(job.record)
        assert (done.existed, done.status) == (True, 409)


Move = Callable[[Record], Awaitable[Record | None]]


async def sent_and_seen_to(crew: Crew, job: Job) -> Step:
    """As the service does it."""
    step = await crew.executor.send(job)
    if step is Step.OVERTAKEN:
        await crew.executor.compensation.see_to(job)
    return step


class TestTheRaceForTheCommit:
    """A worker that was stalled while it sent finds that another went on without it."""

    async def race(self, site: Site, move: Move, **what: Any) -> tuple[Crew, Record]:
        crew, job = await taken_up(site, **what)

        async def meanwhile(call: Call) -> None:
            if call.method == "POST":
                await move(await site.record(job.record))

        site.cloud.before_send = meanwhile
        await sent_and_seen_to(crew, job)
        return crew, job.record

    def done(self, site: Site, resource: Resource | None, status: int = 202) -> Move:
        async def move(record: Record) -> Record | None:
            ended = request.finish(record, site.clock(), status=status, resource=resource, keep=60)
            return await site.store.swap(record, ended, result=b"theirs")

        return move

    @pytest.mark.parametrize("resource", [Resource("server", "theirs"), None])
    async def test_what_it_made_is_deleted_where_the_record_names_another(
        self, site: Site, resource: Resource | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, record = await self.race(site, self.done(site, resource))
        assert not site.servers()
        assert (await site.record(record)).resource == resource
        assert crew.count("dedupd_compensations_total") == 1
        [effect, deletion] = site.cloud.nova.ledger
        assert effect.resources == deletion.resources
        assert f"server {effect.resources[0]}, made by a worker that had lost" in caplog.text
        assert "was deleted" in caplog.text

    async def test_only_if_it_carries_the_mark(self, site: Site) -> None:
        async def strip_the_mark(call: Call) -> None:
            if call.method == "POST":
                await self.done(site, Resource("server", "theirs"))(await site.record(job.record))
            for server in site.cloud.nova._world.servers.values():
                site.cloud.nova._world.set_tags(server, ())

        crew, job = await taken_up(site)
        site.cloud.before_send = strip_the_mark
        assert await sent_and_seen_to(crew, job) is Step.OVERTAKEN
        assert len(site.servers()) == 1
        assert crew.count("dedupd_compensations_total") == 0

    async def test_not_where_the_record_names_it(self, site: Site) -> None:
        """Another worker found it first, and told of it in slightly other words."""
        swap = site.store.swap

        async def adopted_by_another(
            before: Record, after: Record, *, result: bytes | None = None, **named: Any
        ) -> Record | None:
            if after.state is State.DONE and after.resource:
                known = msgspec.structs.replace(after.resource, link="/elsewhere")
                theirs = msgspec.structs.replace(after, resource=known)
                await swap(before, theirs, result=result)
            return await swap(before, after, result=result, **named)

        site.store.swap = adopted_by_another  # type: ignore[method-assign]
        crew, job = await taken_up(site)
        assert await sent_and_seen_to(crew, job) is Step.OVERTAKEN
        assert len(site.servers()) == 1
        assert not site.cloud.of("DELETE")

    async def taken_over(self, site: Site) -> tuple[Crew, Record, asyncio.Task[Step]]:
        """It has sent and been answered, while another worker has sent it once more."""
        crew, job = await taken_up(site)

        async def take_over(call: Call) -> None:
            if call.method == "POST":
                record = await site.record(job.record)
                again = request.begin_send(record, "another", site.clock(), LIMITS.send)
                await site.store.swap(record, again)

        site.cloud.before_send = take_over
        sending = asyncio.create_task(sent_and_seen_to(crew, job))
        await asyncio.sleep(20)
        assert len(site.servers()) == 1
        assert not sending.done(), "the other may still find what was made"
        return crew, await site.record(job.record), sending

    async def test_what_another_finds_is_left(self, site: Site) -> None:
        _, record, sending = await self.taken_over(site)
        [server] = site.servers()
        await self.done(site, Resource("server", server["id"]))(record)
        assert await sending is Step.OVERTAKEN
        assert len(site.servers()) == 1

    async def test_what_another_does_not_find_is_deleted(self, site: Site) -> None:
        """It had looked before, sends for itself, and is answered."""
        crew, record, sending = await self.taken_over(site)
        await self.done(site, Resource("server", "theirs"))(record)
        assert await sending is Step.OVERTAKEN
        assert not site.servers()
        assert crew.count("dedupd_compensations_total") == 1

    async def released(self, site: Site) -> tuple[Crew, Record, asyncio.Task[Step]]:
        crew, record, sending = await self.taken_over(site)
        ended = request.release(record, site.clock(), status=429, keep=60)
        written = await site.store.swap(record, ended, result=b"theirs")
        assert written
        return crew, written, sending

    async def test_what_was_released_in_the_end_is_deleted(self, site: Site) -> None:
        """A repeat will be carried out anew: nothing may be left of this one."""
        *_, sending = await self.released(site)
        assert await sending is Step.OVERTAKEN
        assert not site.servers()

    @pytest.mark.parametrize("adopted", [True, False])
    async def test_a_later_life_of_the_token_may_have_found_it(
        self, site: Site, adopted: bool
    ) -> None:
        """It bears the same mark."""
        *_, sending = await self.released(site)
        again = await site.claimed()
        await asyncio.sleep(20)
        assert not sending.done()
        [server] = site.servers()
        name = server["id"] if adopted else "theirs"
        await self.done(site, Resource("server", name))(again)
        assert await sending is Step.OVERTAKEN
        assert len(site.servers()) == adopted

    async def test_what_an_operator_made_the_store_forget_is_left(self, site: Site) -> None:
        _, record, sending = await self.released(site)
        await site.store.forget(record)
        assert await sending is Step.OVERTAKEN
        assert len(site.servers()) == 1

    async def test_what_became_unknown_is_left_to_be_adopted(self, site: Site) -> None:
        _, record, sending = await self.taken_over(site)
        await site.store.swap(record, request.give_up(record, "a cell is down"))
        assert await sending is Step.OVERTAKEN
        assert len(site.servers()) == 1

    async def test_it_does_not_wait_for_ever(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If the other has died, this very worker may have to take the request over."""
        *_, sending = await self.taken_over(site)
        began = site.clock()
        assert await sending is Step.OVERTAKEN
        assert site.clock() - began < LIMITS.settle + LIMITS.retry
        assert len(site.servers()) == 1
        assert "was not deleted" in caplog.text

    @pytest.mark.parametrize("unknown", [True, False])
    @pytest.mark.parametrize("status", [202, 400])
    @pytest.mark.parametrize("probed", [True, False])
    async def test_an_answer_counts_if_nothing_was_decided_since(
        self, site: Site, probed: bool, status: int, unknown: bool
    ) -> None:
        """The worker lives, but the store was away for longer than its lease."""

        async def move(record: Record) -> Record | None:
            taken = request.take_over(
                request.end_attempt(record, Verdict.AMBIGUOUS, site.clock()), "another"
            )
            return await site.store.swap(
                record, request.give_up(taken, "nobody can tell") if unknown else taken
            )

        what = {} if probed else {"path": ACTION, "document": {"reboot": {}}}
        if not probed or status != 202:
            site.cloud.script.append(answered(status))
        crew, record = await self.race(site, move, **what)
        ended = await site.record(record)
        assert (ended.state, ended.status, ended.detail) == (State.DONE, status, "")
        assert ended.sending.verdict is Verdict.ANSWERED
        assert not site.cloud.of("DELETE")
        assert crew.count("dedupd_compensations_total") == 0

    async def test_but_not_of_an_earlier_life(self, site: Site) -> None:
        async def move(record: Record) -> Record | None:
            await site.store.forget(record)
            again = await site.claimed({"reboot": {}}, path=ACTION)
            sending = msgspec.structs.replace(
                request.begin_send(again, "another", site.clock(), LIMITS.send),
                attempts=record.attempts,
            )
            return await site.store.swap(again, sending)

        _, record = await self.race(site, move, path=ACTION, document={"reboot": {}})
        assert (await site.record(record)).state is State.SENDING

    async def test_nor_where_an_operator_has_it_sent_again(self, site: Site) -> None:
        async def move(record: Record) -> Record | None:
            return await site.store.swap(record, request.send_again(record, "by an operator"))

        _, record = await self.race(site, move, path=ACTION, document={"reboot": {}})
        assert (await site.record(record)).state is State.QUEUED

    async def test_what_is_decided_while_it_is_taken_in_stays(self, site: Site) -> None:
        """Each turn compares anew with what stands."""
        read, moves = site.store.read, [request.take_over, request.give_up]

        async def moving(ids: Any) -> dict[str, Stored]:
            standing = await read(ids)
            for stored in standing.values():
                if moves and stored.record.attempts:
                    await site.store.swap(stored.record, moves.pop(0)(stored.record, "another"))
            return standing

        async def move(record: Record) -> Record | None:
            site.store.read = moving  # type: ignore[method-assign]
            return await site.store.swap(record, request.take_over(record, "another"))

        _, record = await self.race(site, move, path=ACTION, document={"reboot": {}})
        assert not moves
        assert (await site.record(record)).state is State.DONE

    async def test_not_where_it_made_nothing(self, site: Site) -> None:
        site.cloud.script.append(answered(409))
        _, record = await self.race(site, self.done(site, Resource("server", "theirs")))
        assert not site.cloud.of("DELETE")
        assert (await site.record(record)).status == 202

    async def test_a_deletion_that_cannot_be_asked_for_is_reported(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10_000))
        await self.race(site, self.done(site, Resource("server", "theirs")))
        assert len(site.servers()) == 1
        assert "was not deleted" in caplog.text

    async def test_a_release_by_a_worker_that_lost_the_request_changes_nothing(
        self, site: Site
    ) -> None:
        site.cloud.script.append(answered(401))
        crew, record = await self.race(site, self.done(site, Resource("server", "theirs")))
        assert (await site.record(record)).state is State.DONE
        assert crew.count("dedupd_requests_ended_total", state="released") == 0

    async def test_nor_does_a_retry(self, site: Site) -> None:
        site.cloud.script.append(answered(429))
        _, record = await self.race(site, self.done(site, Resource("server", "theirs")))
        assert (await site.record(record)).state is State.DONE
        assert len(site.cloud.posts()) == 1


class TestCommit:
    """Nova's answer is not given up: it is committed until it stands."""

    async def test_goes_on_while_the_store_is_away(self, site: Site) -> None:
        crew, job = await taken_up(site)

        async def lose_the_store(call: Call) -> None:
            if call.method == "POST":
                site.store.away = True
                asyncio.get_running_loop().call_later(100, setattr, site.store, "away", False)

        site.cloud.before_send = lose_the_store
        began = site.clock()
        assert await crew.executor.send(job) is Step.ENDED
        assert 100 <= site.clock() - began < 110
        assert (await site.record(job.record)).state is State.DONE
        assert len(site.cloud.posts()) == len(site.servers()) == 1

    async def test_knows_its_own_write_again(self, site: Site) -> None:
        """The acknowledgement was lost: what stands there is ours, so nothing is undone."""
        crew, job = await taken_up(site)

        async def lose_the_acknowledgement(call: Call) -> None:
            if call.method == "POST":
                site.store.lost = 1

        site.cloud.before_send = lose_the_acknowledgement
        assert await crew.executor.send(job) is Step.ENDED
        assert job.record.state is State.DONE
        assert len(site.servers()) == 1
        assert not site.cloud.of("DELETE")
        assert crew.count("dedupd_requests_ended_total", state="done") == 1
