"""Row by row: the contract's table "What Nova's answer means for the token"."""

from __future__ import annotations

import msgspec
import pytest

from dedupd import outcome
from dedupd.exchange import Answer
from dedupd.outcome import Outcome, Retry, Ruling

DEFINITE = Ruling(Outcome.DEFINITE)
AMBIGUOUS = Ruling(Outcome.AMBIGUOUS)


def forbidden(message: str) -> bytes:
    return msgspec.json.encode({"forbidden": {"code": 403, "message": message}})


QUOTA_BODIES = [
    forbidden("Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"),
    forbidden("Quota exceeded, too many key pairs."),
    forbidden("Maximum number of ports exceeded"),
    forbidden("Maximum number of metadata items exceeds 128"),
]
_REFUSED = "Policy doesn't allow os_compute_api:{} to be performed."
POLICY_BODIES = [
    forbidden(_REFUSED.format("servers:create")),
    forbidden(_REFUSED.format("os-quota-sets:update")),
    b"",
]


def answer(status: int, body: bytes = b"", retry_after: bytes | None = None) -> Answer:
    headers = () if retry_after is None else ((b"Retry-After", retry_after),)
    return Answer(status, headers, body)


def ruling(status: int, body: bytes = b"") -> Ruling:
    return outcome.classify(answer(status, body))


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (401, Retry.NEVER),
        (408, Retry.ALWAYS),
        (413, Retry.IF_ASKED),
        (425, Retry.ALWAYS),
        (429, Retry.ALWAYS),
    ],
)
def test_no_effect(status: int, retry: Retry) -> None:
    assert ruling(status) == Ruling(Outcome.NO_EFFECT, retry)


@pytest.mark.parametrize("body", QUOTA_BODIES)
def test_a_quota_s_403_has_no_effect(body: bytes) -> None:
    """A repeat may succeed when something was deleted; by itself it will not."""
    assert ruling(403, body) == Ruling(Outcome.NO_EFFECT, Retry.NEVER)


@pytest.mark.parametrize("body", POLICY_BODIES)
def test_a_policy_s_403_is_definite(body: bytes) -> None:
    assert ruling(403, body) == DEFINITE


@pytest.mark.parametrize("body", QUOTA_BODIES)
@pytest.mark.parametrize("status", [400, 404, 409])
def test_other_statuses_are_not_read_for_quota(status: int, body: bytes) -> None:
    assert ruling(status, body) == DEFINITE


@pytest.mark.parametrize("status", [200, 201, 202, 204, 300, 301, 307])
def test_success_and_redirection_are_definite(status: int) -> None:
    assert ruling(status) == DEFINITE


@pytest.mark.parametrize("status", [400, 403, 404, 405, 406, 409, 410, 415, 422, 499])
def test_what_the_client_did_wrong_is_definite(status: int) -> None:
    assert ruling(status) == DEFINITE


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 599])
def test_any_5xx_is_ambiguous(status: int) -> None:
    assert ruling(status, QUOTA_BODIES[0]) == AMBIGUOUS


@pytest.mark.parametrize("status", [0, 100, 199, 600, 999])
def test_what_is_no_final_status_is_ambiguous(status: int) -> None:
    assert ruling(status) == AMBIGUOUS


def test_what_gave_no_answer() -> None:
    assert Ruling(Outcome.NO_EFFECT, Retry.ALWAYS) == outcome.NOT_SENT
    assert outcome.LOST == AMBIGUOUS


@pytest.mark.parametrize("status", range(100, 600))
def test_only_an_effect_that_is_excluded_is_sent_again(status: int) -> None:
    found = ruling(status)
    assert found.retry is Retry.NEVER or found.outcome is Outcome.NO_EFFECT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"0", 0.0),
        (b"120", 120.0),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        (b"soon", None),
        (b"Fri, 31 Dec 1999 23:59:59 GMT", None),
    ],
)
def test_retry_after(value: bytes | None, seconds: float | None) -> None:
    assert outcome.retry_after(answer(429, retry_after=value)) == seconds


def test_what_does_not_name_what_was_made_is_lost() -> None:
    assert outcome.classify(answer(202), nameless=True) == outcome.LOST
