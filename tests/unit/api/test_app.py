"""Who answers which request: dedupd's own resources, the token path, or Nova."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dedupd.api.app import App
from dedupd.api.passthrough import PassThrough, open_upstream
from tests.engines.ports import free_port
from tests.unit.asgi import Exchange, Reply, call
from tests.unit.fronts import FrontDesk
from tests.unit.site import AUTH, SERVERS, Site
from tests.unit.upstreams import Upstream, upstream

NOVA = b"HTTP/1.1 299 Nova\r\nContent-Length: 4\r\nX-Nova: yes\r\n\r\nnova"
TOKEN = ("X-Client-Token", "foo")
USER = ("X-Auth-Token", AUTH)
ASYNC = ("Prefer", "respond-async")


@pytest.fixture
async def nova() -> AsyncIterator[Upstream]:
    async with upstream(NOVA) as server:
        yield server


@pytest.fixture
async def app(site: Site, nova: Upstream) -> AsyncIterator[App]:
    async with FrontDesk(site).running() as desk, open_upstream() as session:
        yield App(desk.own, desk.idempotent, PassThrough(session, nova.url))


async def asked(app: App, method: str, target: str, *headers: Any, body: bytes = b"") -> Reply:
    length = [("Content-Length", str(len(body)))] if body else []
    return await call(app, method, target, [("Host", "nova"), *headers, *length], [body])


@pytest.mark.parametrize("token", [TOKEN, ("Idempotency-Key", '"foo"')])
async def test_a_post_with_a_token_takes_the_token_path(
    site: Site, app: App, nova: Upstream, token: tuple[str, str]
) -> None:
    reply = await asked(app, "POST", SERVERS, token, USER, ASYNC, body=b'{"server": {}}')
    assert (reply.status, reply.header("idempotency-status")) == (202, "in-progress")
    assert len(site.store._requests) == 1
    assert not nova.heads


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_with_a_token_are_passed_through_and_say_so(
    site: Site, app: App, nova: Upstream, method: str
) -> None:
    reply = await asked(app, method, f"{SERVERS}/s-1", TOKEN)
    assert (reply.status, reply.header("x-nova")) == (299, "yes")
    assert reply.header("idempotency-status") == "ignored"
    assert nova.heads[0].startswith(f"{method} {SERVERS}/s-1 HTTP/1.1\r\n".encode())
    assert not site.store._requests


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_what_has_no_token_is_nova_s_business_alone(
    site: Site, app: App, nova: Upstream, method: str
) -> None:
    """No credentials are asked for, and nothing is added to the answer."""
    site.store.away = True
    reply = await asked(app, method, f"{SERVERS}?a=%2F", body=b"not json")
    assert (reply.status, reply.body) == (299, b"nova")
    assert reply.header("idempotency-status") is None
    assert nova.heads[0].startswith(f"{method} {SERVERS}?a=%2F HTTP/1.1\r\n".encode())
    assert nova.bodies == [b"not json"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/healthz/live", 200),
        ("GET", "/metrics", 200),
        ("GET", "/dedupd/v1/requests", 401),
        ("POST", "/dedupd/v1/requests", 405),
        ("GET", "/dedupd/other", 404),
    ],
)
async def test_dedupd_s_own_paths_never_reach_nova(
    app: App, nova: Upstream, method: str, target: str, status: int
) -> None:
    reply = await asked(app, method, target, TOKEN)
    assert reply.status == status
    assert not nova.heads


@pytest.mark.parametrize("target", ["/", "/dedupd", "/healthz", "/healthcheck", "/v2.1/metrics"])
async def test_paths_that_only_look_like_them_do(app: App, nova: Upstream, target: str) -> None:
    assert (await asked(app, "GET", target)).status == 299
    assert len(nova.heads) == 1


@pytest.mark.parametrize(("method", "target"), [("GET", "*"), ("POST", "*"), ("OPTIONS", "x")])
async def test_a_target_that_is_no_path_is_refused(
    app: App, nova: Upstream, method: str, target: str
) -> None:
    reply = await asked(app, method, target, TOKEN)
    assert reply.status == 400
    assert "must begin with a slash" in reply.message
    assert not nova.heads


async def test_whether_the_server_is_there_is_answered(app: App, nova: Upstream) -> None:
    reply = await asked(app, "OPTIONS", "*")
    assert (reply.status, reply.header("content-length"), reply.body) == (200, "0", b"")
    assert not nova.heads


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/healthz/live", 200),
        ("GET", "/dedupd/v1/requests", 401),
        ("GET", "/dedupd/other", 404),
        ("POST", "/dedupd/v1/requests", 405),
        ("GET", SERVERS, 299),
        ("OPTIONS", "*", 200),
    ],
)
async def test_what_dedupd_answers_itself_is_dated_once(
    app: App, method: str, target: str, status: int
) -> None:
    """Nova dates its own, or does not."""
    reply = await asked(app, method, target)
    assert reply.status == status
    assert (reply.header("date") is None) == (status == 299)


@pytest.mark.parametrize(
    "path", ["/dedupd/v1/requests", "/%64edupd/v1/requests", "/dedupd/v1/%72equests"]
)
async def test_a_path_may_be_spelled_in_any_way(app: App, path: str) -> None:
    accepted = await asked(app, "POST", SERVERS, TOKEN, USER, ASYNC, body=b'{"server": {}}')
    assert accepted.status == 202
    reply = await asked(app, "GET", f"{path}/f%6Fo", USER)
    assert (reply.status, reply.json["request"]["state"]) == (200, "queued")


async def test_what_is_not_http_is_left_alone(app: App) -> None:
    exchange = Exchange(app, "GET", "/")
    exchange.scope["type"] = "websocket"
    assert await exchange() is None


@pytest.mark.parametrize("headers", [[], [TOKEN]])
async def test_without_nova_it_is_502_in_nova_s_form(site: Site, headers: list[Any]) -> None:
    async with FrontDesk(site).running() as desk, open_upstream() as session:
        passthrough = PassThrough(session, f"http://127.0.0.1:{free_port()}")
        app = App(desk.own, desk.idempotent, passthrough)
        reply = await asked(app, "GET", SERVERS, *headers)
        assert reply.status == 502
        assert reply.header("content-type") == "application/json"
        assert reply.message
        problem = ("Accept", "application/problem+json")
        reply = await asked(app, "GET", SERVERS, problem, *headers)
        assert reply.json["status"] == 502


async def test_an_error_of_its_own_resources_has_either_form(app: App) -> None:
    reply = await asked(app, "GET", "/dedupd/v1/requests")
    assert list(reply.json) == ["unauthorized"]
    assert reply.header("www-authenticate")
    reply = await asked(app, "GET", "/dedupd/v1/x", ("Accept", "application/problem+json"))
    assert (reply.header("content-type"), reply.json["title"]) == (
        "application/problem+json",
        "itemNotFound",
    )
