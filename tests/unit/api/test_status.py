"""The status API: what became of a request, for the project that made it and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from dedupd import request
from dedupd.exchange import Answer
from dedupd.ports import Lost, NotSent
from dedupd.request import Record, State
from dedupd.sim.faults import Rule
from tests.unit.fronts import RESULT_SECONDS, FrontDesk
from tests.unit.site import AUTH, HOST, KEYPAIRS, PROJECT, SERVERS, VM, Crew, Site

VIRTUAL_TIME = True

REQUESTS = "/dedupd/v1/requests"
BOB = f"bob:{PROJECT}"
STRANGER = "carol:" + "c" * 32
ASYNC = [("Prefer", "respond-async")]


@pytest.fixture
async def front(site: Site) -> AsyncIterator[FrontDesk]:
    async with FrontDesk(site).running() as desk:
        yield desk


@pytest.fixture
async def worker(site: Site) -> AsyncIterator[Crew]:
    crew = await site.started()
    yield crew
    await crew.kill()


def only(site: Site) -> Record:
    [stored] = site.store._requests.values()
    return stored.record


class TestShow:
    async def test_tells_everything_but_secrets(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        first = await front.post()
        reply = await front.ask("GET", f"{REQUESTS}/foo")
        record = only(site)
        [server] = site.servers()
        link = f"http://{HOST}{SERVERS}/{server['id']}"
        assert (reply.status, reply.header("content-type")) == (200, "application/json")
        assert reply.json == {
            "request": {
                "id": record.id,
                "state": "done",
                "route": "server create",
                "path": SERVERS,
                "project_id": PROJECT,
                "user_id": "alice",
                "created_at": "2027-01-15T08:00:00.000Z",
                "completed_at": reply.json["request"]["completed_at"],
                "expires_at": reply.json["request"]["expires_at"],
                "status": 202,
                "resource": {"type": "server", "id": server["id"], "name": "vm", "link": link},
                "detail": "",
                "attempts": [
                    {
                        "outcome": "answered",
                        "status": 202,
                        "detail": "",
                        "worker": worker.lease.worker_id,
                        "started_at": reply.json["request"]["attempts"][0]["started_at"],
                        "ended_at": reply.json["request"]["attempts"][0]["ended_at"],
                    }
                ],
                "links": [{"rel": "self", "href": f"{REQUESTS}/{record.id}"}],
            }
        }
        assert first.json["server"]["adminPass"].encode() not in reply.body

    async def test_while_it_waits(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        shown = (await front.ask("GET", f"{REQUESTS}/foo")).json["request"]
        assert (shown["state"], shown["attempts"], shown["resource"]) == ("queued", [], None)
        assert (shown["status"], shown["completed_at"]) == (None, None)

    async def test_by_its_id_too(self, site: Site, front: FrontDesk) -> None:
        accepted = await front.post(headers=ASYNC)
        by_token = await front.ask("GET", f"{REQUESTS}/foo")
        by_id = await front.ask("GET", accepted.header("location") or "")
        assert by_id.json == by_token.json
        assert by_id.json["request"]["id"] == only(site).id

    @pytest.mark.parametrize("token", ["a/b", "//", "a%2Fb", "?x=y", "100%", ".", "../x", "#1"])
    async def test_whatever_the_token_is_made_of(
        self, site: Site, front: FrontDesk, token: str
    ) -> None:
        await front.post(token=token, headers=ASYNC)
        reply = await front.ask("GET", f"{REQUESTS}/{quote(token, safe='')}")
        assert reply.json["request"]["id"] == only(site).id

    async def test_a_token_that_looks_like_an_id_comes_first(
        self, site: Site, front: FrontDesk
    ) -> None:
        await front.post(headers=ASYNC)
        first = only(site)
        await front.post(token=first.id, headers=ASYNC)
        found = (await front.ask("GET", f"{REQUESTS}/{first.id}")).json["request"]["id"]
        assert found != first.id

    async def test_any_user_of_the_project_may_see_it(self, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        assert (await front.ask("GET", f"{REQUESTS}/foo", auth=BOB)).status == 200

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    async def test_another_project_may_not(self, site: Site, front: FrontDesk, method: str) -> None:
        await front.post(headers=ASYNC)
        for name in ("foo", only(site).id, "never", ""):
            reply = await front.ask(method, f"{REQUESTS}/{name}", auth=STRANGER)
            assert reply.status == 404
            assert reply.message == "Your project has no request with this token or id."
        assert only(site).state is State.QUEUED

    async def test_without_credentials_nobody(self, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        for target in (REQUESTS, f"{REQUESTS}/foo", f"{REQUESTS}/never"):
            reply = await front.ask("GET", target, auth=None)
            assert reply.status == 401
            assert reply.header("www-authenticate")

    async def test_a_released_one_is_not_there(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        record = only(site)
        released = request.release(record, site.clock(), status=429, keep=60)
        assert await site.store.swap(record, released)
        assert (await front.ask("GET", f"{REQUESTS}/foo")).status == 404
        assert (await front.ask("GET", REQUESTS)).json["requests"] == []

    async def test_an_unknown_one_says_why(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        record = only(site)
        assert await site.store.swap(record, request.give_up(record, "A cell is down."))
        shown = (await front.ask("GET", f"{REQUESTS}/foo")).json["request"]
        assert (shown["state"], shown["detail"]) == ("unknown", "A cell is down.")

    async def test_without_the_store_it_is_503(self, site: Site, front: FrontDesk) -> None:
        site.store.away = True
        reply = await front.ask("GET", f"{REQUESTS}/foo")
        assert reply.status == 503
        assert int(reply.header("retry-after") or "") > 0


class TestLive:
    async def live(self, front: FrontDesk, **more: Any) -> Any:
        reply = await front.ask("GET", f"{REQUESTS}/foo?live=true", **more)
        return reply.json["request"]["live"]

    @pytest.mark.parametrize(
        "what",
        [
            {},
            {"target": f"/v2.1/{PROJECT}/servers"},
            {"target": f"{SERVERS}?a=b"},
            {"document": {"keypair": {"name": "a b"}}, "target": KEYPAIRS, "version": "2.2"},
        ],
    )
    async def test_nova_shows_what_was_made(
        self, front: FrontDesk, worker: Crew, what: dict[str, Any]
    ) -> None:
        made = (await front.post(**what)).json
        live = await self.live(front)
        assert (live["state"], live["status"]) == ("shown", 200)
        [kind] = made
        assert live["body"][kind]["name"] == ("vm" if kind == "server" else "a b")

    async def test_with_the_caller_s_own_headers(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        headers = [
            ("OpenStack-API-Version", "compute 2.26"),
            ("Accept", "text/html"),
            ("Prefer", "x"),
            ("X-Roles", "admin"),
        ]
        live = await self.live(front, auth=BOB, headers=headers)
        assert live["body"]["server"]["tags"]
        sent = site.cloud.sent[-1]
        assert sent.header("x-auth-token") == BOB
        assert sent.header("accept") == "application/json"
        assert sent.header("host") == HOST
        assert sent.header("x-forwarded-for") == "192.0.2.7"
        assert sent.header("prefer") is None
        assert sent.header("x-roles") is None

    async def test_a_colleague_s_keypair_is_not_told(self, front: FrontDesk, worker: Crew) -> None:
        """Nova would show the asker's own of that name, or none."""
        what = {"document": {"keypair": {"name": "k"}}, "target": KEYPAIRS, "version": "2.2"}
        await front.post(**what)
        assert (await self.live(front))["state"] == "shown"
        assert await self.live(front, auth=BOB) is None

    async def test_what_was_deleted_since_is_shown_as_such(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        made = await front.post()
        await asyncio.sleep(5)
        site.cloud.ask("DELETE", f"{SERVERS}/{made.json['server']['id']}", AUTH)
        assert await self.live(front) == {"state": "deleted"}
        assert marks_stored(await front.ask("GET", f"{REQUESTS}/foo")), "the answer is kept"

    async def test_a_reservation_is_a_list(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        document = {"server": VM["server"] | {"return_reservation_id": True, "min_count": 2}}
        await front.post(document)
        live = await self.live(front)
        assert live["state"] == "shown"
        assert len(live["body"]["servers"]) == 2
        await asyncio.sleep(5)
        for server in site.servers():
            site.cloud.ask("DELETE", f"{SERVERS}/{server['id']}", AUTH)
        assert await self.live(front) == {"state": "deleted"}

    async def test_what_nova_refuses_is_told(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        site.cloud.torment(Rule(fault="403-before", method="GET"))
        assert await self.live(front) == {"state": "refused", "status": 403, "body": None}

    @pytest.mark.parametrize("trouble", [NotSent("refused"), Lost("reset")])
    async def test_a_nova_that_is_away_is_told(
        self, site: Site, front: FrontDesk, worker: Crew, trouble: Exception
    ) -> None:
        await front.post()

        async def fail(_: Any) -> None:
            raise trouble

        site.cloud.before_send = fail
        live = await self.live(front)
        assert live == {"state": "unreachable", "message": str(trouble)}

    async def test_what_made_nothing_has_none(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        assert await self.live(front) is None
        record = only(site)
        odd = request.Resource("volume", "v-1")
        done = request.finish(record, site.clock(), status=200, resource=odd, keep=60)
        assert await site.store.swap(record, done, result=b"")
        assert await self.live(front) is None
        assert not site.cloud.sent

    async def test_nothing_is_asked_unless_it_is_wanted(
        self, site: Site, front: FrontDesk, worker: Crew
    ) -> None:
        await front.post()
        asked = len(site.cloud.sent)
        for query in ("", "?live=false", "?live=False"):
            shown = (await front.ask("GET", f"{REQUESTS}/foo{query}")).json["request"]
            assert "live" not in shown
        assert len(site.cloud.sent) == asked
        reply = await front.ask("GET", f"{REQUESTS}/foo?live=1")
        assert (reply.status, reply.message) == (400, "live is malformed: it is true or false.")

    @pytest.mark.parametrize("body", [b"<html>", b'"\xff"', b"[]"])
    async def test_an_answer_that_is_no_object_is_no_error(
        self, site: Site, front: FrontDesk, worker: Crew, body: bytes
    ) -> None:
        await front.post()
        send = site.cloud.send

        async def odd(call: Any, timeout: float, *_: Any, **__: Any) -> Answer:
            return Answer(200, (), body) if call.method == "GET" else await send(call, timeout)

        site.cloud.send = odd  # type: ignore[method-assign]
        assert (await self.live(front))["state"] == "shown"


def marks_stored(reply: Any) -> bool:
    return bool(reply.json["request"]["state"] == "done")


class TestList:
    async def many(self, site: Site, front: FrontDesk, number: int = 7) -> list[str]:
        """Ids, the newest first."""
        for each in range(number):
            await front.post(token=f"t{each}", headers=ASYNC)
            await asyncio.sleep(1)
        await front.post(auth=STRANGER, headers=ASYNC)
        ids = [id_ for id_, stored in site.store._requests.items() if is_ours(stored.record)]
        return ids[::-1]

    async def test_shows_the_project_s_requests_newest_first(
        self, site: Site, front: FrontDesk
    ) -> None:
        ids = await self.many(site, front)
        body = (await front.ask("GET", REQUESTS)).json
        assert [shown["id"] for shown in body["requests"]] == ids
        assert "requests_links" not in body
        one = (await front.ask("GET", f"{REQUESTS}/t6")).json["request"]
        assert body["requests"][0] == one

    async def test_page_by_page(self, site: Site, front: FrontDesk) -> None:
        ids = await self.many(site, front)
        target: str | None = f"{REQUESTS}?limit=3"
        pages = []
        while target is not None:
            body = (await front.ask("GET", target)).json
            pages.append([shown["id"] for shown in body["requests"]])
            links = body.get("requests_links")
            target = links[0]["href"] if links else None
            assert links is None or links[0]["rel"] == "next"
        assert pages == [ids[:3], ids[3:6], ids[6:]]

    async def test_by_state(self, site: Site, front: FrontDesk) -> None:
        ids = await self.many(site, front)
        for id_ in ids[:2]:
            record = site.store._requests[id_].record
            assert await site.store.swap(record, request.give_up(record, "why"))
        unknown = await front.ask("GET", f"{REQUESTS}?state=unknown")
        assert [shown["id"] for shown in unknown.json["requests"]] == ids[:2]
        both = await front.ask("GET", f"{REQUESTS}?state=unknown&state=queued&limit=4")
        assert [shown["id"] for shown in both.json["requests"]] == ids[:4]
        [link] = both.json["requests_links"]
        rest = await front.ask("GET", link["href"])
        assert [shown["id"] for shown in rest.json["requests"]] == ids[4:]
        assert {shown["state"] for shown in rest.json["requests"]} == {"queued"}

    async def test_nothing_is_an_empty_list(self, front: FrontDesk) -> None:
        assert (await front.ask("GET", REQUESTS)).json == {"requests": []}

    @pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "²", "9" * 5000])
    async def test_a_bad_limit_is_refused(self, front: FrontDesk, limit: str) -> None:
        reply = await front.ask("GET", f"{REQUESTS}?limit={quote(limit)}")
        assert reply.status == 400
        assert reply.message == "limit is malformed: it is a whole number from 1 to 1000."

    @pytest.mark.parametrize("state", ["", "x", "released", "DONE"])
    async def test_a_bad_state_is_refused(self, front: FrontDesk, state: str) -> None:
        reply = await front.ask("GET", f"{REQUESTS}?state=done&state={state}")
        assert reply.status == 400
        assert "queued, sending, unknown, done, cancelled, tombstone" in reply.message

    async def test_a_marker_that_is_not_there_is_told(self, front: FrontDesk) -> None:
        reply = await front.ask("GET", f"{REQUESTS}?marker=never")
        assert reply.status == 404
        assert "list again without a marker" in reply.message


def is_ours(record: Record) -> bool:
    return record.project_id == PROJECT


class TestCancel:
    async def test_what_was_not_sent_yet_is_cancelled_for_good(
        self, site: Site, front: FrontDesk
    ) -> None:
        await front.post(headers=ASYNC)
        reply = await front.ask("DELETE", f"{REQUESTS}/foo", auth=BOB)
        assert (reply.status, reply.json["request"]["state"]) == (200, "cancelled")
        record = only(site)
        assert (record.state, record.detail) == (State.CANCELLED, "by its project")
        assert record.expires_at == site.clock() + RESULT_SECONDS
        crew = await site.started()
        await asyncio.sleep(60)
        assert not site.cloud.posts()
        assert (await front.post()).status == 409
        await crew.kill()

    async def test_by_its_id_too(self, site: Site, front: FrontDesk) -> None:
        await front.post(headers=ASYNC)
        reply = await front.ask("DELETE", f"{REQUESTS}/{only(site).id}")
        assert reply.status == 200

    @pytest.mark.parametrize("state", ["done", "unknown", "cancelled", "sending"])
    async def test_what_was_sent_or_has_ended_is_not(
        self, site: Site, front: FrontDesk, state: str
    ) -> None:
        await front.post(headers=ASYNC)
        record, now = only(site), site.clock()
        moves = {
            "done": lambda: request.finish(record, now, status=202, resource=None, keep=60),
            "unknown": lambda: request.give_up(record, "why"),
            "cancelled": lambda: request.cancel(record, now, detail="why", keep=60),
            "sending": lambda: request.begin_send(record, "w", now, 35),
        }
        moved = await site.store.swap(record, moves[state](), result=b"")
        reply = await front.ask("DELETE", f"{REQUESTS}/foo")
        assert reply.status == 409
        assert f"is {state}: only what is queued can be cancelled" in reply.message
        assert only(site) == moved

    async def test_nor_what_a_worker_took_a_moment_before(
        self, site: Site, front: FrontDesk
    ) -> None:
        """The worker's write and the cancellation exclude each other."""
        await front.post(headers=ASYNC)
        swap = site.store.swap

        async def late(before: Record, after: Record, **more: Any) -> Record | None:
            if after.state is State.CANCELLED:
                await swap(before, request.begin_send(before, "w", site.clock(), 35))
            return await swap(before, after, **more)

        site.store.swap = late  # type: ignore[method-assign]
        reply = await front.ask("DELETE", f"{REQUESTS}/foo")
        assert reply.status == 409
        assert "is sending" in reply.message
        assert only(site).state is State.SENDING


def test_what_is_shown_can_be_written_as_json() -> None:
    from dedupd.api.status import describe
    from tests.unit.test_request import attempt, made

    record = made(attempts=(attempt(1),), resource=request.Resource("server", "s-1"))
    assert msgspec.json.decode(msgspec.json.encode(describe(record)))["state"] == "queued"
