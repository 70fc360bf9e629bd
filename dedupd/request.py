"""The vocabulary: a request's record, its states, and the pure functions between them.

``queued -> sending -> done``, ``sending -> unknown -> done``, ``queued -> cancelled``. A request
that had no effect is *released*: its record stays for those who wait for it, and for a sender who
is late, but a repeat finds it gone. A record whose answer has expired is a *tombstone*.

A record is never changed in place: a function here makes the next one, and a store writes it with
one compare-and-swap. Times are seconds since the epoch (wall clock, UTC).
"""

from __future__ import annotations

import enum

import msgspec

KEPT_ATTEMPTS = 8
"""The first attempt stays in the record, and as many of the latest: a record stays small."""


class State(enum.IntEnum):
    """Where a request stands. The first three are pending: somebody must still act on them."""

    QUEUED = 0
    SENDING = 1
    UNKNOWN = 2
    DONE = 3
    CANCELLED = 4
    RELEASED = 5
    TOMBSTONE = 6

    @property
    def pending(self) -> bool:
        """Whether the request has not ended yet."""
        return self <= State.UNKNOWN

    @property
    def awaited(self) -> bool:
        """Whether a caller may wait for it: it moves on by itself."""
        return self <= State.SENDING

    @property
    def answered(self) -> bool:
        """Whether a result may stand with it: neither while it is awaited nor as a tombstone."""
        return State.SENDING < self < State.TOMBSTONE

    @property
    def vacant(self) -> bool:
        """Whether a new claim may take the record's place."""
        return self is State.RELEASED

    @property
    def label(self) -> str:
        """The state's name as API, CLI and metrics show it."""
        return self.name.lower()


class Verdict(enum.StrEnum):
    """How one attempt ended, as the record's history shows it."""

    SENDING = "sending"
    ANSWERED = "answered"
    NO_EFFECT = "no-effect"
    AMBIGUOUS = "ambiguous"
    ADOPTED = "adopted"
    ABSENT = "absent"


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """One time that the request was sent to Nova, or was about to be."""

    worker: str
    started_at: float
    send_deadline: float
    """When the sender gives up: nothing is sent by this attempt after it."""
    verdict: Verdict = Verdict.SENDING
    status: int | None = None
    detail: str = ""
    ended_at: float | None = None


class Resource(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """What the request made in Nova."""

    type: str
    id: str
    name: str = ""
    link: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """Everything about one request but what it carries: small, and never a secret.

    Coded by position, which takes a quarter less room and time: a field may only be added behind
    the last one, with a default, here and in ``Attempt`` and ``Resource``.
    """

    id: str
    """The keyed hash of (region, project, token): 32 hexadecimal characters."""
    birth: str
    """Drawn at the claim: tells two lives of one id apart (after a release, or ``forget``)."""
    project_id: str
    user_id: str
    route: str
    """The name of the row in ``cloud/routes.py`` that the request matched."""
    path: str
    fingerprint: bytes
    parts: dict[str, bytes]
    """A short keyed digest for each top-level part: names what differs, never a value."""
    created_at: float
    state: State = State.QUEUED
    owner: str = ""
    """The worker that holds the request in SENDING, or, in QUEUED, waits to send it again."""
    attempts: tuple[Attempt, ...] = ()
    existed: bool | None = None
    """Whether what the request makes was there before the first send (None: not asked)."""
    retry_until: float | None = None
    """Until when a request without effect is tried again; set by the first such attempt."""
    status: int | None = None
    """The stored answer's HTTP status."""
    resource: Resource | None = None
    detail: str = ""
    """Why the state is what it is, for people: of an unknown, a cancelled or a resolved one."""
    completed_at: float | None = None
    expires_at: float | None = None
    """When this state ends: a result becomes a tombstone, a tombstone or a release vanishes."""
    version: int = 0
    """The store's fence (etcd: mod_revision); set by the store alone."""
    vain_since: float | None = None
    """When nothing was found for the first time of what had been sent."""
    promised: bool = False
    """Whether somebody was told that it goes on, who was not its claim's first caller: from then on
    the front that claimed it cannot take it back."""

    @property
    def sending(self) -> Attempt:
        """The latest attempt.

        Raises:
            IndexError: the request was never sent.
        """
        return self.attempts[-1]

    @property
    def first_sent_at(self) -> float | None:
        """When the request was first sent, or None."""
        return self.attempts[0].started_at if self.attempts else None

    @property
    def in_vain(self) -> bool:
        """Whether nothing was found of what had been sent; who sent it may yet be asleep."""
        return self.vain_since is not None or any(
            attempt.verdict is Verdict.ABSENT for attempt in self.attempts
        )


def begin_send(record: Record, worker: str, now: float, timeout: float) -> Record:
    """The record that must be written before a byte is sent: SENDING, owned by ``worker``."""
    attempt = Attempt(worker=worker, started_at=now, send_deadline=now + timeout)
    kept = record.attempts[:1] + record.attempts[1:][1 - KEPT_ATTEMPTS :]
    return msgspec.structs.replace(
        record, state=State.SENDING, owner=worker, attempts=(*kept, attempt)
    )


def promise(record: Record) -> Record:
    """The record when somebody is to be told that it goes on; the write fences its front off."""
    return msgspec.structs.replace(record, promised=True)


def note_existed(record: Record, existed: bool | None) -> Record:
    """The record with what was asked before the first send; written with the next step."""
    return msgspec.structs.replace(record, existed=existed)


def end_attempt(
    record: Record, verdict: Verdict, now: float, *, status: int | None = None, detail: str = ""
) -> Record:
    """The record with its latest attempt ended; the state stays.

    One that ends in doubt may have sent until now, whatever its deadline was: its process may have
    been paused, or the clock it was written by may differ from ours.
    """
    last = record.sending
    doubtful = verdict is Verdict.AMBIGUOUS
    ended = msgspec.structs.replace(
        last,
        verdict=verdict,
        status=status,
        detail=detail,
        ended_at=now,
        send_deadline=max(last.send_deadline, now) if doubtful else last.send_deadline,
    )
    attempts = (*record.attempts[:-1], ended)
    if verdict is not Verdict.ABSENT or record.vain_since is not None:
        return msgspec.structs.replace(record, attempts=attempts)
    return msgspec.structs.replace(record, attempts=attempts, vain_since=now)


def with_attempt(record: Record, attempt: Attempt) -> Record:
    """The record with its latest attempt as ``attempt`` has it."""
    return msgspec.structs.replace(record, attempts=(*record.attempts[:-1], attempt))


def is_in_doubt(record: Record, sent: Record) -> bool:
    """Whether nobody has decided yet what became of ``sent``'s latest attempt.

    ``record`` stands, ``sent`` is what its sender knew: nothing was sent since, of the same life,
    and what was sent is awaited or unknown.
    """
    if record.birth != sent.birth or record.state not in (State.SENDING, State.UNKNOWN):
        return False
    last, own = record.sending, sent.sending
    same = (last.worker, last.started_at) == (own.worker, own.started_at)
    return same and last.verdict in (Verdict.SENDING, Verdict.AMBIGUOUS)


def take_over(record: Record, worker: str) -> Record:
    """The record with a new owner; the write's new version fences the old owner off."""
    return msgspec.structs.replace(record, owner=worker)


def requeue(record: Record, worker: str, retry_until: float) -> Record:
    """Back to QUEUED: no attempt had an effect, and ``worker`` ("": none) waits to send again."""
    until = record.retry_until if record.retry_until is not None else retry_until
    return msgspec.structs.replace(record, state=State.QUEUED, owner=worker, retry_until=until)


def send_again(record: Record, detail: str) -> Record:
    """QUEUED once more because an operator says so (``detail``): its retries start anew."""
    return msgspec.structs.replace(
        record, state=State.QUEUED, owner="", retry_until=None, vain_since=None, detail=detail
    )


def finish(
    record: Record,
    now: float,
    *,
    status: int,
    resource: Resource | None,
    keep: float,
    detail: str = "",
) -> Record:
    """DONE: the answer with this status is kept for ``keep`` seconds."""
    return msgspec.structs.replace(
        record,
        state=State.DONE,
        owner="",
        status=status,
        resource=resource,
        detail=detail,
        completed_at=now,
        expires_at=now + keep,
    )


def release(record: Record, now: float, *, status: int | None, keep: float) -> Record:
    """RELEASED: no effect; the answer stays ``keep`` seconds for those who wait, then nothing."""
    return msgspec.structs.replace(
        record,
        state=State.RELEASED,
        owner="",
        status=status,
        completed_at=now,
        expires_at=now + keep,
    )


def give_up(record: Record, detail: str) -> Record:
    """UNKNOWN: it may have happened and cannot be decided; ``detail`` says why."""
    return msgspec.structs.replace(record, state=State.UNKNOWN, owner="", detail=detail)


def cancel(record: Record, now: float, *, detail: str, keep: float) -> Record:
    """CANCELLED: never sent, and never will be."""
    return msgspec.structs.replace(
        record,
        state=State.CANCELLED,
        owner="",
        detail=detail,
        completed_at=now,
        expires_at=now + keep,
    )


def bury(record: Record, now: float, *, keep: float) -> Record:
    """TOMBSTONE: the answer is gone, but the token stays used for ``keep`` seconds more."""
    return msgspec.structs.replace(
        record, state=State.TOMBSTONE, parts={}, attempts=(), expires_at=now + keep
    )
