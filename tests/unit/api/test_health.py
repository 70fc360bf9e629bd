"""Whether a process lives, whether it can work, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dedupd.api.health import READY_SECONDS, Check
from dedupd.errors import Engine, Unavailable
from tests.unit.fronts import FrontDesk
from tests.unit.site import Site

VIRTUAL_TIME = True


async def fine() -> None:
    """All is well."""


async def away() -> None:
    raise Unavailable.of(Engine("The store", "at:1"), " is away", "at:1 does not exist")


async def silent() -> None:
    await asyncio.Event().wait()


Ask = Callable[..., FrontDesk]


@pytest.fixture
def desk(site: Site) -> Ask:
    def made(**checks: Check) -> FrontDesk:
        return FrontDesk(site, checks=checks)

    return made


async def test_a_process_that_answers_lives(desk: Ask) -> None:
    reply = await desk(store=away).ask("GET", "/healthz/live", auth=None)
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert reply.header("content-type") == "application/json"


async def test_it_is_ready_when_every_check_passes(desk: Ask) -> None:
    reply = await desk(store=fine, queue=fine).ask("GET", "/healthz/ready", auth=None)
    assert reply.status == 200
    assert reply.json == {"status": "ok", "checks": {"store": "ok", "queue": "ok"}}


async def test_one_that_fails_is_named_with_its_reason(desk: Ask) -> None:
    reply = await desk(store=away, queue=fine).ask("GET", "/healthz/ready", auth=None)
    assert reply.status == 503
    checks = {"store": "The store is away.", "queue": "ok"}
    assert reply.json == {"status": "failed", "checks": checks}


async def test_none_is_waited_for_for_long(site: Site, desk: Ask) -> None:
    began = site.clock()
    checks = {"store": silent, "queue": silent, "worker": fine}
    reply = await desk(**checks).ask("GET", "/healthz/ready", auth=None)
    assert site.clock() - began == pytest.approx(READY_SECONDS)
    assert reply.status == 503
    assert reply.json["checks"] == {
        "store": "no answer within 3 s",
        "queue": "no answer within 3 s",
        "worker": "ok",
    }


async def test_metrics_can_be_scraped(desk: Ask) -> None:
    front = desk()
    front.metrics.compensated.inc()
    reply = await front.ask("GET", "/metrics", auth=None)
    assert reply.status == 200
    assert (reply.header("content-type") or "").startswith("text/plain; version=0.0.4")
    assert b"dedupd_compensations_total 1.0" in reply.body


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/healthz/other", 404, None),
        ("GET", "/dedupd/", 404, None),
        ("GET", "/dedupd/v1/other", 404, None),
        ("GET", "/metricsx", 404, None),
        ("POST", "/healthz/live", 405, "GET, HEAD"),
        ("PUT", "/dedupd/v1/requests/foo", 405, "DELETE, GET, HEAD"),
        ("POST", "/dedupd/v1/requests", 405, "GET, HEAD"),
    ],
)
async def test_what_is_not_there_is_told_as_nova_would(
    desk: Ask, method: str, target: str, status: int, allow: str | None
) -> None:
    reply = await desk().ask(method, target)
    assert reply.status == status
    assert reply.header("allow") == allow
    has = f"{target} has no {method}: it has {allow}."
    assert reply.message == (has if allow else f"{target} is not there.")
