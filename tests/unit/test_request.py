"""The record's states and the functions between them; a store keeps what they return."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd import request
from dedupd.request import KEPT_ATTEMPTS, Attempt, Record, Resource, State, Verdict

NOW = 1_800_000_000.0
SERVER = Resource("server", "s-1", "vm", "/v2.1/servers/s-1")

Transition = Callable[[Record, float], Record]

TRANSITIONS: dict[str, Transition] = {
    "begin_send": lambda record, now: request.begin_send(record, "w1", now, 30.0),
    "end_attempt": lambda record, now: (
        request.end_attempt(record, Verdict.AMBIGUOUS, now) if record.attempts else record
    ),
    "note_existed": lambda record, _: request.note_existed(record, existed=False),
    "take_over": lambda record, _: request.take_over(record, "w2"),
    "requeue": lambda record, now: request.requeue(record, "w3", now + 300),
    "send_again": lambda record, _: request.send_again(record, "why"),
    "finish": lambda record, now: request.finish(record, now, status=202, resource=SERVER, keep=60),
    "release": lambda record, now: request.release(record, now, status=429, keep=60),
    "give_up": lambda record, _: request.give_up(record, "why"),
    "cancel": lambda record, now: request.cancel(record, now, detail="why", keep=60),
    "bury": lambda record, now: request.bury(record, now, keep=60),
}
STATES = {
    "begin_send": State.SENDING,
    "requeue": State.QUEUED,
    "send_again": State.QUEUED,
    "finish": State.DONE,
    "release": State.RELEASED,
    "give_up": State.UNKNOWN,
    "cancel": State.CANCELLED,
    "bury": State.TOMBSTONE,
}
IDENTITY = ("id", "birth", "project_id", "user_id", "route", "path", "fingerprint", "created_at")


def made(**changes: object) -> Record:
    record = Record(
        id="0" * 32,
        birth="b1",
        project_id="p1",
        user_id="u1",
        route="server create",
        path="/v2.1/servers",
        fingerprint=b"print",
        parts={"path": b"digest"},
        created_at=NOW,
    )
    return msgspec.structs.replace(record, **changes)


def attempt(number: int, verdict: Verdict = Verdict.SENDING) -> Attempt:
    return Attempt(f"w{number}", NOW + number, NOW + number + 30, verdict)


class TestState:
    @pytest.mark.parametrize(
        ("state", "pending", "awaited", "vacant"),
        [
            (State.QUEUED, True, True, False),
            (State.SENDING, True, True, False),
            (State.UNKNOWN, True, False, False),
            (State.DONE, False, False, False),
            (State.CANCELLED, False, False, False),
            (State.RELEASED, False, False, True),
            (State.TOMBSTONE, False, False, False),
        ],
    )
    def test_says_what_may_still_happen(
        self, state: State, pending: bool, awaited: bool, vacant: bool
    ) -> None:
        assert (state.pending, state.awaited, state.vacant) == (pending, awaited, vacant)

    def test_has_the_labels_of_the_contract(self) -> None:
        labels = [state.label for state in State]
        ended = ["done", "cancelled", "released", "tombstone"]
        assert labels == ["queued", "sending", "unknown", *ended]


class TestBeginSend:
    def test_names_the_owner_and_when_nothing_more_is_sent(self) -> None:
        sending = request.begin_send(made(), "w1", NOW + 5, 130.0)
        assert (sending.state, sending.owner) == (State.SENDING, "w1")
        assert sending.attempts == (Attempt("w1", NOW + 5, NOW + 135),)
        assert sending.sending.verdict is Verdict.SENDING
        assert sending.first_sent_at == NOW + 5

    @pytest.mark.parametrize("before", [0, 1, KEPT_ATTEMPTS, KEPT_ATTEMPTS + 1, 50])
    def test_keeps_the_first_attempt_and_the_latest(self, before: int) -> None:
        record = made()
        for number in range(before + 1):
            record = request.begin_send(record, f"w{number}", NOW + number, 30.0)
        workers = [each.worker for each in record.attempts]
        everyone = [f"w{number}" for number in range(before + 1)]
        assert workers == everyone[:1] + everyone[1:][-KEPT_ATTEMPTS:]
        assert record.first_sent_at == NOW


class TestEndAttempt:
    def test_ends_the_latest_attempt_alone(self) -> None:
        record = made(state=State.SENDING, attempts=(attempt(1, Verdict.NO_EFFECT), attempt(2)))
        ended = request.end_attempt(record, Verdict.ANSWERED, NOW + 9, status=202, detail="as told")
        assert ended.attempts[0] == record.attempts[0]
        assert ended.sending == Attempt(
            "w2", NOW + 2, NOW + 32, Verdict.ANSWERED, 202, "as told", NOW + 9
        )
        assert ended.state is State.SENDING

    def test_in_doubt_it_may_have_sent_until_now(self) -> None:
        record = made(state=State.SENDING, attempts=(attempt(1),))
        deadline = record.sending.send_deadline
        late = request.end_attempt(record, Verdict.AMBIGUOUS, deadline + 600)
        assert late.sending.send_deadline == deadline + 600
        early = request.end_attempt(record, Verdict.AMBIGUOUS, deadline - 1)
        assert early.sending.send_deadline == deadline
        certain = request.end_attempt(record, Verdict.NO_EFFECT, deadline + 600)
        assert certain.sending.send_deadline == deadline

    def test_of_what_was_never_sent_is_an_error(self) -> None:
        with pytest.raises(IndexError):
            request.end_attempt(made(), Verdict.ANSWERED, NOW)
        with pytest.raises(IndexError):
            _ = made().sending
        assert made().first_sent_at is None


def test_what_existed_is_noted() -> None:
    assert made().existed is None
    assert request.note_existed(made(), existed=True).existed is True
    assert request.note_existed(made(existed=True), existed=None).existed is None


def test_a_take_over_changes_the_owner_alone() -> None:
    record = made(state=State.SENDING, owner="w1", attempts=(attempt(1),))
    assert request.take_over(record, "w2") == msgspec.structs.replace(record, owner="w2")


class TestRequeue:
    def test_leaves_it_with_the_worker_that_waits_to_send_it(self) -> None:
        record = made(state=State.SENDING, owner="w1", attempts=(attempt(1),))
        queued = request.requeue(record, "w2", NOW + 300)
        assert (queued.state, queued.owner) == (State.QUEUED, "w2")
        assert (queued.retry_until, queued.attempts) == (NOW + 300, record.attempts)

    def test_the_first_deadline_counts(self) -> None:
        once = request.requeue(made(), "w1", NOW + 300)
        assert request.requeue(once, "w1", NOW + 900).retry_until == NOW + 300
        assert request.requeue(made(retry_until=0.0), "w1", NOW + 900).retry_until == 0.0


def test_an_operator_s_word_lets_retries_start_anew() -> None:
    record = made(
        state=State.UNKNOWN, retry_until=NOW, attempts=(attempt(1),), detail="lost", vain_since=NOW
    )
    again = request.send_again(record, "by an operator")
    assert (again.state, again.owner, again.retry_until) == (State.QUEUED, "", None)
    assert again.vain_since is None
    assert again.detail == "by an operator"
    assert again.attempts == record.attempts


class TestEnds:
    def test_done_keeps_status_and_resource_for_its_time(self) -> None:
        record = made(state=State.UNKNOWN, owner="w1", detail="nobody knew")
        done = request.finish(record, NOW + 1, status=202, resource=SERVER, keep=60)
        assert (done.state, done.owner, done.detail) == (State.DONE, "", "")
        assert (done.status, done.resource) == (202, SERVER)
        assert (done.completed_at, done.expires_at) == (NOW + 1, NOW + 61)

    def test_released_stays_for_those_who_wait(self) -> None:
        record = made(state=State.SENDING, owner="w1")
        released = request.release(record, NOW + 1, status=429, keep=60)
        assert (released.state, released.owner, released.status) == (State.RELEASED, "", 429)
        assert (released.completed_at, released.expires_at) == (NOW + 1, NOW + 61)
        assert request.release(record, NOW, status=None, keep=60).status is None

    def test_unknown_says_why_and_never_expires(self) -> None:
        unknown = request.give_up(made(state=State.SENDING, owner="w1"), "cell down")
        assert (unknown.state, unknown.owner, unknown.detail) == (State.UNKNOWN, "", "cell down")
        assert (unknown.completed_at, unknown.expires_at) == (None, None)

    def test_cancelled_says_by_whom(self) -> None:
        cancelled = request.cancel(made(owner="w1"), NOW + 1, detail="by its project", keep=60)
        assert (cancelled.state, cancelled.owner) == (State.CANCELLED, "")
        assert cancelled.detail == "by its project"
        assert (cancelled.completed_at, cancelled.expires_at) == (NOW + 1, NOW + 61)

    def test_a_tombstone_keeps_little_but_the_id(self) -> None:
        record = made(state=State.DONE, attempts=(attempt(1),), expires_at=NOW)
        buried = request.bury(record, NOW + 1, keep=60)
        assert (buried.state, buried.expires_at) == (State.TOMBSTONE, NOW + 61)
        assert (buried.parts, buried.attempts) == ({}, ())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=14))
def test_whatever_happens_identity_and_fence_stay(steps: list[str]) -> None:
    """No transition touches who the request is, what it was, or the store's version of it."""
    record, now = made(version=7), NOW
    for step in steps:
        before, now = record, now + 1
        record = TRANSITIONS[step](record, now)
        for name in (*IDENTITY, "version"):
            assert getattr(record, name) == getattr(made(version=7), name)
        assert record.state is STATES.get(step, before.state)
        assert len(record.attempts) <= 1 + KEPT_ATTEMPTS
        assert (record.expires_at is not None) == (
            before.expires_at is not None or step in ("finish", "release", "cancel", "bury")
        )
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record) == record
