"""What a worker may have made after it had lost the request is found, and undone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from dedupd import request
from dedupd.exchange import Answer, Call
from dedupd.ports import Lost
from dedupd.request import Record, Resource, State
from dedupd.sim.faults import Rule
from dedupd.worker.executor import Step
from dedupd.worker.job import Job
from dedupd.worker.reconciler import Decision
from tests.unit.site import KEYPAIRS, LASTING, LIMITS, SERVERS, VM, Crew, Site

VIRTUAL_TIME = True

MANY = {"server": VM["server"] | {"min_count": 2}}


async def overtaken(site: Site, *, made: bool = True, **what: Any) -> tuple[Crew, Job]:
    """It sent, its answer was lost, and meanwhile another worker has the request."""
    crew = await site.hired(lease_seconds=LASTING)
    job = await site.job(await site.claimed(**what), crew)
    site.cloud.script.append(Lost("reset"))
    assert await crew.executor.send(job) is Step.RECONCILE
    standing = await site.record(job.record)
    theirs = request.begin_send(standing, "another", site.clock(), 35)
    assert await site.store.swap(standing, theirs)
    if made:
        await carried_out(site)
    return crew, job


async def carried_out(site: Site) -> list[str]:
    """What was sent takes effect; the ids of what that makes."""
    before = {server["id"] for server in site.servers()}
    site.cloud.carry_out(site.cloud.posts()[0].call)
    await asyncio.sleep(5)  # until Nova has noted which request made them
    return [server["id"] for server in site.servers() if server["id"] not in before]


async def ended(site: Site, job: Job, resource: Resource | None, status: int = 202) -> Record:
    """The other worker commits what it was answered."""
    standing = await site.record(job.record)
    done = request.finish(standing, site.clock(), status=status, resource=resource, keep=60)
    written = await site.store.swap(standing, done, result=b"theirs")
    assert written
    return written


def ids(site: Site) -> list[str]:
    return [server["id"] for server in site.servers()]


def told_as_deleted(crew: Crew, log: str, servers: Collection[str], *, by: str) -> None:
    """Each of them is counted, and told of once; and no other."""
    assert crew.count("dedupd_compensations_total") == len(servers)
    for name in servers:
        assert log.count(f"server {name}, made by {by}, was deleted") == 1
    assert "look after it" not in log


class TestReconciling:
    """A worker learns that it was overtaken when what it found cannot be written."""

    async def test_what_it_finds_is_not_adopted(self, site: Site) -> None:
        crew, job = await overtaken(site)
        assert await crew.reconciler.decide(job) is Decision.OVERTAKEN

    async def test_nor_is_it_given_up(self, site: Site) -> None:
        crew, job = await overtaken(site, made=False)
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10**9))
        assert await crew.reconciler.decide(job) is Decision.OVERTAKEN

    async def test_where_it_finds_nothing_it_made_nothing(self, site: Site) -> None:
        crew, job = await overtaken(site, made=False)
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert await crew.executor.send(job) is Step.ENDED
        assert len(site.cloud.posts()) == 1

    async def test_nor_is_it_done_where_an_earlier_send_is_found_first(self, site: Site) -> None:
        """That came late, when this worker had sent again: its own may be under way yet."""
        crew = await site.hired(lease_seconds=LASTING)
        job = await site.job(await site.claimed(), crew)
        site.cloud.script += [Lost("reset"), Lost("reset")]
        assert await crew.executor.send(job) is Step.RECONCILE
        assert await crew.reconciler.decide(job) is Decision.SEND_AGAIN
        assert await crew.executor.send(job) is Step.RECONCILE
        [first] = await carried_out(site)
        assert await crew.reconciler.decide(job) is Decision.OVERTAKEN
        assert (await site.record(job.record)).state is State.DONE
        await carried_out(site)
        await crew.executor.compensation.overtaken(job)
        assert ids(site) == [first]


class TestOvertaken:
    async def test_what_the_record_does_not_name_is_deleted(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site)
        [ours] = ids(site)
        [theirs] = await carried_out(site)
        await ended(site, job, Resource("server", theirs))
        await crew.executor.compensation.overtaken(job)
        assert ids(site) == [theirs]
        assert crew.count("dedupd_compensations_total") == 1
        assert f"server {ours}, made by another send than the one that counts, was deleted" in (
            caplog.text
        )

    async def test_not_before_it_has_settled(self, site: Site) -> None:
        """Its effect may still come."""
        crew, job = await overtaken(site, made=False)
        settled_at = job.record.sending.send_deadline + LIMITS.settle
        [theirs] = await carried_out(site)
        await ended(site, job, Resource("server", theirs))
        undoing = asyncio.create_task(crew.executor.compensation.overtaken(job))
        await asyncio.sleep(settled_at - 10 - site.clock())
        assert len(await carried_out(site)) == 1
        await undoing
        assert ids(site) == [theirs]
        assert site.clock() >= settled_at

    async def test_not_before_nova_has_surely_accepted_it(self, site: Site) -> None:
        """Something that came behind it is answered long after it was given up."""
        crew, job = await overtaken(site, made=False)
        [theirs] = await carried_out(site)
        await ended(site, job, Resource("server", theirs))
        began = site.clock()
        answering = job.record.sending.send_deadline + LIMITS.settle + 100 - began
        site.cloud.torment(Rule(fault="503-before", method="GET", times=10**6))
        asyncio.get_running_loop().call_later(answering, site.cloud.torment)
        undoing = asyncio.create_task(crew.executor.compensation.overtaken(job))
        await asyncio.sleep(answering + LIMITS.settle - 10)
        before = [sent for sent in site.cloud.of("GET") if sent.when < began + answering]
        assert before
        assert all(sent.afresh for sent in before)
        assert len(await carried_out(site)) == 1
        await undoing
        assert ids(site) == [theirs]

    async def test_nor_is_more_asked_of_nova_for_that_than_an_answer(self, site: Site) -> None:
        """What a lost answer would need, and this Nova does not tell, is not asked for."""
        crew, job = await overtaken(site)
        [theirs] = await carried_out(site)
        await ended(site, job, Resource("server", theirs))
        await crew.executor.compensation.overtaken(job)
        assert ids(site) == [theirs]
        assert not [sent for sent in site.cloud.of("GET") if "actions" in sent.path]

    async def test_a_store_that_is_away_for_a_moment_is_read_again(self, site: Site) -> None:
        """Nobody else comes back to it."""
        crew, job = await overtaken(site)
        [theirs] = await carried_out(site)
        await ended(site, job, Resource("server", theirs))

        async def away(call: Call) -> None:
            if "detail" in call.target:
                site.store.away = True
                asyncio.get_running_loop().call_later(20, setattr, site.store, "away", False)

        site.cloud.before_send = away
        await crew.executor.compensation.overtaken(job)
        assert ids(site) == [theirs]

    async def test_not_before_the_others_have_ended(self, site: Site) -> None:
        """They may name either."""
        crew, job = await overtaken(site)
        [ours] = ids(site)
        [theirs] = await carried_out(site)
        undoing = asyncio.create_task(crew.executor.compensation.overtaken(job))
        await asyncio.sleep(LIMITS.settle + 100)
        assert len(ids(site)) == 2
        await ended(site, job, Resource("server", ours))
        await undoing
        assert ids(site) == [ours]
        assert theirs != ours

    async def test_what_the_record_names_stays(self, site: Site) -> None:
        """The others adopted it."""
        crew, job = await overtaken(site)
        await ended(site, job, Resource("server", *ids(site)))
        await crew.executor.compensation.overtaken(job)
        assert len(ids(site)) == 1
        assert not site.cloud.of("DELETE")

    @pytest.mark.parametrize("status", [409, 502])
    async def test_beside_a_failure_nothing_stays(self, site: Site, status: int) -> None:
        crew, job = await overtaken(site)
        await ended(site, job, None, status)
        await crew.executor.compensation.overtaken(job)
        assert not ids(site)

    async def test_of_several_all_go_or_none(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each is told of, and counted, once."""
        crew, job = await overtaken(site, document=MANY)
        theirs = await carried_out(site)
        ours = set(ids(site)) - set(theirs)
        await ended(site, job, Resource("server", theirs[1]))
        await crew.executor.compensation.overtaken(job)
        assert set(ids(site)) == set(theirs)
        assert len(ours) == 2
        told_as_deleted(crew, caplog.text, ours, by="another send than the one that counts")

    async def test_of_several_one_that_nova_does_not_delete_is_told_of(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site, document=MANY)
        stuck, *_ = ids(site)
        theirs = await carried_out(site)
        await ended(site, job, Resource("server", theirs[0]))
        rule = Rule(fault="409-before", method="DELETE", path=stuck, times=10**9)
        site.cloud.torment(rule)
        await crew.executor.compensation.overtaken(job)
        assert set(ids(site)) == {stuck, *theirs}
        assert crew.count("dedupd_compensations_total") == 1
        assert caplog.text.count("look after it") == 1
        assert (
            f"server {stuck}, made by another send than the one that counts, was not deleted"
            in (caplog.text)
        )

    async def test_while_it_cannot_be_told_which_post_made_which_none_goes(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site, document=MANY)
        theirs = await carried_out(site)
        await ended(site, job, Resource("server", theirs[0]))
        site.cloud.torment(Rule(fault="404-before", method="GET", path="actions", times=10**9))
        await crew.executor.compensation.overtaken(job)
        assert len(ids(site)) == 4
        assert "look after it" in caplog.text

    async def test_a_cloud_that_does_not_tell_is_asked_again(self, site: Site) -> None:
        crew, job = await overtaken(site)
        await ended(site, job, Resource("server", "theirs"))
        site.cloud.torment(Rule(fault="503-before", method="GET", times=20))
        await crew.executor.compensation.overtaken(job)
        assert not ids(site)

    async def test_another_request_s_stay(self, site: Site) -> None:
        crew, job = await overtaken(site)
        await (await site.hired()).executor.send(
            await site.job(await site.claimed(client_token="other"), crew)
        )
        await ended(site, job, Resource("server", "theirs"))
        await crew.executor.compensation.overtaken(job)
        assert len(ids(site)) == 1


async def late(site: Site, resource: Resource) -> tuple[Crew, Job]:
    """It was paused before its send of several; meanwhile another was answered, and told so."""
    crew = await site.hired(lease_seconds=LASTING)
    job = await site.job(await site.claimed(MANY), crew)

    async def others_are_faster(call: Call) -> None:
        if call.method == "POST":
            await ended(site, job, resource)

    site.cloud.before_send = others_are_faster
    assert await crew.executor.send(job) is Step.OVERTAKEN
    assert job.made is not None
    return crew, job


class TestLate:
    """Its own answer says what it made, before Nova has noted which request made which server."""

    async def test_of_several_all_go(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        crew, job = await late(site, Resource("server", "theirs"))
        made = ids(site)
        await crew.executor.compensation.see_to(job)
        assert not ids(site)
        assert len(made) == 2
        told_as_deleted(crew, caplog.text, made, by="a worker that had lost the request")

    async def test_where_nova_never_notes_it_none_goes_and_people_are_told(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await late(site, Resource("server", "theirs"))
        site.cloud.torment(Rule(fault="404-before", method="GET", path="actions", times=10**9))
        began = site.clock()
        await crew.executor.compensation.see_to(job)
        assert site.clock() - began <= LIMITS.settle + LIMITS.retry + 5
        assert len(ids(site)) == 2
        assert not site.cloud.of("DELETE")
        assert "was not deleted, look after it" in caplog.text

    async def test_what_a_later_life_of_the_token_names_meanwhile_stays(self, site: Site) -> None:
        """It bears the same mark, and was adopted while Nova did not tell."""
        crew, job = await late(site, Resource("server", "theirs"))
        assert job.made is not None
        site.cloud.torment(Rule(fault="404-before", method="GET", path="actions", times=10**9))
        undoing = asyncio.create_task(crew.executor.compensation.see_to(job))
        await asyncio.sleep(LIMITS.settle)
        await site.store.forget(await site.record(job.record))
        await ended(site, await site.job(await site.claimed(MANY), crew), job.made)
        site.cloud.torment()
        await undoing
        assert len(ids(site)) == 2
        assert not site.cloud.of("DELETE")


class TestLeftAlone:
    """Where the record does not say what counts, people are told what to look after."""

    async def test_what_is_unknown_may_be_adopted(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site)
        standing = await site.record(job.record)
        await site.store.swap(standing, request.give_up(standing, "a cell is down"))
        await crew.executor.compensation.overtaken(job)
        self.check(site, caplog.text, "_Left('unknown')")

    async def test_what_an_operator_made_the_store_forget(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site)
        await site.store.forget(await site.record(job.record))
        await crew.executor.compensation.overtaken(job)
        self.check(site, caplog.text, "_Left('gone')")

    async def test_so_too_where_its_own_answer_came(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site)
        await site.store.forget(await site.record(job.record))
        await crew.executor.compensation.undo(job, Resource("server", *ids(site)))
        self.check(site, caplog.text, "_Left('gone')")
        assert f"server {ids(site)[0]}, made by a worker that had lost the request" in caplog.text

    async def test_what_another_life_of_the_token_may_have_been_told_of(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The record that stands names what that one made, not what was told before it."""
        crew, job = await overtaken(site)
        await site.store.forget(await ended(site, job, Resource("server", *ids(site))))
        again = await site.job(await site.claimed(), crew)
        assert await crew.executor.send(again) is Step.ENDED
        assert len(ids(site)) == 2
        await crew.executor.compensation.overtaken(job)
        assert len(ids(site)) == 2
        assert "_Left('the token was used again')" in caplog.text

    async def test_a_success_that_names_nothing(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site)
        await ended(site, job, None, 202)
        await crew.executor.compensation.overtaken(job)
        self.check(site, caplog.text, "_Left('done')")

    async def test_what_the_others_go_on_with_for_too_long(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew, job = await overtaken(site)
        began = site.clock()
        await crew.executor.compensation.overtaken(job)
        assert site.clock() - began <= LIMITS.send + 2 * LIMITS.settle + LIMITS.retry + 5
        self.check(site, caplog.text, "TimeoutError")

    async def test_what_is_cut_off(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        crew, job = await overtaken(site)
        undoing = asyncio.create_task(crew.executor.compensation.overtaken(job))
        await asyncio.sleep(1)
        undoing.cancel()
        await asyncio.wait([undoing])
        assert undoing.cancelled()
        self.check(site, caplog.text, "CancelledError")

    def check(self, site: Site, text: str, why: str) -> None:
        assert len(ids(site)) == 1
        assert not site.cloud.of("DELETE")
        assert "was not deleted, look after it" in text
        assert why in text


async def test_a_later_life_of_the_token_is_noticed_whenever_it_begins(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """It bears the same mark: what was seen may be its own."""
    crew, job = await overtaken(site)
    standing = await site.record(job.record)
    released = request.release(standing, site.clock(), status=429, keep=60)
    assert await site.store.swap(standing, released)
    listing = crew.executor.compensation._standing
    again: list[Record] = []

    async def claimed_meanwhile(job: Job) -> Record | None:
        found = await listing(job)
        if not again and found is not None and found.state is State.RELEASED:
            again.append(await site.claimed())
            await carried_out(site)
        return found

    crew.executor.compensation._standing = claimed_meanwhile  # type: ignore[method-assign]
    undoing = asyncio.create_task(crew.executor.compensation.overtaken(job))
    await site.until(lambda: bool(again))
    await asyncio.sleep(60)
    first, second = ids(site)
    await ended(site, job, Resource("server", second))
    await undoing
    assert ids(site) == [first, second]
    assert "_Left('the token was used again')" in caplog.text


@pytest.mark.parametrize(
    "what",
    [
        {"path": KEYPAIRS, "version": "2.2", "document": {"keypair": {"name": "kp"}}},
        {"path": f"{SERVERS}/s-1/action", "document": {"os-start": None}},
    ],
)
async def test_what_cannot_be_there_twice_is_not_looked_for(
    site: Site, what: dict[str, Any]
) -> None:
    crew, job = await overtaken(site, made=False, **what)
    job.accepted_by = site.clock()
    asked = len(site.cloud.sent)
    await crew.executor.compensation.overtaken(job)
    assert len(site.cloud.sent) == asked


async def test_what_made_something_and_does_not_say_what_is_looked_for(site: Site) -> None:
    crew = await site.hired(lease_seconds=LASTING)
    job = await site.job(await site.claimed(), crew)
    site.cloud.script.append(Answer(202, (), b"cut o"))

    async def meanwhile(call: Call) -> None:
        site.cloud.before_send = nothing
        site.cloud.carry_out(call)
        await ended(site, job, Resource("server", "theirs"))

    async def nothing(_: Call) -> None:
        """No more."""

    site.cloud.before_send = meanwhile
    assert await crew.executor.send(job) is Step.RECONCILE
    assert await crew.reconciler.decide(job) is Decision.OVERTAKEN
    await crew.executor.compensation.see_to(job)
    assert not ids(site)
