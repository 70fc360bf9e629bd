"""Errors as callers read them: Nova's fault form, or RFC 9457's."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import msgspec
import pytest

from dedupd import errors, ports
from dedupd.cloud.ask import CannotAsk
from dedupd.errors import Conflict, DedupdError, Engine, Unavailable
from dedupd.sim.nova.wire import FAULT_NAMES


def kinds(base: type[DedupdError] = DedupdError) -> Iterator[type[DedupdError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


ANSWERED = [kind for kind in kinds() if kind.__module__.startswith("dedupd.")]


def test_they_say_what_they_were_told() -> None:
    error = Conflict("still running", headers={"Retry-After": "5"})
    assert str(error) == error.message == "still running"
    assert error.headers == {"Retry-After": "5"}
    assert Conflict("again").headers == {}


def test_operators_may_read_more_than_callers() -> None:
    error = Conflict("still running", operators="still running at mq1")
    assert (str(error), error.message) == ("still running at mq1", "still running")
    assert b"mq1" not in error.fault_body() + error.problem_body()


@pytest.mark.parametrize("kind", [*kinds(Unavailable)])
def test_operators_read_where_an_engine_is_and_callers_do_not(kind: type[Unavailable]) -> None:
    error = kind.of(Engine("The broker", "mq1:5672"), " is away", "mq1 said no")
    assert str(error) == "The broker mq1:5672 is away: mq1 said no."
    assert error.message == "The broker is away."
    assert str(kind.of(Engine("The broker", "mq1:5672"), " is full")) == (
        "The broker mq1:5672 is full."
    )


@pytest.mark.parametrize("kind", ANSWERED)
def test_nova_s_fault_form(kind: type[DedupdError]) -> None:
    """The message of the first object in the body is what every client shows."""
    body = msgspec.json.decode(kind('"ü"').fault_body())
    assert body == {kind.name: {"code": kind.status, "message": '"ü"'}}


@pytest.mark.parametrize("kind", ANSWERED)
def test_the_problem_form(kind: type[DedupdError]) -> None:
    body = msgspec.json.decode(kind("what").problem_body())
    assert body["status"] == kind.status == HTTPStatus(kind.status)
    assert body["detail"] == "what"
    assert body["type"] == "about:blank"
    assert body["title"]


@pytest.mark.parametrize("kind", ANSWERED)
def test_where_nova_has_a_name_for_a_status_it_is_ours_too(kind: type[DedupdError]) -> None:
    assert kind.name == FAULT_NAMES.get(kind.status, kind.name)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.BadRequest, 400),
        (errors.Unauthorized, 401),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.MethodNotAllowed, 405),
        (errors.Conflict, 409),
        (errors.TokenExpired, 412),
        (errors.BodyTooLarge, 413),
        (errors.FingerprintMismatch, 422),
        (errors.UnknownOutcome, 502),
        (errors.BadGateway, 502),
        (errors.Unavailable, 503),
        (errors.GatewayTimeout, 504),
        (ports.StoreUnavailable, 503),
        (ports.QueueUnavailable, 503),
        (ports.NotSent, 502),
        (ports.Lost, 502),
        (CannotAsk, 502),
        (errors.ConfigError, 500),
    ],
)
def test_the_statuses_of_the_contract(kind: type[DedupdError], status: int) -> None:
    assert kind("what").status == status
