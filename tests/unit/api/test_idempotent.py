"""The token path, row by row of the contract: what each caller is answered, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from dedupd import request
from dedupd.api.idempotent import Visit
from dedupd.api.repeats import FRESH_SECONDS
from dedupd.errors import Unavailable
from dedupd.exchange import Answer, Call
from dedupd.ports import NotSent, QueueUnavailable, Stored, StoreUnavailable
from dedupd.queue.memory import MemoryQueue
from dedupd.request import Record, State
from dedupd.seal import Keys
from dedupd.sim.faults import Rule
from dedupd.store.group import Full
from tests.unit.asgi import Exchange, Reply
from tests.unit.fronts import HOLD_SECONDS, LIMITS, MAX_BODY, FrontDesk
from tests.unit.site import (
    AUTH,
    HOST,
    KEYPAIRS,
    KEYS,
    LASTING,
    PROJECT,
    SERVERS,
    VM,
    Crew,
    Site,
)

VIRTUAL_TIME = True

OUTAGE_SECONDS = 5.0
"""Within this a caller hears that nothing can be done."""

BOB = f"bob:{PROJECT}"
SLOW = Rule(fault="delay-after", method="POST", seconds=20)

Open = Callable[..., Any]


@pytest.fixture
async def opened(site: Site) -> AsyncIterator[Open]:
    """Open a front; all of them close with the test."""
    async with AsyncExitStack() as stack:

        async def open_(**parts: Any) -> FrontDesk:
            return await stack.enter_async_context(FrontDesk(site, **parts).running())

        yield open_


@pytest.fixture
async def front(opened: Open) -> FrontDesk:
    desk: FrontDesk = await opened()
    return desk


@pytest.fixture
async def worker(site: Site) -> AsyncIterator[Crew]:
    """One that carries requests out."""
    crew = await site.started()
    yield crew
    site.store.away = False
    await crew.kill()


def begun(exchange: Exchange) -> asyncio.Task[Reply | None]:
    return asyncio.create_task(exchange())


async def replied(task: asyncio.Task[Reply | None]) -> Reply:
    reply = await task
    assert reply is not None, "no answer"
    return reply


def marks(reply: Reply) -> tuple[str | None, str | None]:
    return reply.header("idempotent-replayed"), reply.header("idempotency-status")


def records(site: Site) -> list[Record]:
    return [stored.record for stored in site.store._requests.values()]


def only(site: Site) -> Record:
    [record] = records(site)
    return record


def link_of(record: Record) -> str:
    return f'</dedupd/v1/requests/{record.id}>; rel="status"'


BODY = (
    b'{"server": {"id": "s-1", "links": [{"rel": "self", "href": "http://nova/v2.1/servers/s-1"}]}}'
)

NOVA = Answer(
    202,
    (
        (b"Content-Length", b"%d" % len(BODY)),
        (b"Location", b"http://nova/v2.1/servers/s-1"),
        (b"Content-Type", b"application/json"),
        (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"Server", b"Apache"),
        (b"Set-Cookie", b"a=b"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"Keep-Alive", b"timeout=5"),
        (b"X-Hop", b"1"),
        (b"Vary", b"OpenStack-API-Version"),
        (b"Vary", b"X-OpenStack-Nova-API-Version"),
        (b"OpenStack-API-Version", b"compute 2.96"),
        (b"X-OpenStack-Nova-API-Version", b"2.96"),
        (b"x-openstack-request-id", b"req-1"),
        (b"x-compute-request-id", b"req-1"),
    ),
    BODY,
)


class TestFirstUse:
    async def test_the_caller_gets_nova_s_answer(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        reply = await front.post()
        [made] = site.cloud.made
        assert (reply.status, reply.body) == (202, made.body)
        assert reply.header("location") == f"http://{HOST}/v2.1/servers/{site.servers()[0]['id']}"
        for field in (b"x-openstack-request-id", b"openstack-api-version", b"content-type"):
            assert reply.header(field.decode()) == (made.header(field) or b"").decode()
        assert marks(reply) == ("false", "stored")
        assert reply.header("link") == link_of(only(site))
        for name in ("first-request", "expires", "redacted"):
            assert reply.header(f"idempotency-{name}") is None

    async def test_with_its_headers_but_for_the_connection_s(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.cloud.script.append(NOVA)
        reply = await front.post()
        names = [name.decode().lower() for name, _ in reply.headers]
        assert reply.all("vary") == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]
        assert reply.header("set-cookie") == "a=b"
        assert reply.header("x-openstack-request-id") == "req-1"
        assert not {"connection", "keep-alive", "x-hop"} & set(names)
        assert reply.header("date") != "Thu, 01 Jan 1970 00:00:00 GMT"
        assert names.count("date") == names.count("content-length") == 1

    @pytest.mark.parametrize(
        "headers",
        [
            [("Idempotency-Key", '"foo"')],
            [("Idempotency-Key", "foo")],
            [("Idempotency-Key", '"foo"'), ("X-Client-Token", "foo")],
        ],
    )
    async def test_both_names_of_the_header_are_one(
        self, site: Site, front: FrontDesk, worker: Crew, headers: list[tuple[str, str]]
    ) -> None:
        first = await front.post()
        again = await front.post(token=None, headers=headers)
        assert marks(again) == ("true", "stored")
        assert again.body == first.body

    async def test_what_nova_hears_is_the_caller_s_request(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        headers = [
            ("Prefer", "wait=40"),
            ("Idempotency-Key", "foo"),
            ("Accept-Encoding", "gzip"),
            ("X-Roles", "admin"),
            ("X_Project_Id", "forged"),
            ("Connection", "close"),
            ("Accept", "text/html"),
            ("X-Openstack-Request-Id", "req-mine"),
            ("Content-Length", "200"),
        ]
        await front.post(target=f"{SERVERS}?a=%2F&b", headers=headers)
        [post] = site.cloud.posts()
        assert post.call.target == f"{SERVERS}?a=%2F&b"
        sent = {name.decode().lower() for name, _ in post.call.headers}
        kept = {"host", "accept", "x-openstack-request-id", "x-auth-token", "content-type"}
        added = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
        assert sent == kept | added | {"openstack-api-version"}
        assert post.header("host") == HOST
        assert post.header("x-auth-token") == AUTH
        assert post.header("x-forwarded-for") == "192.0.2.7"

    async def test_one_project_s_token_is_not_another_s(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        other = await front.post(auth="carol:" + "c" * 32)
        assert marks(other) == ("false", "stored")
        assert len(site.cloud.posts()) == 2

    async def test_refusals_of_nova_are_answers_too(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        bad = {"server": VM["server"] | {"flavorRef": "none"}}
        first = await front.post(bad)
        again = await front.post(bad)
        assert first.status == again.status == 400
        assert first.body == again.body
        assert (marks(first), marks(again)) == (("false", "stored"), ("true", "stored"))
        assert len(site.cloud.posts()) == 1

    async def test_it_is_counted(self, front: FrontDesk, worker: Crew) -> None:
        await front.post()
        await front.post()
        await front.post()
        answers = "dedupd_answers_total"
        assert front.count(answers, status="stored", replayed="false") == 1
        assert front.count(answers, status="stored", replayed="true") == 2
        assert front.count("dedupd_answer_duration_seconds_count") == 3
        assert front.count("dedupd_waiting_callers") == 0


class TestRepeatFinished:
    async def test_the_same_answer_is_given_again(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.cloud.script.append(NOVA)
        first = await front.post()
        await asyncio.sleep(3600)
        again = await front.post()
        assert (again.status, again.body) == (first.status, first.body)
        for name in ("location", "content-type", "openstack-api-version"):
            assert again.header(name) == first.header(name)
        assert again.header("x-openstack-nova-api-version") == "2.96"
        assert again.all("vary") == first.all("vary")
        assert again.header("x-openstack-original-request-id") == "req-1"
        assert marks(again) == ("true", "stored")
        assert again.header("link") == link_of(only(site))
        assert len(site.cloud.posts()) == 1

    async def test_nothing_else_of_the_first_one_is(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.cloud.script.append(NOVA)
        await front.post()
        again = await front.post()
        kept = {"location", "content-type", "vary", "openstack-api-version"}
        kept |= {"x-openstack-nova-api-version", "x-openstack-original-request-id"}
        ours = {"idempotent-replayed", "idempotency-status", "link", "content-length", "date"}
        ours |= {"idempotency-first-request", "idempotency-expires"}
        assert {name.decode().lower() for name, _ in again.headers} == kept | ours

    async def test_it_tells_when_the_first_was_and_until_when_it_is_kept(
        self, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        await asyncio.sleep(3600)
        again = await front.post()
        assert again.header("idempotency-first-request") == "2027-01-15T08:00:00.000Z"
        expires = again.header("idempotency-expires")
        assert expires is not None
        assert expires.startswith("2027-01-16T08:00:00.")

    async def test_at_any_front(self, front: FrontDesk, opened: Open, worker: Crew) -> None:
        first = await front.post()
        other: FrontDesk = await opened()
        assert (await other.post()).body == first.body

    async def test_but_not_where_its_key_is_missing(
        self, front: FrontDesk, opened: Open, worker: Crew, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Other fronts may have it; it was carried out, so that this is no 503."""
        first = await front.post()
        without: FrontDesk = await opened(keys=Keys(KEYS.identity, {99: bytes(32)}))
        refused = await without.post()
        assert (refused.status, refused.header("retry-after")) == (500, None)
        assert refused.header("idempotency-status") == "stored"
        assert "sealed with key 1, which the key file" in caplog.text
        assert (await front.post()).body == first.body

    async def test_however_the_body_is_written(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        first = await front.post()
        spread = msgspec.json.format(msgspec.json.encode(VM, order="sorted"), indent=3)
        again = await front.post(chunks=[spread[:9], b"", spread[9:]])
        assert again.body == first.body
        assert len(site.cloud.posts()) == 1

    async def test_whatever_headers_have_no_say(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        headers = [("User-Agent", "other"), ("X-Openstack-Request-Id", "req-9"), ("Accept", "x/y")]
        assert marks(await front.post(headers=headers, auth=f"{AUTH}:member")) == ("true", "stored")

    async def test_another_user_of_the_project_sees_no_secret(
        self, front: FrontDesk, worker: Crew
    ) -> None:
        first = await front.post()
        again = await front.post(auth=BOB)
        assert again.status == 202
        assert again.header("idempotency-redacted") == "server.adminPass"
        shown = first.json["server"]
        assert again.json["server"] == {key: shown[key] for key in shown if key != "adminPass"}
        assert (await front.post()).header("idempotency-redacted") is None

    async def test_another_user_of_the_project_sees_the_rest(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.cloud.script.append(Answer(400, NOVA.headers, b"{ }"))
        await front.post()
        again = await front.post(auth=BOB)
        assert (again.status, again.body) == (400, b"{ }")
        assert again.header("idempotency-redacted") is None

    async def test_a_storm_of_repeats_does_not_ask_the_store_each_time(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        first = await front.post()
        again = await front.post()
        site.store.away = True
        at_once = await front.post()
        assert (first.body, at_once.body) == (again.body, again.body)
        assert at_once.headers == again.headers
        other = await front.post({"server": VM["server"] | {"name": "other"}})
        assert other.status == 422
        redacted = await front.post(auth=BOB)
        assert redacted.header("idempotency-redacted") == "server.adminPass"
        await asyncio.sleep(FRESH_SECONDS)
        assert (await front.post()).status == 503


class TestStillRunning:
    async def test_a_repeat_waits_and_gets_the_same_answer(
        self, site: Site, front: FrontDesk, opened: Open, worker: Crew
    ) -> None:
        other: FrontDesk = await opened()
        site.cloud.torment(SLOW)
        first = begun(front.exchange())
        await asyncio.sleep(1)
        repeats = [begun(desk.exchange()) for desk in (front, front, other)]
        await asyncio.sleep(1)
        assert front.count("dedupd_waiting_callers") == 3
        answer = await replied(first)
        assert marks(answer) == ("false", "stored")
        for repeat in repeats:
            again = await replied(repeat)
            assert (again.status, again.body) == (202, answer.body)
            assert marks(again) == ("true", "stored")
        assert len(site.cloud.posts()) == 1
        assert front.count("dedupd_waiting_callers") == 0

    async def test_of_many_at_once_one_is_carried_out(
        self, site: Site, front: FrontDesk, opened: Open, worker: Crew
    ) -> None:
        desks = [front, await opened(), await opened()]
        replies = await asyncio.gather(*(desks[n % 3].post() for n in range(60)))
        assert len({reply.body for reply in replies}) == 1
        assert sorted(marks(reply)[0] or "" for reply in replies) == ["false", *["true"] * 59]
        assert len(site.cloud.posts()) == len(site.servers()) == 1

    async def test_where_so_configured_it_gets_409_at_once(
        self, site: Site, opened: Open, worker: Crew
    ) -> None:
        front: FrontDesk = await opened(latch=False)
        site.cloud.torment(SLOW)
        first = begun(front.exchange())
        await asyncio.sleep(1)
        began = site.clock()
        again = await front.post()
        assert site.clock() == began
        assert (again.status, marks(again)) == (409, ("true", "in-progress"))
        assert int(again.header("retry-after") or "") > 0
        assert again.header("link") == link_of(only(site))
        assert "still running" in again.message
        assert (await replied(first)).status == 202, "the first itself waits"
        assert marks(await front.post()) == ("true", "stored")

    async def test_when_the_hold_ends_the_first_gets_504(
        self, site: Site, front: FrontDesk
    ) -> None:
        """No worker is there, or Nova is slow."""
        began = site.clock()
        reply = await front.post()
        assert site.clock() - began == pytest.approx(HOLD_SECONDS)
        assert (reply.status, marks(reply)) == (504, ("false", "in-progress"))
        assert int(reply.header("retry-after") or "") > 0
        assert reply.header("link") == link_of(only(site))
        assert "Repeat with the same token" in reply.message
        assert only(site).state is State.QUEUED, "it goes on"

    async def test_and_a_repeat_409(self, site: Site, front: FrontDesk) -> None:
        await front.post()
        began = site.clock()
        reply = await front.post()
        assert site.clock() - began == pytest.approx(HOLD_SECONDS)
        assert (reply.status, marks(reply)) == (409, ("true", "in-progress"))
        assert int(reply.header("retry-after") or "") > 0
        assert reply.header("link") == link_of(only(site))

    async def test_and_both_do_as_soon_as_nobody_is_held_any_longer(
        self, site: Site, front: FrontDesk
    ) -> None:
        """The front is being stopped; what it has accepted goes on elsewhere."""
        began = site.clock()
        first = begun(front.exchange())
        await asyncio.sleep(1)
        repeat = begun(front.exchange())
        await asyncio.sleep(1)
        front.idempotent.let_go()
        replies = [await replied(first), await replied(repeat)]
        assert site.clock() - began == pytest.approx(2)
        assert [reply.status for reply in replies] == [504, 409]
        assert {reply.header("link") for reply in replies} == {link_of(only(site))}
        assert only(site).state is State.QUEUED

    async def test_who_is_cut_off_when_the_front_s_time_is_over_is_told_so(
        self, site: Site, front: FrontDesk
    ) -> None:
        cut_off = begun(front.exchange())
        await asyncio.sleep(1)
        cut_off.cancel()
        reply = await replied(cut_off)
        assert (reply.status, marks(reply)) == (503, ("false", "in-progress"))
        assert "is being stopped" in reply.json["serviceUnavailable"]["message"]
        assert only(site).state is State.QUEUED

    async def test_which_gets_the_answer_when_it_is_there(
        self, site: Site, front: FrontDesk
    ) -> None:
        assert (await front.post()).status == 504
        crew = await site.started()
        reply = await front.post()
        assert (reply.status, marks(reply)) == (202, ("true", "stored"))
        await crew.kill()

    @pytest.mark.parametrize(
        ("prefer", "held"), [("wait=7", 7), ("wait=0", 0), ("wait=1000", HOLD_SECONDS)]
    )
    async def test_a_caller_may_say_how_long_it_waits(
        self, site: Site, front: FrontDesk, prefer: str, held: float
    ) -> None:
        for expected in (504, 409):
            began = site.clock()
            reply = await front.post(headers=[("Prefer", prefer)])
            assert site.clock() - began == pytest.approx(held, abs=0.01)
            assert reply.status == expected

    async def test_a_completion_that_is_lost_costs_seconds(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.store._completions._listeners.clear()
        began = site.clock()
        assert (await front.post()).status == 202
        assert 0 < site.clock() - began <= 5.1

    async def test_who_waits_for_a_claim_that_is_taken_back_hears_of_it(
        self, site: Site, front: FrontDesk
    ) -> None:
        """Another front took it back, since the broker did not confirm it."""
        first, repeat = begun(front.exchange()), begun(front.exchange())
        await asyncio.sleep(1)
        assert await site.store.forget(only(site))
        began = site.clock()
        for waiting in (first, repeat):
            reply = await replied(waiting)
            assert (reply.status, marks(reply)[1]) == (503, "released")
            assert reply.header("link") is None
            assert "had no effect and was released" in reply.message
        assert site.clock() - began <= 5.1

    async def test_who_claims_slowly_is_held_all_the_same(
        self, site: Site, front: FrontDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The latch looks before the claim stands, and finds nothing."""
        claim = site.store.claim

        async def claim_slowly(record: Record, payload: bytes) -> tuple[bool, Stored]:
            await asyncio.sleep(4)
            return await claim(record, payload)

        monkeypatch.setattr(site.store, "claim", claim_slowly)
        await asyncio.sleep(0.5)
        waiting = begun(front.exchange())
        await asyncio.sleep(7)
        assert not waiting.done()
        crew = await site.started()
        assert (await replied(waiting)).status == 202
        await crew.kill()


class TestRespondAsync:
    ASYNC = (("Prefer", "respond-async"),)

    async def test_it_is_202_at_once(self, site: Site, front: FrontDesk) -> None:
        began = site.clock()
        reply = await front.post(headers=self.ASYNC)
        assert site.clock() == began
        record = only(site)
        assert (reply.status, marks(reply)) == (202, ("false", "in-progress"))
        assert reply.header("preference-applied") == "respond-async"
        assert reply.header("location") == f"/dedupd/v1/requests/{record.id}"
        assert reply.header("link") == link_of(record)
        assert reply.header("content-type") == "application/json"
        assert reply.json == {"request": {"id": record.id, "state": "queued"}}

    async def test_it_is_carried_out_all_the_same(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post(headers=self.ASYNC)
        await site.until_state(only(site), State.DONE)
        for headers in ((), self.ASYNC):
            reply = await front.post(headers=headers)
            assert (reply.status, marks(reply)) == (202, ("true", "stored"))
            assert reply.json["server"]
            assert reply.header("preference-applied") is None
        assert len(site.cloud.posts()) == 1

    async def test_a_repeat_meanwhile_gets_the_same(self, site: Site, front: FrontDesk) -> None:
        first = await front.post(headers=self.ASYNC)
        again = await front.post(headers=self.ASYNC)
        assert (again.status, again.body) == (202, first.body)

    async def test_malformed_preferences_are_refused(self, site: Site, front: FrontDesk) -> None:
        reply = await front.post(headers=[("Prefer", "wait=soon")])
        assert (reply.status, marks(reply)) == (400, ("false", "released"))
        assert "Prefer: wait=10" in reply.message
        assert not records(site)


class TestSameTokenOtherRequest:
    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"document": {"server": VM["server"] | {"flavorRef": "s3cret"}}}, "server.flavorRef"),
            ({"document": {"server": VM["server"], "s3crets": 1}}, "s3crets"),
            ({"target": KEYPAIRS, "document": VM}, "path"),
            ({"target": f"{SERVERS}?s3cret=1"}, "query"),
            ({"version": "2.95"}, "microversion"),
            ({"version": None}, "microversion"),
        ],
    )
    async def test_is_refused_naming_what_differs_and_no_value(
        self, site: Site, front: FrontDesk, worker: Crew, change: dict[str, Any], part: str
    ) -> None:
        await front.post()
        reply = await front.post(**change)
        assert (reply.status, marks(reply)) == (422, ("true", "stored"))
        assert f"differs in: {part}." in reply.message
        assert "s3cret" not in reply.message.replace("s3crets", "")
        assert reply.header("link") == link_of(only(site)), "the original's status"
        assert len(site.cloud.posts()) == 1

    async def test_also_while_the_first_runs(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=[("Prefer", "respond-async")])
        began = site.clock()
        reply = await front.post(version="2.95")
        assert site.clock() == began
        assert (reply.status, marks(reply)) == (422, ("true", "in-progress"))

    async def test_what_nova_keeps_for_each_user_differs_in_the_user(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        keypair = {"document": {"keypair": {"name": "kp"}}, "target": KEYPAIRS, "version": "2.2"}
        first = await front.post(**keypair)
        assert first.json["keypair"]["private_key"]
        reply = await front.post(**keypair, auth=BOB)
        assert reply.status == 422
        assert "differs in: user." in reply.message
        assert b"PRIVATE KEY" not in reply.body

    async def test_for_a_repeat_no_key_is_drawn(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        keypair = {"document": {"keypair": {"name": "kp"}}, "target": KEYPAIRS, "version": "2.2"}
        first, repeat = await front.post(**keypair), await front.post(**keypair)
        assert first.body == repeat.body
        assert front.drawn == 1
        await front.post(VM, token="bar")
        assert front.drawn == 1

    async def test_where_no_part_can_be_named_it_is_the_body(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        action = f"{SERVERS}/s/action"
        await front.post(target=action, chunks=[b"not json"])
        reply = await front.post(target=action, chunks=[b"nor this"])
        assert reply.status == 422
        assert "differs in: body." in reply.message


class TestMalformed:
    @pytest.mark.parametrize(
        ("headers", "fault"),
        [
            ([("X-Client-Token", "")], "it is empty"),
            ([("X-Client-Token", "a b")], "character 2 is 0x20"),
            ([("X-Client-Token", "x" * 65)], "it has 65 characters"),
            ([("X-Client-Token", "\xe9")], "character 1 is 0xE9"),
            ([("Idempotency-Key", '"a')], "structured-field string"),
            ([("X-Client-Token", "a"), ("X-Client-Token", "a")], "was sent twice"),
            ([("X-Client-Token", "a"), ("Idempotency-Key", "b")], "differ"),
        ],
    )
    async def test_tokens_are_refused_and_the_fault_is_named(
        self, site: Site, front: FrontDesk, headers: list[tuple[str, str]], fault: str
    ) -> None:
        reply = await front.post(token=None, headers=headers)
        assert (reply.status, marks(reply)) == (400, ("false", "released"))
        assert fault in reply.message
        assert not records(site)

    @pytest.mark.parametrize(
        "request_",
        [
            {"chunks": [b"{"]},
            {"chunks": [b"\xff"]},
            {"version": "two"},
            {"headers": [("X-Foo", "\xff")]},
        ],
    )
    async def test_requests_too(
        self, site: Site, front: FrontDesk, request_: dict[str, Any]
    ) -> None:
        """What Nova would refuse, or what would reach it as something else."""
        reply = await front.post(**request_)
        assert (reply.status, marks(reply)) == (400, ("false", "released"))
        assert not records(site)


class TestCredentials:
    @pytest.mark.parametrize("auth", [None, "", "a b", ":", "a::b"])
    async def test_without_good_ones_nothing_is_told(
        self, site: Site, front: FrontDesk, worker: Crew, auth: str | None
    ) -> None:
        """Not even whether the token is used, or well formed."""
        await front.post()
        used = await front.post(auth=auth)
        fresh = await front.post(token="bar", auth=auth)
        malformed = await front.post(token="b a r", auth=auth)
        for reply in (used, fresh, malformed):
            assert (reply.status, marks(reply)) == (401, ("false", "released"))
            assert reply.header("www-authenticate")
            assert reply.header("link") is None
        assert used.body == fresh.body == malformed.body
        assert len(records(site)) == 1

    async def test_the_store_is_not_even_asked(self, site: Site, front: FrontDesk) -> None:
        site.store.away = True
        assert (await front.post(auth=None)).status == 401


class TestUnknown:
    async def unknown(self, site: Site) -> Record:
        record = only(site)
        moved = await site.store.swap(record, request.give_up(record, "A cell is down."))
        assert moved
        return moved

    async def test_everybody_is_told(self, site: Site, front: FrontDesk) -> None:
        waiting = [begun(front.exchange()) for _ in range(2)]
        await asyncio.sleep(1)
        record = await self.unknown(site)
        for replayed, task in zip(("false", "true"), waiting, strict=True):
            reply = await replied(task)
            assert (reply.status, marks(reply)) == (502, (replayed, "unknown"))
            assert "A cell is down." in reply.message
            assert record.id in reply.message
            assert reply.header("link") == link_of(record)
        began = site.clock()
        again = await front.post()
        assert site.clock() == began, "nobody waits for what does not move by itself"
        assert (again.status, marks(again)) == (502, ("true", "unknown"))

    async def test_it_is_never_sent_again_by_itself(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=[("Prefer", "respond-async")])
        await self.unknown(site)
        crew = await site.started()
        for _ in range(10):
            assert (await front.post()).status == 502
            await asyncio.sleep(100)
        assert not site.cloud.posts()
        await crew.kill()

    async def test_until_it_is_settled(self, site: Site, front: FrontDesk, worker: Crew) -> None:
        site.cloud.torment(
            Rule(fault="drop-after", method="POST"),
            Rule(fault="503-before", method="GET", times=10**9),
        )
        await front.post(headers=[("Prefer", "respond-async")])
        await site.until_state(only(site), State.UNKNOWN)
        assert (await front.post()).status == 502
        site.cloud.torment()
        await site.until_state(only(site), State.DONE)
        reply = await front.post()
        assert (reply.status, marks(reply)) == (202, ("true", "stored"))


class TestEnded:
    async def ended(self, site: Site, front: FrontDesk, state: State) -> Record:
        await front.post(headers=[("Prefer", "respond-async")])
        record, now = only(site), site.clock()
        moves = {
            State.TOMBSTONE: lambda: request.bury(record, now, keep=60),
            State.CANCELLED: lambda: request.cancel(record, now, detail="by its project", keep=60),
        }
        moved = await site.store.swap(record, moves[state]())
        assert moved
        return moved

    @pytest.mark.parametrize("change", [{}, {"version": "2.95"}])
    async def test_a_used_token_whose_result_has_expired_is_412(
        self, site: Site, front: FrontDesk, worker: Crew, change: dict[str, Any]
    ) -> None:
        """Whatever comes under it: nobody can compare any more, and nothing is carried out."""
        record = await self.ended(site, front, State.TOMBSTONE)
        reply = await front.post(**change)
        assert (reply.status, marks(reply)) == (412, ("true", "stored"))
        assert reply.header("link") == link_of(record)
        assert "Use a new token" in reply.message
        assert not site.cloud.posts()

    async def test_a_cancelled_one_is_409(self, site: Site, front: FrontDesk) -> None:
        await self.ended(site, front, State.CANCELLED)
        reply = await front.post()
        assert (reply.status, marks(reply)) == (409, ("true", "stored"))
        assert "cancelled before it was sent (by its project)" in reply.message

    async def test_those_who_wait_for_a_cancelled_one_hear_of_it(
        self, site: Site, front: FrontDesk
    ) -> None:
        waiting = begun(front.exchange())
        await asyncio.sleep(1)
        record = only(site)
        cancelled = request.cancel(record, site.clock(), detail="by its project", keep=60)
        assert await site.store.swap(record, cancelled)
        reply = await replied(waiting)
        assert (reply.status, marks(reply)) == (409, ("false", "stored"))


class TestNoRoom:
    async def test_a_full_queue_takes_no_new_request(self, site: Site, opened: Open) -> None:
        front: FrontDesk = await opened(max_depth=3)
        for number in range(3):
            await front.post(token=f"t{number}", headers=[("Prefer", "respond-async")])
        reply = await front.post(token="new")
        assert (reply.status, marks(reply)) == (503, ("false", "released"))
        assert int(reply.header("retry-after") or "") > 0
        assert reply.header("link") is None
        assert "[queue] max_depth" in reply.message
        assert len(records(site)) == 3

    async def test_repeats_still_pass(self, site: Site, opened: Open) -> None:
        front: FrontDesk = await opened(max_depth=2)
        crew = await site.started()
        done = await front.post(token="done")
        await crew.kill()
        for number in range(2):
            await front.post(token=f"t{number}", headers=[("Prefer", "respond-async")])
        assert (await front.post(token="new")).status == 503
        assert (await front.post(token="done")).body == done.body
        running = await front.post(token="t0", headers=[("Prefer", "wait=1")])
        assert (running.status, marks(running)) == (409, ("true", "in-progress"))

    async def test_one_project_leaves_room_for_others(self, site: Site, opened: Open) -> None:
        front: FrontDesk = await opened(max_depth=10, project_share=0.3)
        hasty = {"headers": [("Prefer", "respond-async")]}
        for number in range(3):
            assert (await front.post(token=f"t{number}", **hasty)).status == 202
        reply = await front.post(token="t3", **hasty)
        assert (reply.status, marks(reply)) == (503, ("false", "released"))
        assert "[queue] project_share" in reply.message
        assert int(reply.header("retry-after") or "") > 0
        assert (await front.post(auth="carol:" + "c" * 32, **hasty)).status == 202
        assert len(records(site)) == 4

    async def test_room_comes_back_when_requests_end(self, site: Site, opened: Open) -> None:
        front: FrontDesk = await opened(max_depth=1)
        await front.post(token="t0", headers=[("Prefer", "respond-async")])
        assert (await front.post(token="t1")).status == 503
        crew = await site.started()
        await site.until_state(only(site), State.DONE)
        await asyncio.sleep(1.1)
        assert (await front.post(token="t1")).status == 202
        await crew.kill()

    async def test_too_many_waiting_callers_are_turned_away(self, site: Site, opened: Open) -> None:
        front: FrontDesk = await opened(max_waiters=2)
        waiting = [begun(front.exchange(token=f"t{number}")) for number in range(2)]
        await asyncio.sleep(1)
        for token in ("new", "t0"):
            reply = await front.post(token=token)
            assert reply.status == 503
            assert "[api] max_waiters" in reply.message
            assert int(reply.header("retry-after") or "") > 0
        assert len(records(site)) == 2
        for task in waiting:
            assert (await replied(task)).status == 504

    async def test_who_need_not_wait_is_not(self, site: Site, opened: Open) -> None:
        front: FrontDesk = await opened(max_waiters=1)
        crew = await site.started()
        done = await front.post(token="done")
        await crew.kill()
        waiting = begun(front.exchange(token="t0"))
        await asyncio.sleep(1)
        assert (await front.post(token="done")).body == done.body
        assert (await front.post(token="done", version="2.95")).status == 422
        await replied(waiting)


class BadQueue(MemoryQueue):
    """Takes a message or not, and confirms none; ``before`` happens meanwhile."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.broker)
        self.before: Callable[[str], Any] = lambda _: asyncio.sleep(0)

    async def publish(self, request_id: str, _claimed: Record | None = None) -> None:
        await self.before(request_id)
        raise QueueUnavailable("The broker did not confirm it.")


def slowed(site: Site, **seconds: float) -> None:
    """Let methods of the store take their time."""

    def late(method: Callable[..., Any], pause: float) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(pause)
            return await method(*arguments, **named)

        return call

    for name, pause in seconds.items():
        setattr(site.store, name, late(getattr(site.store, name), pause))


class TestAway:
    async def test_without_the_store_nothing_is_carried_out(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.store.away = True
        reply = await front.post()
        assert (reply.status, marks(reply)) == (503, ("false", "in-progress"))
        assert int(reply.header("retry-after") or "") > 0
        assert reply.header("link") is None
        site.store.away = False
        assert not records(site)
        assert not site.cloud.posts()
        assert (await front.post()).status == 202

    async def test_a_repeat_that_cannot_be_read_has_executed_nothing(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        """And is told so: it is a read, of which nobody is in doubt."""
        first = await front.post()
        await asyncio.sleep(5)
        site.store.away = True
        reply = await front.post()
        assert (reply.status, marks(reply)) == (503, ("false", "released"))
        assert "The store is away. This POST executed nothing" in reply.message
        site.store.away = False
        assert (await front.post()).body == first.body
        assert len(site.servers()) == 1

    async def test_a_claim_that_may_stand_is_not_called_released(
        self, site: Site, front: FrontDesk, worker: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = site.store.claim

        async def unacknowledged(record: Record, payload: bytes) -> tuple[bool, Stored]:
            await claim(record, payload)
            raise StoreUnavailable("The acknowledgement was lost.")

        with monkeypatch.context() as lost:
            lost.setattr(site.store, "claim", unacknowledged)
            reply = await front.post()
        assert (reply.status, marks(reply)) == (503, ("false", "in-progress"))
        assert (await front.post()).status == 202
        assert len(site.cloud.posts()) == 1

    async def test_what_surely_was_not_stored_is_released(
        self, site: Site, front: FrontDesk, worker: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def full(*_: object) -> tuple[bool, Stored]:
            raise Full("The disk is full.")

        with monkeypatch.context() as lost:
            lost.setattr(site.store, "claim", full)
            reply = await front.post()
        assert (reply.status, marks(reply)) == (503, ("false", "released"))
        assert (await front.post()).status == 202

    async def test_not_even_a_repeat_is_answered(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        site.store.away = True
        assert (await front.post()).status == 503

    async def test_before_the_store_is_open_it_is_not_even_looked_into(
        self, site: Site, opened: Open
    ) -> None:
        """It may be another installation's, or keep its promises badly."""

        def refuse() -> None:
            raise Unavailable("Not yet.")

        front: FrontDesk = await opened(check_open=refuse)
        reply = await front.post()
        assert (reply.status, marks(reply)) == (503, ("false", "released"))
        assert not records(site)
        assert (await front.post(auth=None)).status == 401

    async def test_without_the_broker_the_claim_is_withdrawn(
        self, site: Site, opened: Open
    ) -> None:
        front: FrontDesk = await opened(queue=BadQueue(site), max_depth=1)
        for _ in range(3):
            reply = await front.post()
            assert (reply.status, marks(reply)) == (503, ("false", "released"))
            assert int(reply.header("retry-after") or "") > 0
            assert reply.header("link") is None
            assert "did not confirm" in reply.message, "it takes up no room either"
            assert not records(site)

    async def test_unless_a_worker_has_it_already(
        self, site: Site, opened: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = BadQueue(site)
        front: FrontDesk = await opened(queue=queue)
        crew = await site.hired(lease_seconds=LASTING)

        async def carried_out(request_id: str) -> None:
            record = site.store._requests[request_id].record
            await crew.executor.send(await site.job(record, crew))

        queue.before = carried_out
        reply = await front.post()
        assert (reply.status, marks(reply)) == (202, ("false", "stored"))
        assert "a worker has it" in caplog.text
        assert len(site.servers()) == 1

    async def test_what_another_front_said_goes_on_is_not_withdrawn(
        self, site: Site, opened: Open, front: FrontDesk
    ) -> None:
        """A caller with 202 in its hands does not come back: its request may not vanish."""
        queue = BadQueue(site)
        failing: FrontDesk = await opened(queue=queue)
        accepted: list[Reply] = []

        async def repeated(_: str) -> None:
            accepted.append(await front.post(headers=[("Prefer", "respond-async")]))

        queue.before = repeated
        first = asyncio.create_task(failing.post())
        await site.until(lambda: bool(accepted) and only(site).version > 1)
        assert accepted[0].status == 202
        crew = await site.started()
        assert (await first).status == 202
        assert len(site.servers()) == 1
        await crew.kill()

    async def test_that_it_goes_on_is_noted_and_published_once(
        self, site: Site, front: FrontDesk
    ) -> None:
        """In a backlog, each caller asks again and again."""
        for _ in range(5):
            reply = await front.post(headers=[("Prefer", "respond-async")])
            assert reply.status == 202
        assert (only(site).promised, only(site).version) == (True, 2)
        assert len(site.broker.waiting) == 2

    async def test_what_was_withdrawn_is_not_said_to_go_on(self, site: Site, opened: Open) -> None:
        class Withdrawn(MemoryQueue):
            """Never asked: there is nothing to publish any more."""

            async def publish(self, request_id: str, _claimed: Record | None = None) -> None:
                raise AssertionError(request_id)

        front: FrontDesk = await opened(queue=Withdrawn(site.broker))
        record = await site.claimed(VM)
        swap = site.store.swap

        async def too_late(before: Record, after: Record, **more: Any) -> Record | None:
            await site.store.forget(before)
            return await swap(before, after, **more)

        site.store.swap = too_late  # type: ignore[method-assign]
        visit = Visit({"headers": []}, front.idempotent._front)
        with pytest.raises(Unavailable, match="released"):
            await visit._assure(record)

    async def test_a_withdrawal_that_fails_too_is_told(
        self, site: Site, opened: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody knows what stands there: the sweeper will find it, or there is nothing."""
        queue = BadQueue(site)
        front: FrontDesk = await opened(queue=queue)

        async def away(_: str) -> None:
            site.store.away = True

        queue.before = away
        reply = await front.post()
        assert reply.status == 503
        assert int(reply.header("retry-after") or "") > 0
        assert f"{only(site).id}: not withdrawn, and left to the sweeper" in caplog.messages[-1]
        site.store.away = False
        crew = await site.started()
        await site.until_state(only(site), State.DONE)
        await crew.kill()

    @pytest.mark.parametrize("claim", [0, 3.9, 9])
    @pytest.mark.parametrize("publish", [0, 4, 9])
    @pytest.mark.parametrize("forget", [0, 3.9])
    async def test_whatever_fails_together_is_told_in_time_and_taken_back(
        self, site: Site, opened: Open, claim: float, publish: float, forget: float
    ) -> None:
        queue = BadQueue(site)
        queue.before = lambda _: asyncio.sleep(publish)
        front: FrontDesk = await opened(queue=queue, max_depth=1)
        slowed(site, claim=claim, forget=forget)
        began = site.clock()
        assert (await front.post()).status == 503
        assert site.clock() - began < OUTAGE_SECONDS
        await asyncio.sleep(20)
        assert not records(site)
        assert "wait already" not in (await front.post(token="bar")).message, "it takes up no room"

    async def test_a_repeat_that_wants_no_answer_is_told_in_time_too(
        self, site: Site, front: FrontDesk
    ) -> None:
        await front.post(headers=TestRespondAsync.ASYNC)
        slowed(site, read=3.9, swap=3.9)
        began = site.clock()
        assert (await front.post(headers=TestRespondAsync.ASYNC)).status == 503
        assert site.clock() - began < OUTAGE_SECONDS
        assert only(site).state is State.QUEUED

    async def test_a_withdrawal_is_finished_though_the_caller_hangs_up(
        self, site: Site, opened: Open
    ) -> None:
        front: FrontDesk = await opened(queue=BadQueue(site))
        slowed(site, forget=3)
        exchange = front.exchange()
        asking = begun(exchange)
        await asyncio.sleep(2)
        exchange.hang_up()
        assert await asking is None
        assert records(site)
        await asyncio.sleep(2)
        assert not records(site)


class TestBody:
    def body(self, length: int) -> bytes:
        document = msgspec.json.encode(VM)
        return document + b" " * (length - len(document))

    async def test_the_limit_itself_is_allowed(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        body = self.body(MAX_BODY)
        headers = [("Content-Length", str(len(body)))]
        assert (await front.post(chunks=[body], headers=headers)).status == 202
        chunks = [body[:100], body[100:1999], body[1999:]]
        assert marks(await front.post(chunks=chunks)) == ("true", "stored")

    @pytest.mark.parametrize("announced", [True, False])
    @pytest.mark.parametrize("parts", [1, 3])
    async def test_a_larger_one_is_refused_and_nothing_kept(
        self, site: Site, front: FrontDesk, announced: bool, parts: int
    ) -> None:
        body = self.body(MAX_BODY + 1)
        step = -(-len(body) // parts)
        chunks = [body[start : start + step] for start in range(0, len(body), step)]
        headers = [("Content-Length", str(len(body)))] if announced else []
        reply = await front.post(chunks=chunks, headers=headers)
        assert (reply.status, marks(reply)) == (413, ("false", "released"))
        assert "[api] max_body_bytes" in reply.message
        assert not records(site)

    async def test_one_that_never_ends_is_not_read_for_ever(
        self, site: Site, front: FrontDesk
    ) -> None:
        exchange = front.exchange(chunks=[b" " * 2**20] * 1000)
        reply = await exchange()
        assert reply is not None
        assert reply.status == 413
        assert exchange.received < 20

    @pytest.mark.parametrize(("auth", "status"), [(AUTH, 408), (None, 401)])
    async def test_one_that_does_not_come_is_not_waited_for_for_ever(
        self, site: Site, front: FrontDesk, auth: str | None, status: int
    ) -> None:
        exchange = front.exchange(chunks=[b'{"server": '], auth=auth)
        exchange.unfinished = True
        began = site.clock()
        reply = await replied(begun(exchange))
        assert (reply.status, marks(reply)) == (status, ("false", "released"))
        assert reply.header("connection") == "close"
        assert site.clock() - began == pytest.approx(LIMITS.body_seconds, abs=2)
        assert not records(site)

    async def test_a_coding_that_cannot_be_undone_is_refused(
        self, site: Site, front: FrontDesk
    ) -> None:
        reply = await front.post(headers=[("Transfer-Encoding", "gzip, chunked")])
        assert (reply.status, marks(reply)) == (400, ("false", "released"))
        assert "Transfer-Encoding 'gzip, chunked' is not supported: use chunked" in reply.message
        assert not records(site)


class TestForm:
    async def test_errors_have_nova_s_fault_form(self, front: FrontDesk) -> None:
        reply = await front.post(token="")
        assert reply.header("content-type") == "application/json"
        assert reply.json == {"badRequest": {"code": 400, "message": reply.message}}

    @pytest.mark.parametrize(
        "accept", ["application/problem+json", "text/html, application/problem+json;q=0.9"]
    )
    async def test_or_rfc_9457_s_where_that_is_asked_for(
        self, front: FrontDesk, accept: str
    ) -> None:
        reply = await front.post(token="", headers=[("Accept", accept)])
        assert reply.header("content-type") == "application/problem+json"
        assert (reply.status, reply.json["status"], reply.json["title"]) == (400, 400, "badRequest")
        assert marks(reply) == ("false", "released")

    async def test_they_are_counted(self, front: FrontDesk) -> None:
        await front.post(token="")
        await front.post(auth=None)
        assert front.count("dedupd_refused_total", code="400") == 1
        assert front.count("dedupd_refused_total", code="401") == 1
        assert front.count("dedupd_answers_total", status="released", replayed="false") == 2


class TestGone:
    async def test_a_caller_that_hangs_up_frees_its_place(
        self, site: Site, front: FrontDesk
    ) -> None:
        exchanges = [front.exchange() for _ in range(3)]
        tasks = [begun(exchange) for exchange in exchanges]
        await asyncio.sleep(2)
        assert front.count("dedupd_waiting_callers") == 3
        for exchange in exchanges[:2]:
            exchange.hang_up()
        await asyncio.sleep(2)
        assert [task.done() for task in tasks] == [True, True, False]
        assert await tasks[0] is None
        assert await tasks[1] is None
        assert front.count("dedupd_waiting_callers") == 1
        assert only(site).state is State.QUEUED
        crew = await site.started()
        assert (await replied(tasks[2])).status == 202, "the request goes on without the first"
        await crew.kill()

    async def test_one_that_hangs_up_while_it_sends_leaves_nothing(
        self, site: Site, front: FrontDesk
    ) -> None:
        exchange = front.exchange(chunks=[b"{", b"}"])
        exchange._chunks = [b"{"]
        receive = exchange._receive

        async def unfinished() -> Any:
            message = dict(await receive())
            return message | {"more_body": True} if "body" in message else message

        exchange._receive = unfinished  # type: ignore[method-assign]
        task = begun(exchange)
        await asyncio.sleep(1)
        exchange.hang_up()
        assert await task is None
        assert not records(site)


class TestReleased:
    REFUSED = Answer(401, ((b"Content-Type", b"application/json"), (b"Set-Cookie", b"a")), b"{}")

    async def test_everybody_who_waits_gets_the_answer(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        async def slow(call: Call) -> None:
            if call.method == "POST":
                await asyncio.sleep(5)

        site.cloud.before_send = slow
        site.cloud.script.append(self.REFUSED)
        first, again = begun(front.exchange()), begun(front.exchange())
        reply = await replied(first)
        assert (reply.status, reply.body, marks(reply)) == (401, b"{}", ("false", "released"))
        assert reply.header("link") is None
        assert reply.header("set-cookie") == "a"
        reply = await replied(again)
        assert (reply.status, reply.body, marks(reply)) == (401, b"{}", ("true", "released"))
        assert reply.header("set-cookie") is None
        for name in ("link", "idempotency-first-request", "idempotency-expires"):
            assert reply.header(name) is None

    async def test_a_repeat_is_carried_out_anew(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.cloud.script.append(self.REFUSED)
        assert (await front.post()).status == 401
        reply = await front.post()
        assert (reply.status, marks(reply)) == (202, ("false", "stored"))
        assert len(site.cloud.posts()) == 2

    async def test_another_request_may_take_its_token(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        site.cloud.script.append(self.REFUSED)
        await front.post()
        assert (await front.post(version="2.95")).status == 202

    async def test_who_waited_for_the_one_does_not_get_the_other_s_answer(
        self, site: Site, front: FrontDesk
    ) -> None:
        """The news of the release was lost, and another request came under the token."""
        waiting = begun(front.exchange())
        await asyncio.sleep(1)
        listeners = site.store._completions._listeners
        site.store._completions._listeners = []
        record = only(site)
        released = request.release(record, site.clock(), status=429, keep=60)
        assert await site.store.swap(record, released, result=b"")
        other = begun(front.exchange(version="2.95"))
        await asyncio.sleep(0.1)
        site.store._completions._listeners = listeners
        crew = await site.started()
        assert (await replied(other)).status == 202
        reply = await replied(waiting)
        assert reply.status == 503
        assert int(reply.header("retry-after") or "") > 0
        assert "had no effect and was released" in reply.message
        await crew.kill()

    async def test_news_of_an_earlier_life_does_not_disturb_a_later_one(
        self, site: Site, front: FrontDesk
    ) -> None:
        waiting = begun(front.exchange())
        await asyncio.sleep(1)
        record = only(site)
        earlier = msgspec.structs.replace(record, birth="earlier")
        earlier = msgspec.structs.replace(earlier, version=record.version - 1)
        released = request.release(earlier, site.clock(), status=429, keep=60)
        front.latch.complete(
            msgspec.structs.replace(site.store._requests[record.id], record=released)
        )
        await asyncio.sleep(1)
        crew = await site.started()
        reply = await replied(waiting)
        assert (reply.status, marks(reply)) == (202, ("false", "stored"))
        await crew.kill()

    async def test_what_could_not_be_sent_is_released_in_the_end(
        self, site: Site, opened: Open, worker: Crew
    ) -> None:
        front: FrontDesk = await opened(hold_seconds=1000)
        site.cloud.script.extend([NotSent("refused")] * 10_000)
        reply = await front.post()
        assert (reply.status, marks(reply)) == (502, ("false", "released"))
        assert reply.message == "refused"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("fault", ["drop-after", "503-after"])
async def test_an_answer_that_was_lost_is_given_all_the_same(
    site: Site, front: FrontDesk, fault: str
) -> None:
    site.cloud.torment(Rule(fault=fault, method="POST"))
    first, again = begun(front.exchange()), begun(front.exchange())
    one, two = await replied(first), await replied(again)
    [lost] = site.cloud.made
    assert (one.status, one.json) == (lost.status, msgspec.json.decode(lost.body))
    assert (two.status, two.body) == (one.status, one.body)
    assert (marks(one), marks(two)) == (("false", "stored"), ("true", "stored"))
    assert len(site.servers()) == 1
