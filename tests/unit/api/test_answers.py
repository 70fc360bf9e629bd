"""What a caller is answered: one row for each state of its request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dedupd.api import answers
from dedupd.errors import Conflict, DedupdError, Unauthorized
from dedupd.exchange import Answer, Headers
from dedupd.ports import Stored
from dedupd.request import Record, State
from dedupd.seal import Unsealable
from dedupd.sealed import seal_answer
from tests.unit.site import KEYS

ID = "0123456789abcdef" * 2
RECORD = Record(
    id=ID,
    birth="b1",
    project_id="p1",
    user_id="alice",
    route="server create",
    path="/v2.1/servers",
    fingerprint=b"",
    parts={},
    created_at=1_800_000_000.25,
    state=State.DONE,
    expires_at=1_800_086_400.0,
    detail="by its project",
)
LINK = (b"Link", f'</dedupd/v1/requests/{ID}>; rel="status"'.encode())
BODY = b'{"server": {"id": "s-1", "adminPass": "secret"}}'
HEADERS: Headers = (
    (b"content-LENGTH", b"10"),
    (b"Location", b"/s-1"),
    (b"DATE", b"long ago"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Set-Cookie", b"a"),
    (b"X-Compute-Request-Id", b"req-2"),
    (b"X-OpenStack-Request-Id", b"req-1"),
)


def stored(state: State = State.DONE, answer: Answer | None = None, **changes: Any) -> Stored:
    record = msgspec.structs.replace(RECORD, state=state, **changes)
    kept = seal_answer(KEYS, record, answer or Answer(202, HEADERS, BODY))
    return Stored(record, None, kept)


def ended(what: Stored, *, first: bool = False, user_id: str = "alice") -> Answer:
    return answers.of_ended(KEYS, what, first=first, user_id=user_id)


class TestDone:
    def test_the_first_caller_gets_it_as_it_came(self) -> None:
        answer = ended(stored(), first=True)
        assert (answer.status, answer.body) == (202, BODY)
        assert answer.headers == (
            (b"Location", b"/s-1"),
            (b"Set-Cookie", b"a"),
            (b"X-Compute-Request-Id", b"req-2"),
            (b"X-OpenStack-Request-Id", b"req-1"),
            (b"Idempotent-Replayed", b"false"),
            (b"Idempotency-Status", b"stored"),
            LINK,
        )

    def test_a_repeat_gets_what_is_for_everybody(self) -> None:
        answer = ended(stored())
        assert (answer.status, answer.body) == (202, BODY)
        assert answer.headers == (
            (b"Location", b"/s-1"),
            (b"X-Openstack-Original-Request-Id", b"req-1"),
            (b"Idempotent-Replayed", b"true"),
            (b"Idempotency-Status", b"stored"),
            LINK,
            (b"Idempotency-First-Request", b"2027-01-15T08:00:00.250Z"),
            (b"Idempotency-Expires", b"2027-01-16T08:00:00.000Z"),
        )

    def test_either_name_of_nova_s_request_id_will_do(self) -> None:
        answer = ended(stored(answer=Answer(202, HEADERS[:6], b"")))
        assert answer.header(b"x-openstack-original-request-id") == b"req-2"
        answer = ended(stored(answer=Answer(202, HEADERS[:5], b"")))
        assert answer.header(b"x-openstack-original-request-id") is None

    def test_another_user_sees_no_secret(self) -> None:
        answer = ended(stored(), user_id="bob")
        assert msgspec.json.decode(answer.body) == {"server": {"id": "s-1"}}
        assert answer.header(b"idempotency-redacted") == b"server.adminPass"

    def test_several_are_all_named(self) -> None:
        body = b'{"adminPass": "a", "server": {"adminPass": "b"}}'
        found = stored(answer=Answer(200, (), body), route="server action")
        answer = ended(found, user_id="bob")
        assert answer.header(b"idempotency-redacted") == b"adminPass, server.adminPass"

    def test_what_hides_nothing_stays_byte_for_byte(self) -> None:
        found = stored(answer=Answer(400, (), b'{ "badRequest":{}}'))
        answer = ended(found, user_id="bob")
        assert answer.body == b'{ "badRequest":{}}'
        assert answer.header(b"idempotency-redacted") is None

    def test_one_that_does_not_open_is_an_error(self) -> None:
        with pytest.raises(Unsealable):
            ended(msgspec.structs.replace(stored(), result=None))


class TestReleased:
    @pytest.mark.parametrize(("first", "replayed"), [(True, b"false"), (False, b"true")])
    def test_it_has_no_record_to_point_to(self, first: bool, replayed: bytes) -> None:
        answer = ended(stored(State.RELEASED), first=first)
        assert answer.header(b"idempotent-replayed") == replayed
        assert answer.header(b"idempotency-status") == b"released"
        for name in (b"link", b"idempotency-first-request", b"idempotency-expires"):
            assert answer.header(name) is None


class TestWithoutAnAnswer:
    @pytest.mark.parametrize(
        ("state", "status", "words"),
        [
            (State.UNKNOWN, 502, f"dedupd request resolve {ID}"),
            (State.CANCELLED, 409, "cancelled before it was sent (by its project)"),
            (State.TOMBSTONE, 412, "its answer has expired"),
        ],
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_the_error_is_the_answer(
        self, state: State, status: int, words: str, first: bool
    ) -> None:
        with pytest.raises(DedupdError) as caught:
            ended(Stored(msgspec.structs.replace(RECORD, state=state)), first=first)
        assert caught.value.status == status
        assert words in caught.value.message


class TestError:
    FAILURE = Conflict("still running", headers={"Retry-After": "5"})

    @pytest.mark.parametrize(
        "accept",
        [
            *(b"", b"*/*", b"application/json", b"text/html", b"application/problem+jsonx"),
            *(b"application/problem+json;q=0", b"application/problem+json; a=b ;Q=0.000 , */*"),
        ],
    )
    def test_has_nova_s_fault_form(self, accept: bytes) -> None:
        answer = answers.error(self.FAILURE, accept=accept, headers=(LINK,))
        assert answer.status == 409
        assert answer.headers == (
            (b"Content-Type", b"application/json"),
            (b"Retry-After", b"5"),
            LINK,
        )
        assert answer.body == self.FAILURE.fault_body()

    @pytest.mark.parametrize(
        "accept",
        [
            b"x/y, application/problem+json",
            b"Application/Problem+JSON;q=0.001",
            b"x/y;q=0,application/problem+json;v=1",
        ],
    )
    def test_or_the_problem_form(self, accept: bytes) -> None:
        answer = answers.error(Unauthorized("who?"), accept=accept)
        assert answer.headers == ((b"Content-Type", b"application/problem+json"),)
        assert answer.body == Unauthorized("who?").problem_body()


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000.1239, "2027-01-15T08:00:00.123Z"),
    ],
)
def test_times_are_rfc_3339(when: float | None, text: str | None) -> None:
    assert answers.timestamp(when) == text
