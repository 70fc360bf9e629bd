"""A request in a worker's hands, and commits that are sure of themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dedupd import request, seal
from dedupd.cloud.probes.keypairs import KeypairProbe
from dedupd.cloud.probes.servers import ServerProbe
from dedupd.exchange import header
from dedupd.microversion import Microversion
from dedupd.ports import Stored, StoreUnavailable
from dedupd.request import Record, State
from dedupd.seal import Unsealable
from dedupd.worker.job import Job, Opener, commit
from tests.unit.site import AUTH, KEYPAIRS, PROJECT, SERVERS, VM, Crew, Site

VIRTUAL_TIME = True


class TestOpen:
    async def test_what_the_front_kept_is_there(self, site: Site) -> None:
        record = await site.claimed(path=f"/v2.1/{PROJECT}/servers?x=y")
        job = await site.job(record, site.crew())
        errand = job.errand
        assert job.record == errand.record == record
        assert errand.payload.call.target == f"/v2.1/{PROJECT}/servers?x=y"
        assert header(errand.payload.call.headers, b"x-auth-token") == AUTH.encode()
        assert (errand.document, errand.base) == (VM, f"/v2.1/{PROJECT}")
        assert errand.microversion == Microversion(2, 96)

    @pytest.mark.parametrize(
        ("path", "probe"),
        [
            (SERVERS, ServerProbe),
            (KEYPAIRS, KeypairProbe),
            (f"{SERVERS}/s/action", type(None)),
            ("/v2.1/os-server-groups", type(None)),
        ],
    )
    async def test_each_route_has_its_probe(self, site: Site, path: str, probe: type) -> None:
        job = await site.job(await site.claimed(path=path), site.crew())
        assert isinstance(job.probe, probe)

    async def test_another_key_does_not_open_it(self, site: Site) -> None:
        stored = await site.stored(await site.claimed())
        assert stored
        keys = seal.parse(seal.generate(), "other")
        with pytest.raises(Unsealable):
            Opener(keys, site.cloud, None, 10).open(stored)

    async def test_what_has_ended_carries_nothing_any_more(self, site: Site) -> None:
        record = await site.claimed()
        cancelled = request.cancel(record, site.clock(), detail="x", keep=60)
        assert await site.store.swap(record, cancelled)
        with pytest.raises(Unsealable):
            await site.job(record, site.crew())


class TestBegin:
    """SENDING is written, and what the request carries is there."""

    @pytest.fixture
    async def crew(self, site: Site) -> Crew:
        return await site.hired()

    async def unread(self, site: Site, crew: Crew, **what: Any) -> Job:
        record = await site.claimed(**what)
        job = crew.opener.unread(msgspec.structs.replace(record, version=0))
        assert job is not None
        assert not job.is_read
        return job

    def sending(self, job: Job, site: Site, crew: Crew) -> Record:
        return request.begin_send(job.record, crew.lease.worker_id, site.clock(), 30)

    async def test_an_unread_one_becomes_as_one_that_was_read(self, site: Site, crew: Crew) -> None:
        job = await self.unread(site, crew)
        assert await job.begin(site.store, self.sending(job, site, crew))
        read = await site.job(job.record, crew)
        assert job.record == await site.record(job.record)
        assert (job.errand, job.probe) == (read.errand, read.probe)
        assert vars(job.asker) == vars(read.asker)
        job.advance(request.give_up(job.record, "why"))
        assert job.errand.record == job.record

    async def test_it_stays_unread_where_it_has_been_moved(self, site: Site, crew: Crew) -> None:
        job = await self.unread(site, crew)
        await site.store.swap(site.now(job.record), site.now(job.record))
        assert not await job.begin(site.store, self.sending(job, site, crew))
        assert not job.is_read

    @pytest.mark.parametrize(
        ("path", "document", "unread"),
        [
            (SERVERS, VM, True),
            (f"{SERVERS}/s/action", {"os-start": None}, True),
            (KEYPAIRS, {"keypair": {"name": "kp"}}, False),
        ],
    )
    async def test_what_nova_is_asked_about_first_is_read_first(
        self, site: Site, crew: Crew, path: str, document: Any, unread: bool
    ) -> None:
        record = await site.claimed(document, path=path)
        assert (crew.opener.unread(record) is not None) is unread
        assert crew.opener.unread(msgspec.structs.replace(record, route="made up")) is None

    async def test_what_has_been_in_a_worker_s_hands_is_read_first(
        self, site: Site, crew: Crew
    ) -> None:
        record = await site.claimed()
        sending = request.begin_send(record, "another", site.clock(), 30)
        for moved in (request.requeue(record, "another", 9.0), request.requeue(sending, "", 9.0)):
            assert crew.opener.unread(moved) is None

    @pytest.mark.parametrize("away", [False, True])
    async def test_what_cannot_be_opened_is_put_back_and_was_never_sent(
        self, site: Site, crew: Crew, away: bool
    ) -> None:
        job = await self.unread(site, crew)
        claimed = site.now(job.record)
        stored = site.store._requests[claimed.id]
        site.store._requests[claimed.id] = msgspec.structs.replace(stored, payload=b"\x01\x09")
        if away:
            begin = site.store.begin

            async def then_away(*what: Any) -> Stored | None:
                written = await begin(*what)
                site.store.away = True
                return written

            site.store.begin = then_away  # type: ignore[assignment, method-assign]
            asyncio.get_running_loop().call_later(30, setattr, site.store, "away", False)
        with pytest.raises(Unsealable):
            await job.begin(site.store, self.sending(job, site, crew))
        assert not job.is_read
        standing = site.now(claimed)
        assert standing.version > claimed.version
        assert msgspec.structs.replace(standing, version=0) == job.record

    async def test_what_another_took_over_meanwhile_is_left_to_it(
        self, site: Site, crew: Crew
    ) -> None:
        job = await self.unread(site, crew)
        begin = site.store.begin

        async def overtaken(*what: Any) -> Stored | None:
            written = await begin(*what)
            assert written is not None
            taken = request.take_over(written.record, "another")
            assert await site.store.swap(written.record, taken)
            return Stored(written.record, b"\x01\x09")

        site.store.begin = overtaken  # type: ignore[assignment, method-assign]
        with pytest.raises(Unsealable):
            await job.begin(site.store, self.sending(job, site, crew))
        standing = site.now(job.record)
        assert (standing.state, standing.owner) == (State.SENDING, "another")


class TestCommit:
    @pytest.fixture
    async def record(self, site: Site) -> Record:
        return await site.claimed()

    async def test_writes(self, site: Site, record: Record) -> None:
        written = await commit(site.store, record, request.give_up(record, "why"), b"answer")
        assert written == await site.record(record)
        assert written.state is State.UNKNOWN
        stored = await site.stored(record)
        assert stored
        assert stored.result == b"answer"

    async def test_none_where_another_was_faster(self, site: Site, record: Record) -> None:
        theirs = await site.store.swap(record, request.give_up(record, "theirs"))
        assert await commit(site.store, record, request.give_up(record, "ours")) is None
        assert await site.record(record) == theirs

    async def test_none_where_the_record_is_gone(self, site: Site, record: Record) -> None:
        await site.store.forget(record)
        assert await commit(site.store, record, request.give_up(record, "ours")) is None

    async def test_none_where_it_has_another_life(self, site: Site, record: Record) -> None:
        await site.store.forget(record)
        again = await site.claimed()
        ours = msgspec.structs.replace(record, version=again.version)
        assert await commit(site.store, ours, request.give_up(ours, "ours")) is None
        assert (await site.record(record)).state is State.QUEUED

    async def test_waits_for_the_store(self, site: Site, record: Record) -> None:
        site.store.away = True
        asyncio.get_running_loop().call_later(30, setattr, site.store, "away", False)
        assert await commit(site.store, record, request.give_up(record, "why"))
        assert (await site.record(record)).state is State.UNKNOWN

    async def test_can_be_cancelled_meanwhile(self, site: Site, record: Record) -> None:
        site.store.away = True
        committing = asyncio.create_task(commit(site.store, record, record))
        await asyncio.sleep(100)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing

    @pytest.mark.parametrize("times", [1, 3])
    async def test_knows_its_own_write_whose_acknowledgement_was_lost(
        self, site: Site, record: Record, times: int
    ) -> None:
        site.store.lost = times
        written = await commit(site.store, record, request.give_up(record, "ours"))
        assert written == await site.record(record)

    async def test_takes_no_other_s_write_for_its_own(self, site: Site, record: Record) -> None:
        """Not even where both say almost the same."""
        ours = request.finish(record, site.clock(), status=202, resource=None, keep=60)
        theirs = request.finish(record, site.clock() + 1, status=202, resource=None, keep=60)
        assert await site.store.swap(record, theirs)
        site.store.lost = 1
        assert await commit(site.store, record, ours) is None

    async def test_an_error_on_reading_back_is_tried_again_too(
        self, site: Site, record: Record
    ) -> None:
        await site.store.swap(record, request.give_up(record, "theirs"))
        read, failures = site.store.read, 2

        async def failing(ids: list[str]) -> object:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise StoreUnavailable("away")
            return await read(ids)

        site.store.read = failing  # type: ignore[method-assign, assignment]
        assert await commit(site.store, record, request.give_up(record, "ours")) is None
        assert failures < 0
