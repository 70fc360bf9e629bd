"""What a caller on the token path is answered: one row for each state of its request."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

import msgspec

from dedupd.api.hop import end_to_end
from dedupd.cloud import routes
from dedupd.errors import (
    PROBLEM_JSON,
    Conflict,
    DedupdError,
    GatewayTimeout,
    TokenExpired,
    UnknownOutcome,
)
from dedupd.exchange import Answer, Headers
from dedupd.microversion import HEADERS as MICROVERSION_HEADERS
from dedupd.ports import Stored
from dedupd.request import Record, State
from dedupd.seal import Keys
from dedupd.sealed import open_answer

STATUS_PATH = "/dedupd/v1/requests/"

REPLAYED = MICROVERSION_HEADERS | {b"location", b"content-type", b"vary"}
"""What a repeat gets of the first answer's headers, beside Nova's request id under a new name."""

STATUS = {
    State.QUEUED: "in-progress",
    State.SENDING: "in-progress",
    State.UNKNOWN: "unknown",
    State.DONE: "stored",
    State.CANCELLED: "stored",
    State.RELEASED: "released",
    State.TOMBSTONE: "stored",
}
"""What Idempotency-Status says of each state."""

_NO_WEIGHT = re.compile(rb"q=0(?:\.0{0,3})?")
_RETRY_AFTER = {"Retry-After": "5"}
_REQUEST_IDS = (b"x-openstack-request-id", b"x-compute-request-id")
_ORIGINAL_REQUEST_ID = b"X-Openstack-Original-Request-Id"


def of_ended(keys: Keys, stored: Stored, *, first: bool, user_id: str) -> Answer:
    """The answer for a request that has ended, or is unknown.

    Args:
        keys: Open the stored answer.
        stored: The request.
        first: Whether this caller's POST is the one that was carried out.
        user_id: Who asks: another user than the first sees no secrets.

    Raises:
        DedupdError: there is no stored answer; the error is the answer.
    """
    record = stored.record
    if record.state in REFUSALS:
        raise REFUSALS[record.state](record)
    answer = open_answer(keys, stored)
    kept = end_to_end(answer.headers) if first else _replayable(answer)
    if record.state is State.RELEASED:
        return _with(answer, (*kept, *marks("released", replayed=not first)))
    common = marks("stored", replayed=not first, record=record)
    if first:
        return _with(answer, (*kept, *common))
    body, removed = _visible(record, answer.body, user_id)
    return Answer(answer.status, (*kept, *common, *_history(record), *removed), body)


def accepted(record: Record) -> Answer:
    """202: it goes on without the caller."""
    body = msgspec.json.encode({"request": {"id": record.id, "state": record.state.label}})
    headers = (
        (b"Content-Type", b"application/json"),
        (b"Preference-Applied", b"respond-async"),
        (b"Location", status_url(record).encode()),
        *marks("in-progress", replayed=False, record=record),
    )
    return Answer(202, headers, body)


def still_running() -> Conflict:
    """A repeat is not held any longer."""
    return Conflict(
        "The first request with this token is still running. Repeat with the same token to get "
        "its answer; it is not carried out twice.",
        headers=_RETRY_AFTER,
    )


def unfinished() -> GatewayTimeout:
    """The first caller is not held any longer."""
    return GatewayTimeout(
        "The request has not finished yet and goes on. Repeat with the same token to get its "
        "answer; it is not carried out twice.",
        headers=_RETRY_AFTER,
    )


def error(failure: DedupdError, *, accept: bytes, headers: Headers = ()) -> Answer:
    """An error of dedupd's own, in Nova's fault form or, where that is asked for, RFC 9457's."""
    problem = _accepts_problem(accept)
    content_type = PROBLEM_JSON.encode() if problem else b"application/json"
    body = failure.problem_body() if problem else failure.fault_body()
    extra = tuple((name.encode(), value.encode()) for name, value in failure.headers.items())
    return Answer(failure.status, ((b"Content-Type", content_type), *extra, *headers), body)


def _accepts_problem(accept: bytes) -> bool:
    """Whether Accept names RFC 9457's media type, and does not refuse it (RFC 9110, 12.5.1)."""
    for item in accept.lower().split(b","):
        media, *parameters = (part.strip() for part in item.split(b";"))
        if media == PROBLEM_JSON.encode():
            return not any(map(_NO_WEIGHT.fullmatch, parameters))
    return False


def marks(status: str, *, replayed: bool, record: Record | None = None) -> Headers:
    """The headers that every answer on the token path carries."""
    found: Headers = (
        (b"Idempotent-Replayed", b"true" if replayed else b"false"),
        (b"Idempotency-Status", status.encode()),
    )
    return found if record is None else (*found, link(record))


def link(record: Record) -> tuple[bytes, bytes]:
    """The Link header that names the request's status."""
    return (b"Link", f'<{status_url(record)}>; rel="status"'.encode())


def status_url(record: Record) -> str:
    """Where the request's status is: by its id, so that no token stands in anyone's access log."""
    return STATUS_PATH + quote(record.id)


@lru_cache(maxsize=4096)
def timestamp(when: float | None) -> str | None:
    """RFC 3339, in UTC, to the millisecond; repeats ask for the same ones."""
    if when is None:
        return None
    moment = datetime.datetime.fromtimestamp(when, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unknown(record: Record) -> DedupdError:
    return UnknownOutcome(
        "Nobody can tell whether Nova carried this request out, and it is not sent again by "
        f"itself: {record.detail} Look for its effect, or ask your operator to settle it "
        f"(dedupd request resolve {record.id})."
    )


def _cancelled(record: Record) -> DedupdError:
    return Conflict(
        f"This request was cancelled before it was sent ({record.detail}); nothing was made. Use "
        "a new token."
    )


def _expired(_: Record) -> DedupdError:
    return TokenExpired(
        "This token was used before and its answer has expired, so it is not carried out again. "
        "Use a new token for a new request."
    )


REFUSALS: dict[State, Callable[[Record], DedupdError]] = {
    State.UNKNOWN: _unknown,
    State.CANCELLED: _cancelled,
    State.TOMBSTONE: _expired,
}
"""The states that have no answer of Nova's to give."""


def _history(record: Record) -> Headers:
    return (
        (b"Idempotency-First-Request", (timestamp(record.created_at) or "").encode()),
        (b"Idempotency-Expires", (timestamp(record.expires_at) or "").encode()),
    )


def _visible(record: Record, body: bytes, user_id: str) -> tuple[bytes, Headers]:
    """The body as this user may see it, and the header that says what was removed."""
    if user_id == record.user_id:
        return body, ()
    body, removed = routes.redact(routes.BY_NAME[record.route], body)
    header = (b"Idempotency-Redacted", ", ".join(removed).encode())
    return body, (header,) if removed else ()


def _replayable(answer: Answer) -> Headers:
    kept = tuple(pair for pair in answer.headers if pair[0].lower() in REPLAYED)
    original = next((answer.header(name) for name in _REQUEST_IDS if answer.header(name)), None)
    return kept if original is None else (*kept, (_ORIGINAL_REQUEST_ID, original))


def _with(answer: Answer, headers: Headers) -> Answer:
    return msgspec.structs.replace(answer, headers=headers)
