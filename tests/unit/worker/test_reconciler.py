"""Nothing is sent again before a look that began after the settle time has found nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from dedupd import request, ssh_key
from dedupd.exchange import Answer, Call
from dedupd.ports import Lost, NotSent
from dedupd.request import Record, Resource, State, Verdict
from dedupd.sim.faults import Rule
from dedupd.worker.executor import IN_VAIN, Step
from dedupd.worker.job import Job
from dedupd.worker.reconciler import Decision
from tests.unit.site import AUTH, KEYPAIRS, LASTING, LIMITS, SERVERS, VM, Crew, Site, call_of

VIRTUAL_TIME = True

LOST = Lost("reset")
QUOTA = Answer(403, (), b'{"forbidden": {"code": 403, "message": "Quota exceeded for cores"}}')
KEYPAIR = {"keypair": {"name": "kp"}}
SETTLED = LIMITS.connect + LIMITS.send + LIMITS.settle
"""Seconds after a send began, until which its effect may come."""

EFFECTS = [
    pytest.param(Rule(fault="drop-after", method="POST"), id="lost answer"),
    pytest.param(Rule(fault="503-after", method="POST"), id="5xx after the commit"),
    pytest.param(Rule(fault="delay-after", method="POST", seconds=40), id="late answer"),
    pytest.param(Rule(fault="delay-before", method="POST", seconds=40), id="late effect"),
    pytest.param(Rule(fault="late-commit", method="POST", seconds=80), id="late commit"),
    pytest.param(
        Rule(fault="late-commit", method="POST", seconds=SETTLED - 1, status=0), id="just settled"
    ),
]
NO_EFFECTS = [
    pytest.param(Rule(fault="drop-before", method="POST"), id="dropped"),
    pytest.param(Rule(fault="503-before", method="POST"), id="5xx"),
]


async def in_doubt(
    site: Site, rule: Rule | None = None, crew: Crew | None = None, **what: Any
) -> tuple[Crew, Job]:
    """A request that was sent, and a worker that does not know what became of it."""
    crew = crew or await site.hired(lease_seconds=LASTING)
    site.cloud.torment(*([rule] if rule else []))
    job = await site.job(await site.claimed(**what), crew)
    if rule is None:
        site.cloud.script.append(LOST)
    assert await crew.executor.send(job) is Step.RECONCILE
    return crew, job


def fits(private_key: str, public_key: str) -> bool:
    """Whether these are the two halves of one key."""
    private = serialization.load_pem_private_key(private_key.encode(), password=None)
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public_key.startswith(public.decode())


def looks(site: Site, after: float) -> list[float]:
    """When it was looked for servers by the mark, or by name."""
    return [
        sent.when
        for sent in site.cloud.of("GET")
        if sent.path.endswith("/servers/detail")
        and sent.when >= after
        and "changes-since" not in sent.query
    ]


def listed(site: Site) -> int:
    return len(site.servers())


class TestFound:
    @pytest.mark.parametrize("rule", EFFECTS)
    @pytest.mark.parametrize("version", ["2.96", "2.51"], ids=["by tag", "by metadata"])
    async def test_what_took_effect_is_adopted_and_nothing_sent_again(
        self, site: Site, rule: Rule, version: str
    ) -> None:
        crew, job = await in_doubt(site, rule, version=version)
        assert await crew.reconciler.decide(job) is Decision.ENDED
        [server] = site.servers()
        record = await site.record(job.record)
        assert (record.state, record.status) == (State.DONE, 202)
        assert record.resource is not None
        assert record.resource.id == server["id"]
        assert (record.sending.verdict, record.sending.status) == (Verdict.ADOPTED, 202)
        assert len(site.cloud.posts()) == 1
        assert crew.count("dedupd_probe_findings_total", finding="found") == 1
        assert crew.count("dedupd_requests_ended_total", state="done") == 1

    async def test_the_answer_is_the_one_that_was_lost(self, site: Site) -> None:
        crew, job = await in_doubt(site, Rule(fault="drop-after", method="POST"))
        assert await crew.reconciler.decide(job) is Decision.ENDED
        adopted, lost = await site.answer(job.record), site.cloud.made[0]
        assert adopted.status == lost.status
        assert msgspec.json.decode(adopted.body) == msgspec.json.decode(lost.body)
        for name in (b"location", b"content-type", b"x-openstack-request-id", b"vary"):
            assert adopted.header(name) == lost.header(name)

    async def test_the_first_look_is_at_once_and_the_next_ones_grow(self, site: Site) -> None:
        crew, job = await in_doubt(site, Rule(fault="late-commit", method="POST", seconds=20))
        began = site.clock()
        await crew.reconciler.decide(job)
        times = [when - began for when in looks(site, began)]
        bare = sorted({round(when, 2) for when in times})
        assert bare[:4] == pytest.approx([0, 0.25, 0.75, 1.75], abs=0.01)

    async def test_a_lost_acknowledgement_of_the_adoption_changes_nothing(self, site: Site) -> None:
        crew, job = await in_doubt(site, Rule(fault="drop-after", method="POST"))
        site.store.lost = 1
        assert await crew.reconciler.decide(job) is Decision.ENDED
        assert (await site.record(job.record)).state is State.DONE
        assert listed(site) == 1


class TestNotFound:
    @pytest.mark.parametrize("rule", NO_EFFECTS)
    async def test_it_is_sent_again_only_after_a_look_that_began_settled(
        self, site: Site, rule: Rule
    ) -> None:
        crew, job = await in_doubt(site, rule)
        settled = job.record.sending.send_deadline + LIMITS.settle
        assert settled == site.cloud.posts()[0].when + SETTLED
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        last_look = [sent for sent in site.cloud.of("GET") if sent.when >= settled]
        assert {sent.path for sent in last_look} == {f"{SERVERS}/detail"}
        assert site.clock() == pytest.approx(settled, abs=1)
        assert job.record.sending.verdict is Verdict.ABSENT
        assert (await site.record(job.record)).state is State.SENDING, "nobody else may take it"
        assert await crew.executor.send(job) is Step.ENDED
        record = await site.record(job.record)
        assert [attempt.verdict for attempt in record.attempts] == [
            Verdict.ABSENT,
            Verdict.ANSWERED,
        ]
        assert listed(site) == 1

    async def test_an_effect_in_the_last_moment_is_not_missed(self, site: Site) -> None:
        """It comes after one look has begun and before the settle time: one more look is due."""
        crew, job = await in_doubt(site)
        settled = job.record.sending.send_deadline + LIMITS.settle
        begun = settled - 0.001 - site.clock()
        post = site.cloud.posts()[0].call
        asyncio.get_running_loop().call_later(begun, site.cloud.carry_out, post)
        assert await crew.reconciler.decide(job) is Decision.ENDED
        assert listed(site) == 1

    async def test_a_look_that_began_before_does_not_count(self, site: Site) -> None:
        """A slow Nova: the answer comes when all is settled, the question was older."""
        crew, job = await in_doubt(site)
        settled = job.record.sending.send_deadline + LIMITS.settle
        slow = Rule(fault="delay-after", method="GET", seconds=9, times=10_000)
        site.cloud.torment(slow)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        bare = [sent.when for sent in site.cloud.of("GET") if "tags" in sent.query]
        assert bare[-1] >= settled

    async def test_what_costs_nova_much_is_asked_only_when_all_has_settled(
        self, site: Site
    ) -> None:
        """What was deleted or renamed since is found in a list of everything that changed."""
        crew, job = await in_doubt(site)
        settled = job.record.sending.send_deadline + LIMITS.settle
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        asked = [sent for sent in site.cloud.of("GET") if "tags" not in sent.query]
        assert asked
        assert all(sent.when >= settled for sent in asked)

    async def test_the_settle_time_begins_when_nova_has_surely_taken_the_post(
        self, site: Site
    ) -> None:
        """A look on a new connection, which waits behind the POST's, is answered at last."""
        crew, job = await in_doubt(site)
        deadline = job.record.sending.send_deadline
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10**6))
        answering = deadline + LIMITS.settle / 2 - site.clock()
        asyncio.get_running_loop().call_later(answering, site.cloud.torment)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        asked = site.cloud.of("GET")
        behind = [sent for sent in asked if sent.afresh]
        assert asked[: len(behind)] == behind
        assert len(behind) < len(asked)
        assert behind[-1].when > deadline
        assert site.clock() == pytest.approx(behind[-1].when + LIMITS.settle, abs=0.1)

    async def test_it_begins_when_the_look_was_answered_not_when_it_began(self, site: Site) -> None:
        crew, job = await in_doubt(site)
        late = LIMITS.connect + LIMITS.send + 10
        site.cloud.torment(Rule(fault="delay-after", method="GET", seconds=late))
        began = site.clock()
        site.limits = dataclasses.replace(LIMITS, send=2 * late)
        crew = await site.hired(lease_seconds=LASTING)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert site.clock() >= began + late + LIMITS.settle

    async def test_who_is_answered_late_is_patient_for_as_long_again(self, site: Site) -> None:
        crew, job = await in_doubt(site)
        loop, silent = (
            asyncio.get_running_loop(),
            Rule(fault="503-before", method="GET", times=10**6),
        )
        answering = job.record.sending.send_deadline + LIMITS.settle + LIMITS.retry - site.clock()
        site.cloud.torment(silent)
        loop.call_later(answering - 20, site.cloud.torment)
        loop.call_later(answering, site.cloud.torment, silent)
        loop.call_later(answering + LIMITS.settle + 20, site.cloud.torment)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN

    async def test_after_a_second_send_it_begins_anew(self, site: Site) -> None:
        crew, job = await in_doubt(site)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        site.cloud.script.append(LOST)
        assert await crew.executor.send(job) is Step.RECONCILE
        asked = len(site.cloud.of("GET"))
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert site.cloud.of("GET")[asked].afresh

    async def test_it_is_not_sent_for_ever(self, site: Site) -> None:
        """A Nova that fails each time, and makes nothing: its last answer is the caller's."""
        site.cloud.torment(Rule(fault="500-before", method="POST", times=10**6))
        crew = await site.started(lease_seconds=LASTING)
        began = site.clock()
        record = await site.until_state(await site.submitted(), State.RELEASED)
        known = record.attempts[0].ended_at or began
        assert known + LIMITS.retry <= site.clock() < known + LIMITS.retry + 2 * SETTLED
        assert record.status == 500
        assert (await site.answer(record)).body == b"injected fault\n"
        verdicts = {attempt.verdict for attempt in record.attempts}
        assert verdicts == {Verdict.ABSENT}
        sent = len(site.cloud.posts())
        assert sent > 2
        await asyncio.sleep(86400)
        assert len(site.cloud.posts()) == sent
        await crew.service.stop()

    async def test_nor_where_the_first_sends_did_not_arrive(self, site: Site) -> None:
        """The record keeps some attempts only, and remembers all the same since when it is so."""
        site.limits = dataclasses.replace(LIMITS, send=5, settle=5, retry=2000)
        refused = NotSent("refused")
        site.cloud.script += [refused, *[LOST] * 10_000]
        crew = await site.started(lease_seconds=LASTING)
        record = await site.until_state(await site.submitted(), State.RELEASED)
        assert record.attempts[0].verdict is Verdict.NO_EFFECT
        assert record.vain_since is not None
        assert record.vain_since + 2000 <= site.clock() < record.vain_since + 2100
        await crew.service.stop()

    @pytest.mark.parametrize("then", [LOST, NotSent("refused"), QUOTA])
    async def test_a_sender_who_sleeps_longer_undoes_what_it_makes(
        self, site: Site, then: Lost | NotSent | Answer
    ) -> None:
        """However it was released after that; the record stands so long that it is found."""
        crew, job = await in_doubt(site)
        asleep = await site.job(job.record, crew)
        site.cloud.script += [then] * 10_000
        step = Step.RECONCILE
        while step is Step.RECONCILE and await crew.reconciler.decide(job) is Decision.SEND_AGAIN:
            step = await crew.executor.send(job)
        assert (await site.record(job.record)).state is State.RELEASED
        await asyncio.sleep(LIMITS.result - 1)
        assert not await site.store.overdue(site.clock(), 1)
        site.cloud.script.clear()
        site.cloud.carry_out(site.cloud.posts()[0].call)
        [late] = site.servers()
        await crew.executor.compensation.undo(asleep, Resource("server", late["id"]))
        assert not site.servers()

    async def test_what_failed_before_the_last_send_is_not_its_answer(self, site: Site) -> None:
        """Nova's answer to the last send counts, and there is none if that was lost."""
        site.limits = dataclasses.replace(LIMITS, retry=0)
        crew, job = await in_doubt(site, Rule(fault="500-before", method="POST"))
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        site.cloud.script.append(LOST)
        assert await crew.executor.send(job) is Step.RECONCILE
        assert await crew.reconciler.decide(job) is Decision.ENDED
        assert await site.answer(job.record) == IN_VAIN

    async def test_that_it_was_is_known_when_its_attempt_is_forgotten(self, site: Site) -> None:
        """The first sender wakes up late: who adopts what it made has sent, too."""
        site.cloud.script.append(NotSent("refused"))
        crew, job = await in_doubt(site)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        site.cloud.script += [*[NotSent("refused")] * request.KEPT_ATTEMPTS, LOST]
        assert await crew.executor.send(job) is Step.RECONCILE
        assert Verdict.ABSENT not in {attempt.verdict for attempt in job.record.attempts}
        site.cloud.carry_out(site.cloud.posts()[1].call)
        site.cloud.carry_out(site.cloud.posts()[-1].call)
        assert await crew.reconciler.decide(job) is Decision.OVERTAKEN
        await crew.executor.compensation.overtaken(job)
        named = (await site.record(job.record)).resource
        assert named is not None
        assert [server["id"] for server in site.servers()] == [named.id]

    async def test_then_it_is_not_asked_any_more_whether_it_existed(self, site: Site) -> None:
        """What is there may have been made by what was looked for in vain."""
        public = ssh_key.generate().public_key
        site.cloud.script.append(NotSent("refused"))
        imported = {"keypair": {"name": "kp", "public_key": public}}
        crew, job = await in_doubt(site, document=imported, path=KEYPAIRS)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        site.cloud.script += [NotSent("refused")] * request.KEPT_ATTEMPTS
        late = asyncio.create_task(crew.executor.send(job))
        await site.until(lambda: not site.cloud.script)
        site.cloud.carry_out(site.cloud.posts()[1].call)
        await late
        assert (await site.record(job.record)).existed is False

    async def test_but_once_more_however_short_the_time_is(self, site: Site) -> None:
        """And of that another worker may know no answer."""
        site.limits = dataclasses.replace(LIMITS, retry=0)
        crew, job = await in_doubt(site)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        site.cloud.script.append(LOST)
        assert await crew.executor.send(job) is Step.RECONCILE
        job = await site.job(job.record, crew)
        assert await crew.reconciler.decide(job) is Decision.ENDED
        record = await site.record(job.record)
        assert (record.state, await site.answer(record)) == (State.RELEASED, IN_VAIN)

    async def test_one_unbroken_look_is_needed(self, site: Site) -> None:
        crew, job = await in_doubt(site)
        settled = job.record.sending.send_deadline + LIMITS.settle
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10_000))
        asyncio.get_running_loop().call_later(settled + 50 - site.clock(), site.cloud.torment)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert site.clock() >= settled + 50 + LIMITS.settle


class TestUndecided:
    async def test_while_nova_cannot_be_asked_it_is_asked_again_then_given_up(
        self, site: Site
    ) -> None:
        crew, job = await in_doubt(site)
        settled = job.record.sending.send_deadline + LIMITS.settle
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10**9))
        assert await crew.reconciler.decide(job) is Decision.ENDED
        record = await site.record(job.record)
        assert (record.state, record.detail) == (State.UNKNOWN, "Nova cannot be asked.")
        assert settled + LIMITS.retry <= site.clock() < settled + LIMITS.retry + 25
        assert len(site.cloud.posts()) == 1
        assert crew.count("dedupd_probe_findings_total", finding="cannot-ask") > 10
        assert crew.count("dedupd_requests_ended_total", state="unknown") == 1

    async def test_a_deleted_server_that_may_be_ours_is_unknown_after_settling(
        self, site: Site
    ) -> None:
        crew, job = await in_doubt(site, Rule(fault="drop-after", method="POST"))
        await asyncio.sleep(1)
        [server] = site.servers()
        site.cloud.ask("DELETE", f"{SERVERS}/{server['id']}", AUTH)
        assert await crew.reconciler.decide(job) is Decision.ENDED
        record = await site.record(job.record)
        assert record.state is State.UNKNOWN
        assert server["id"] in record.detail
        assert site.clock() >= record.sending.send_deadline + LIMITS.settle
        assert len(site.cloud.posts()) == 1

    async def test_where_nothing_can_be_found_it_is_unknown_at_once(self, site: Site) -> None:
        action = {"reboot": {"type": "HARD"}}
        crew, job = await in_doubt(site, path=f"{SERVERS}/s-1/action", document=action)
        assert job.probe is None
        began = site.clock()
        assert await crew.reconciler.decide(job) is Decision.ENDED
        record = await site.record(job.record)
        assert record.state is State.UNKNOWN
        assert "no probe can tell whether it took effect (route: server action)" in record.detail
        assert site.clock() == began
        assert not site.cloud.of("GET")

    async def test_another_s_decision_stands(self, site: Site) -> None:
        crew, job = await in_doubt(site, path=f"{SERVERS}/s-1/action", document={"x": None})
        standing = await site.record(job.record)
        theirs = request.finish(standing, site.clock(), status=202, resource=None, keep=60)
        assert await site.store.swap(standing, theirs)
        assert await crew.reconciler.decide(job) is Decision.OVERTAKEN
        assert (await site.record(job.record)).state is State.DONE
        assert crew.count("dedupd_requests_ended_total", state="unknown") == 0


class TestKeypairs:
    """The key was drawn before the claim: its private half survives any loss."""

    async def lost(self, site: Site, fault: str = "drop-after", **what: Any) -> tuple[Crew, Job]:
        rule = Rule(fault=fault, method="POST")
        what = {"document": KEYPAIR, "path": KEYPAIRS, "version": "2.2"} | what
        return await in_doubt(site, rule, **what)

    def effects(self, site: Site) -> list[str]:
        return [effect.method for effect in site.cloud.nova.ledger]

    async def told(self, site: Site, job: Job) -> dict[str, Any]:
        """What the caller is told of the keypair that stands in Nova."""
        answer = await site.answer(job.record)
        told: dict[str, Any] = msgspec.json.decode(answer.body)["keypair"]
        shown = msgspec.json.decode(site.cloud.ask("GET", f"{KEYPAIRS}/kp", AUTH).body)
        assert told["public_key"] == shown["keypair"]["public_key"]
        return told

    async def test_it_is_adopted_with_its_private_key(self, site: Site) -> None:
        crew, job = await self.lost(site)
        assert await crew.reconciler.decide(job) is Decision.ENDED
        told = await self.told(site, job)
        assert fits(told["private_key"], told["public_key"])
        assert self.effects(site) == ["POST"]

    async def test_where_nothing_was_made_the_same_key_is_sent_again(self, site: Site) -> None:
        crew, job = await self.lost(site, "drop-before")
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert await crew.executor.send(job) is Step.ENDED
        told = await self.told(site, job)
        assert fits(told["private_key"], told["public_key"])
        keys = [post.document["keypair"]["public_key"] for post in site.cloud.posts()]
        assert keys == 2 * [told["public_key"]]
        assert self.effects(site) == ["POST"]

    async def test_one_that_somebody_made_meanwhile_is_left_alone(self, site: Site) -> None:
        """Under the same name, by hand, while the answer is in doubt."""
        crew, job = await self.lost(site, "drop-before")
        site.cloud.carry_out(call_of(KEYPAIR, KEYPAIRS, "2.2"))
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert await crew.executor.send(job) is Step.ENDED
        assert (await site.record(job.record)).status == 409
        assert self.effects(site) == ["POST"]


class TestSurplus:
    async def twice(self, site: Site, duplicates: str) -> tuple[Crew, Job, list[dict[str, Any]]]:
        """What was sent took effect twice, which Nova does not do; a proxy may."""
        crew = await site.hired(lease_seconds=LASTING, duplicates=duplicates)
        _, job = await in_doubt(site, crew=crew)
        post = site.cloud.posts()[0].call
        for _ in range(3):
            site.cloud.carry_out(post)
            await asyncio.sleep(2)
        return crew, job, site.servers()

    async def test_the_oldest_is_kept_and_the_rest_reported(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job, servers = await self.twice(site, "report")
        oldest, *rest = [server["id"] for server in servers]
        assert await crew.reconciler.decide(job) is Decision.ENDED
        record = await site.record(job.record)
        assert record.resource is not None
        assert record.resource.id == oldest
        assert listed(site) == 3
        assert crew.count("dedupd_surplus_effects_total") == 2
        assert f"kept {oldest}, also found {', '.join(rest)}" in caplog.text

    async def test_or_deleted_where_that_is_configured(self, site: Site) -> None:
        crew, job, servers = await self.twice(site, "delete")
        assert await crew.reconciler.decide(job) is Decision.ENDED
        assert [server["id"] for server in site.servers()] == [servers[0]["id"]]

    async def test_what_cannot_be_deleted_is_reported(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job, servers = await self.twice(site, "delete")
        site.cloud.torment(
            Rule(fault="503-before", method="DELETE", path=servers[1]["id"], times=10**9)
        )
        assert await crew.reconciler.decide(job) is Decision.ENDED
        assert [server["id"] for server in site.servers()] == [row["id"] for row in servers[:2]]
        assert f"{servers[1]['id']} was not deleted" in caplog.text

    async def test_nothing_is_deleted_by_whoever_lost_the_race(self, site: Site) -> None:
        """The record names what another worker kept: that may be one of "the rest" here."""
        crew, job, servers = await self.twice(site, "delete")
        kept = Resource("server", servers[2]["id"])
        standing = await site.record(job.record)
        theirs = request.finish(standing, site.clock(), status=202, resource=kept, keep=60)
        assert await site.store.swap(standing, theirs)
        assert await crew.reconciler.decide(job) is Decision.OVERTAKEN
        assert servers[2]["id"] in [server["id"] for server in site.servers()]

    async def test_as_many_as_were_asked_for_are_none_too_many(self, site: Site) -> None:
        many = {"server": VM["server"] | {"min_count": 3}}
        crew, job = await in_doubt(site, Rule(fault="drop-after", method="POST"), document=many)
        assert await crew.reconciler.decide(job) is Decision.ENDED
        record = await site.record(job.record)
        first = next(row for row in site.servers() if row["name"] == "vm-1")
        assert record.resource is not None
        assert record.resource.id == first["id"], "Nova's answer names the first"
        assert crew.count("dedupd_surplus_effects_total") == 0


class TestTakeOver:
    async def sending(self, site: Site, verdict: Verdict = Verdict.SENDING) -> Record:
        record = await site.claimed()
        sending = request.begin_send(record, "dead", site.clock(), 35)
        if verdict is not Verdict.SENDING:
            sending = request.end_attempt(sending, verdict, site.clock(), detail="lost")
        written = await site.store.swap(record, sending)
        assert written
        return written

    async def test_makes_it_ours(self, site: Site) -> None:
        crew, record = await site.hired(), await self.sending(site)
        ours = await crew.reconciler.take_over(record)
        assert ours == await site.record(record)
        assert (ours.state, ours.owner) == (State.SENDING, crew.lease.worker_id)
        assert (ours.sending.verdict, ours.sending.detail) == (Verdict.AMBIGUOUS, "worker gone")
        assert ours.sending.send_deadline == record.sending.send_deadline, "the settle time stays"

    async def test_long_after_it_was_sent_the_settle_time_begins_anew(self, site: Site) -> None:
        record = await self.sending(site)
        await asyncio.sleep(10 * SETTLED)
        crew, began = await site.hired(), site.clock()
        ours = await crew.reconciler.take_over(record)
        assert ours
        job = await site.job(ours, crew)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert site.clock() >= began + LIMITS.settle

    async def test_keeps_what_is_known_of_the_attempt(self, site: Site) -> None:
        crew, record = await site.hired(), await self.sending(site, Verdict.AMBIGUOUS)
        ours = await crew.reconciler.take_over(record)
        assert ours
        assert ours.sending == record.sending

    async def test_one_of_two_gets_it(self, site: Site) -> None:
        one, other, record = await site.hired(), await site.hired(), await self.sending(site)
        got = [await crew.reconciler.take_over(record) for crew in (one, other)]
        assert got[0] is not None
        assert got[1] is None
        assert (await site.record(record)).owner == one.lease.worker_id

    async def test_not_without_a_living_lease(self, site: Site) -> None:
        crew, record = await site.hired(), await self.sending(site)
        await site.store.retire(crew.lease.worker_id)
        assert await crew.reconciler.take_over(record) is None
        assert await site.record(record) == record


class TestRevisit:
    async def unknown(self, site: Site, **what: Any) -> tuple[Crew, Job]:
        crew, job = await in_doubt(site, **what)
        standing = await site.record(job.record)
        assert await site.store.swap(standing, request.give_up(standing, "a cell is down"))
        return crew, await site.job(job.record, crew)

    async def test_what_is_found_at_last_is_adopted(self, site: Site) -> None:
        crew, job = await self.unknown(site)
        site.cloud.carry_out(site.cloud.posts()[0].call)
        assert await crew.reconciler.revisit(job)
        record = await site.record(job.record)
        assert (record.state, record.status, record.detail) == (State.DONE, 202, "")
        assert (await site.answer(record)).status == 202

    async def test_it_does_not_wait_in_line(self, site: Site) -> None:
        """It decides nothing but what it finds; a hiccup of Nova is no reason to give up."""
        crew, job = await self.unknown(site)
        site.cloud.carry_out(site.cloud.posts()[0].call)
        site.cloud.torment(Rule(fault="503-before", method="GET"))
        assert await crew.reconciler.revisit(job)
        assert not any(sent.afresh for sent in site.cloud.sent)

    async def test_what_is_not_found_stays_unknown_and_is_never_sent_by_itself(
        self, site: Site
    ) -> None:
        crew, job = await self.unknown(site)
        await asyncio.sleep(10 * SETTLED)
        assert not await crew.reconciler.revisit(job)
        assert await site.record(job.record) == job.record
        assert len(site.cloud.posts()) == 1

    async def test_nor_does_what_no_probe_can_find(self, site: Site) -> None:
        crew, job = await self.unknown(site, path=f"{SERVERS}/s/action", document={"x": None})
        assert not await crew.reconciler.revisit(job)
        assert (await site.record(job.record)).state is State.UNKNOWN

    async def test_nor_what_nova_does_not_tell(self, site: Site) -> None:
        crew, job = await self.unknown(site)
        site.cloud.carry_out(site.cloud.posts()[0].call)
        site.cloud.torment(Rule(fault="503-before", method="GET", times=100))
        assert not await crew.reconciler.revisit(job)
        assert (await site.record(job.record)).state is State.UNKNOWN


async def test_without_settle_time_the_look_decides_that_comes_after_one_was_answered(
    site: Site,
) -> None:
    """The settle time begins when the send's own deadline has passed, not before."""
    site.limits = dataclasses.replace(LIMITS, settle=0)
    crew, job = await in_doubt(site)
    assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
    assert site.clock() >= job.record.sending.send_deadline


async def test_the_caller_s_credentials_ask(site: Site) -> None:
    crew, job = await in_doubt(site, Rule(fault="drop-after", method="POST"))
    tokens: set[str | None] = set()

    async def look(_: Call) -> None:
        tokens.add(site.cloud.sent[-1].header("x-auth-token"))

    site.cloud.before_send = look
    await crew.reconciler.decide(job)
    assert tokens == {AUTH}
