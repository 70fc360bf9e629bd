"""The token path: a POST with a client token is claimed, handed to a worker, and answered once.

However often it arrives, and on however many fronts, one claim wins; the others wait for its
answer. Read this together with ``worker/executor.py``, which is the other half of the promise.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property

from oslo_log import log
from starlette.types import Receive, Scope, Send

from dedupd import fingerprint, request, ssh_key, token
from dedupd.api import answers, prefer
from dedupd.api import question as questions
from dedupd.api.admission import Admission
from dedupd.api.auth import Authenticator
from dedupd.api.body import Body, too_slow
from dedupd.api.disconnect import ClientGone, Disconnect
from dedupd.api.latch import Latch, Waiter
from dedupd.api.question import Question
from dedupd.api.recent import Recent
from dedupd.api.repeats import Repeats
from dedupd.api.respond import respond
from dedupd.api.withdrawal import Withdrawals
from dedupd.errors import DedupdError, FingerprintMismatch, Unavailable
from dedupd.exchange import Answer, header
from dedupd.metrics import Metrics
from dedupd.ports import Queue, QueueUnavailable, Store, Stored, StoreUnavailable, Unreadable
from dedupd.request import Record, State
from dedupd.seal import Keys, Unsealable
from dedupd.ssh_key import GeneratedKey

LOG = log.getLogger(__name__)

ENGINES_SECONDS = 4.5
"""How long store and broker may take for one caller, all that is asked of them together: it hears
within five seconds that they are away, whichever of them is, and whenever."""


@dataclass(frozen=True)
class FrontLimits:
    """How long a caller is held, what a body may weigh, and what a second caller meets."""

    region: str
    hold_seconds: float
    max_body_bytes: int
    latch: bool
    """Whether a repeat waits for the first; else it gets 409 at once."""
    body_seconds: float = 60.0
    """How long a body may take to come; see ``Disconnect``."""


async def _draw_key() -> GeneratedKey:
    """A new key; in a thread, since that takes long, and there without the interpreter lock."""
    return await asyncio.to_thread(ssh_key.generate)


@dataclass(frozen=True)
class Front:
    """What the token path is made of."""

    store: Store
    queue: Queue
    keys: Keys
    authenticator: Authenticator
    latch: Latch
    admission: Admission
    metrics: Metrics
    limits: FrontLimits
    clock: Callable[[], float]
    recent: Recent = field(default_factory=Recent)
    repeats: Repeats = field(default_factory=Repeats)
    entropy: Callable[[int], bytes] = os.urandom
    draw_key: Callable[[], Awaitable[GeneratedKey]] = _draw_key
    check_open: Callable[[], None] = lambda: None
    """Raises Unavailable while nobody knows yet whether the store may be used."""

    @cached_property
    def withdrawals(self) -> Withdrawals:
        """What takes claims back."""
        return Withdrawals(self.store, self.admission)


class Visit:
    """One caller's way through: what is known so far, so that any error can be marked with it."""

    def __init__(self, scope: Scope, front: Front) -> None:
        self._scope = scope
        self._front = front
        self._first = False
        self._record: Record | None = None
        self._claiming = False
        """A claim was begun, and the store has not told yet whether it stands."""

    async def answer(self, receive: Receive) -> Answer:
        """The answer to this caller, errors included.

        Raises:
            ClientGone: nobody is left to answer.
        """
        headers, limits = self._scope["headers"], self._front.limits
        failure: DedupdError | None = None
        try:
            with Disconnect(receive, body_pending=True, body_seconds=limits.body_seconds) as client:
                body = Body(client.receive, headers, limits.max_body_bytes)
                try:
                    return await self._answer(body)
                except DedupdError as error:
                    failure = error
                    await body.discard()
        except TimeoutError:
            failure = failure or too_slow(limits.body_seconds)
            failure.headers["Connection"] = "close"
        except asyncio.CancelledError:  # what has not ended in time, when the front is stopped
            failure = failure or Unavailable(
                "dedupd is being stopped. Repeat with the same token; it is not carried out twice."
            )
        return self._refusal(failure)

    def _refusal(self, failure: DedupdError) -> Answer:
        """An error as an answer, marked with what is known of the request."""
        if self._record and isinstance(failure, Unsealable):
            LOG.error("%s: %s", self._record.id, failure.message)
        self._front.metrics.refused.labels(str(failure.status)).inc()
        accept = header(self._scope["headers"], b"accept") or b""
        status = "in-progress" if self._claiming else "released"
        if self._record:
            status = answers.STATUS[self._record.state]
        replayed = self._record is not None and not self._first
        marks = answers.marks(status, replayed=replayed, record=self._record)
        return answers.error(failure, accept=accept, headers=marks)

    async def _answer(self, body: Body) -> Answer:
        front, headers = self._front, self._scope["headers"]
        identity = await front.authenticator.authenticate(headers, "POST", self._scope["path"])
        client_token = token.parse(headers)
        preference = prefer.parse(headers)
        question = questions.read(
            self._scope,
            identity,
            client_token or "",
            await body.read(),
            key=front.keys.identity,
            region=front.limits.region,
        )
        with front.latch.watch(question.id) as waiter:
            stored = await self._in_time(question, assured=preference.respond_async)
            del question  # thousands of callers may wait below
            if stored.record.state.awaited:
                if preference.respond_async:
                    return answers.accepted(stored.record)
                stored = await self._hold(waiter, stored.record, preference.wait)
        self._record = stored.record
        return answers.of_ended(front.keys, stored, first=self._first, user_id=identity.user_id)

    async def _in_time(self, question: Question, *, assured: bool) -> Stored:
        """What stands under this token, found or claimed within ENGINES_SECONDS.

        A claim that was not published in that time is withdrawn, unless a worker has it already.

        Raises:
            Unavailable: store or broker are away, and nothing is stored as far as anybody can tell.
        """
        until = asyncio.get_running_loop().time() + ENGINES_SECONDS
        try:
            async with asyncio.timeout_at(until):
                stored = await self._find_or_claim(question)
                if assured and stored.record.state.awaited:
                    await self._assure(stored.record)
                return stored
        except QueueUnavailable as error:
            failure: Unavailable = error
        except TimeoutError:
            failure = Unavailable(
                f"Store and broker did not answer within {ENGINES_SECONDS:g} s. Repeat with the "
                "same token; it is not carried out twice."
            )
        if self._first and self._record is not None:
            if not await self._front.withdrawals.withdraw(self._record, until):
                LOG.warning("%s: the broker did not confirm, but a worker has it", self._record.id)
                return Stored(self._record)
            self._first, self._record = False, None
        raise failure

    async def _find_or_claim(self, question: Question) -> Stored:
        """What stands under this token and is the same request; else claimed and published.

        Raises:
            Unavailable: no room, or it cannot be kept; nothing was stored.
            QueueUnavailable: it was claimed, and not confirmed by the broker.
            TokenExpired, FingerprintMismatch: the token is used.
        """
        front = self._front
        front.check_open()
        stored = front.repeats.find(question.id, _now(), front.clock())
        if stored is None and (question.generates_key or question.id in front.recent):
            stored = await self._find(question.id)
        if stored is None:
            stored = await self._claim(question)
        front.recent.note(question.id)
        self._record = stored.record
        if self._first:
            front.admission.count(stored.record.project_id)
            await front.queue.publish(stored.record.id, stored.record)
            return stored
        _check_same(question, stored.record)
        if stored.record.state.awaited:
            front.latch.check()
        return stored

    async def _find(self, request_id: str) -> Stored | None:
        """What stands under this id and is in the way of a claim.

        Raises:
            StoreUnavailable: nobody can read it now.
        """
        asked_at = _now()
        try:
            stored = (await self._front.store.read([request_id])).get(request_id)
        except Unreadable:
            raise
        except StoreUnavailable as error:
            said = (
                " This POST executed nothing; whether an earlier one with its token did is not "
                "known now: repeat it with the same token."
            )
            raise StoreUnavailable(error.message + said, operators=str(error)) from error
        if stored is None or stored.record.state.vacant:
            return None
        self._front.repeats.note(stored, asked_at)
        return stored

    async def _claim(self, question: Question) -> Stored:
        """Claim it, or what stands there: a repeat is answered even where a claim is refused.

        Raises:
            Unavailable, BadRequest: refused; nothing was stored.
        """
        front = self._front
        with contextlib.ExitStack() as room:
            try:
                room.enter_context(front.admission.claiming(question.identity.project_id))
                front.latch.check()
                key = await front.draw_key() if question.generates_key else None
                draft = question.draft(front.keys, front.clock(), front.entropy, key)
            except DedupdError:
                stored = await self._find(question.id)
                if stored is None:
                    raise
                return stored
            self._claiming = True
            try:
                self._first, stored = await front.store.claim(*draft)
            except StoreUnavailable as error:
                self._claiming = error.in_doubt
                raise
            self._claiming = False
            return stored

    async def _assure(self, record: Record) -> None:
        """Make certain that nobody withdraws a request which a caller is told goes on.

        The front that claimed it does so where the broker does not confirm. A write fences that
        off, the first time; it may also cost a worker its turn, so the request is published once
        more.

        Raises:
            Unavailable: it was withdrawn already.
        """
        if self._first or record.promised or record.state is not State.QUEUED:
            return
        front = self._front
        if await front.store.swap(record, request.promise(record)) is None:
            standing = (await front.store.read([record.id])).get(record.id)
            if standing is None or standing.record.birth != record.birth:
                raise self._gone()
            return
        with contextlib.suppress(QueueUnavailable):
            await front.queue.publish(record.id)

    async def _hold(self, waiter: Waiter, record: Record, wait: float | None) -> Stored:
        """Wait for the end of the record's request.

        Raises:
            Conflict, GatewayTimeout: it did not end in time; the record is kept.
            Unavailable: it ended without effect, and another has taken its place.
        """
        limits = self._front.limits
        if not self._first and not limits.latch:
            raise answers.still_running()
        hold = limits.hold_seconds if wait is None else min(wait, limits.hold_seconds)
        try:
            async with asyncio.timeout(hold):
                stored = await self._end(waiter, record)
        except TimeoutError:
            raise (answers.unfinished() if self._first else answers.still_running()) from None
        if stored.record.birth != record.birth:
            raise self._gone()
        return stored

    async def _end(self, waiter: Waiter, record: Record) -> Stored:
        """What ended; late news of what the id was before does not concern this caller.

        Raises:
            TimeoutError: nobody is held any longer.
            Unavailable: it was taken back, or nobody can tell whether it was.
        """
        stored = await self._news(waiter, record)
        while stored.record.version < record.version or stored.record.state.awaited:
            with self._front.latch.watch(record.id) as again:
                stored = await self._news(again, record)
        return stored

    async def _news(self, waiter: Waiter, record: Record) -> Stored:
        """What the latch has heard; where it found nothing, what stands now.

        It may have looked before the claim. Raises as ``_end`` does.
        """
        stored = await waiter
        if stored is None and self._front.latch.is_holding:
            stored = (await self._front.store.read([record.id])).get(record.id)
            if stored is None or stored.record.birth != record.birth:
                raise self._gone()
        if stored is None:
            raise TimeoutError
        return stored

    def _gone(self) -> Unavailable:
        """What is told of a request that left nothing behind: not even a status to ask for."""
        self._record = None
        return Unavailable(
            "The request that was waited for is not stored any more: it had no effect and was "
            "released, or an operator has forgotten it. Repeat with the same token."
        )


class Idempotent:
    """The ASGI application of the token path."""

    def __init__(self, front: Front) -> None:
        self._front = front
        front.store.on_completion(front.recent.hear)

    def let_go(self) -> None:
        """Hold no caller any longer: all are told that their requests go on."""
        self._front.latch.let_go()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST that carries a token."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await Visit(scope, self._front).answer(receive)
        except ClientGone:
            return
        metrics = self._front.metrics
        metrics.duration.observe(loop.time() - began)
        replayed = (header(answer.headers, b"idempotent-replayed") or b"").decode()
        status = (header(answer.headers, b"idempotency-status") or b"").decode()
        metrics.answers.labels(status, replayed).inc()
        # Whoever does not read it holds nothing but the connection, and that not for ever.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._front.limits.body_seconds):
                await respond(send, answer, self._front.clock())


def _now() -> float:
    """By the loop's clock, which nobody sets."""
    return asyncio.get_running_loop().time()


def _check_same(question: Question, standing: Record) -> None:
    """Refuse another request under a used token.

    Raises:
        TokenExpired: nobody can compare any more.
        FingerprintMismatch: they differ; the message says in what, never in which values.
    """
    if standing.state is State.TOMBSTONE:
        raise answers.REFUSALS[standing.state](standing)
    if standing.fingerprint == question.fingerprint.digest:
        return
    names = fingerprint.differing(question.fingerprint.parts, standing.parts) or ["body"]
    raise FingerprintMismatch(
        f"This token belongs to another request, which differs in: {', '.join(names)}. Repeat "
        "the first request unchanged, or use a new token for a new one."
    )
