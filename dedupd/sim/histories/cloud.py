"""The Cloud port of one process, on the simulated Nova, with everything that loses an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from dedupd import outcome
from dedupd.cloud.ask import Asker
from dedupd.cloud.probes.base import Discarded, Errand, Finding, Probe
from dedupd.exchange import Answer, Call, header
from dedupd.outcome import Outcome
from dedupd.ports import Lost, NotSent
from dedupd.request import Resource
from dedupd.sim.histories.faults import Draw, Fault, Operation
from dedupd.sim.histories.ledger import Post
from dedupd.sim.histories.stage import PAUSE_SECONDS, Node, Stage
from dedupd.sim.histories.wire import LATENCY

SUBJECT = b"x-subject"
"""A header that clients add and dedupd passes on: which request a call is about."""

LATE_SECONDS = 2.5
"""How long after its send timeout a POST may still take effect; the settle time is longer."""

WAITS_SECONDS = 40.0
"""The longest time for which the cloud accepts no new connection, while it serves those it has. It
begins with a POST; what comes over new connections after that is taken behind it."""

WORK_SECONDS = 8.0
"""Within how long after that it is carried out; the settle time is longer."""

KEPT_ON_SECONDS = 1.0
"""The longest time between the end of a lease and a POST that was kept back until then."""

_GATEWAY = Answer(503, ((b"Content-Type", b"text/plain"),), b"no server is available\n")
_THROTTLED = Answer(429, ((b"Retry-After", b"1"),), b"over limit\n")


@dataclass(frozen=True)
class Course:
    """What becomes of one exchange, in seconds from its first byte; None: never."""

    effect: float | None
    answer: float | None
    instead: Answer | None = None
    """What is answered in the place of the cloud's own answer."""


def course(draw: Draw, timeout: float, *, deletes: bool = False) -> Course:
    """What a fault makes of an exchange; a DELETE may come late as a POST may."""
    size, quick = draw.size, LATENCY * (0.1 + draw.size)
    match draw.fault:
        case Fault.QUESTION_LOST if deletes and size > 0.3:
            return Course((timeout + LATE_SECONDS) * size, None)
        case Fault.POST_LOST | Fault.QUESTION_LOST:
            return Course(None, None)
        case Fault.POST_SLOW | Fault.QUESTION_SLOW:
            return Course(quick + timeout * size / 2, quick + timeout * 1.2 * size)
        case Fault.POST_BROKEN | Fault.QUESTION_BROKEN:
            return Course(None, quick, _GATEWAY)
        case Fault.POST_THROTTLED:
            return Course(None, quick, _THROTTLED)
        case Fault.ANSWER_LOST:
            return Course(quick, None)
        case Fault.ANSWER_BROKEN:
            return Course(quick, quick, _GATEWAY)
        case Fault.COMMIT_LATE:
            late = (timeout + LATE_SECONDS) * size
            return Course(late, quick, _GATEWAY) if size < 0.5 else Course(late, None)
        case Fault.POST_WAITS:
            return Course(WORK_SECONDS * (size * 1000 % 1), None)
        case _:
            return Course(quick, quick)


class HostileCloud:
    """``dedupd.ports.Cloud`` as a process sees it.

    Args:
        node: Whose it is.
        operation: What asking is; a POST is always one of its own.
        connect_seconds: How long a connection may take.
    """

    def __init__(self, node: Node, operation: Operation, connect_seconds: float) -> None:
        self._node = node
        self._process = node.process
        self._operation = operation
        self._connect_seconds = connect_seconds

    async def send(
        self,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool] = lambda: True,
        *,
        afresh: bool = False,
    ) -> Answer:
        """See ``Cloud.send``."""
        stage = self._node.stage
        subject = (header(call.headers, SUBJECT) or b"").decode()
        posts = call.method == "POST"
        operation = Operation.POST if posts else self._operation
        stage.ledger.sends += posts
        await stage.torment.keep_back(self._node.stream, operation, subject)
        draw = stage.torment.draw(self._node.stream, operation, subject)
        if draw.fault is Fault.SEND_KEPT:
            await self._keep_back(draw.size)
        await self._connect(draw)
        if not permitted():
            raise NotSent("It was not sent: the worker may not send any more.")
        post: Post | None = None
        made: list[Answer] | None = None
        if posts:
            post = stage.ledger.sent(subject, timeout)
            made = stage.ledger.made[subject]
            stage.chronicle.note(self._node.name, "POST", subject[:8], draw.fault or "")
        else:
            stage.chronicle.note(self._node.name, call.method, call.target, draw.fault or "")
        deletes = call.method == "DELETE"
        if deletes:
            check_discard(stage, call)
        answer: asyncio.Future[Answer] = stage.loop.create_future()
        exchange = Carried(stage, call, subject, post, answer, made)
        if draw.fault is Fault.POST_WAITS:
            stage.close_door(WAITS_SECONDS * draw.size)
        waits = stage.door_opens_in if afresh or draw.fault is Fault.POST_WAITS else 0.0
        if post is not None:
            post.waited = waits
        exchange.begin(course(draw, timeout, deletes=deletes), timeout, waits)
        return await answer

    async def _keep_back(self, size: float) -> None:
        """All connections are in use, and the lease ends meanwhile; the process lives on.

        It ends at the beginning, or right before the POST leaves: as the last digit says.
        """
        at_last = int(size * 1000) % 2 == 0
        if not at_last:
            self._node.lease_ended()
        await asyncio.sleep(PAUSE_SECONDS * size**self._node.stage.pause_exponent)
        if at_last:
            self._node.lease_ended()
            await asyncio.sleep(KEPT_ON_SECONDS * size)

    async def _connect(self, draw: Draw) -> None:
        """Open a connection; the process may be stopped meanwhile, or end.

        Raises:
            NotSent: refused, or it took too long.
        """
        loop = self._node.stage.loop
        began = loop.time()
        there = self._node.befall(draw.fault, draw.size)
        if not there and draw.size < 0.5:
            await loop.create_future()  # for ever: the process is gone
        slow = draw.fault is Fault.CONNECT_SLOW
        # A pause strikes before the first byte, or right behind it: as the last digit says.
        paused = draw.fault is Fault.SEND_PAUSE and int(draw.size * 1000) % 2 == 0
        if slow or paused:
            await asyncio.sleep(1.5 * self._connect_seconds * draw.size if slow else LATENCY)
        if draw.fault is Fault.CONNECT_REFUSED or loop.time() - began > self._connect_seconds:
            raise NotSent("The cloud cannot be reached.")


class Carried:
    """One call on its way: the cloud does its part whether or not anybody waits for it."""

    def __init__(
        self,
        stage: Stage,
        call: Call,
        subject: str,
        post: Post | None,
        answer: asyncio.Future[Answer],
        made: list[Answer] | None,
    ) -> None:
        self._made = made
        self._stage = stage
        self._call = call
        self._subject = subject
        self._post = post
        self._answer = answer
        self._own: Answer | None = None

    def begin(self, course: Course, timeout: float, waits: float = 0.0) -> None:
        """Follow the course that was drawn; no answer by ``timeout`` is none at all.

        ``waits``: the seconds until the cloud takes it.
        """
        if course.effect is not None:
            self._stage.later(waits + course.effect, self._take_effect)
        if course.answer is None or waits + course.answer > timeout:
            self._stage.later(timeout, self._lose)
        else:
            self._stage.later(waits + course.answer, self._bring, course.instead)

    def _take_effect(self) -> None:
        stage, call = self._stage, self._call
        headers = ((name.decode(), value.decode()) for name, value in call.headers)
        told = stage.nova.handle(call.method, call.target, headers, call.body)
        fields = tuple((name.encode(), value.encode()) for name, value in told.headers)
        self._own = Answer(told.status, fields, told.body)
        if self._made is not None:
            self._made.append(self._own)
            stage.chronicle.note("nova", "answers", self._subject[:8], told.status)

    def _bring(self, instead: Answer | None) -> None:
        answer = instead or self._own
        if answer is None or self._answer.done():
            return
        if self._post is not None and outcome.classify(answer).outcome is Outcome.NO_EFFECT:
            self._post.spent = True
        self._answer.set_result(answer)

    def _lose(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(Lost("no answer in time"))
            self._answer.exception()


def check_discard(stage: Stage, call: Call) -> None:
    """Only servers are deleted, and only with the mark of the request they are deleted for."""
    subject = (header(call.headers, SUBJECT) or b"").decode()
    kind, _, name = call.target.partition("?")[0].rpartition("/")
    if not kind.endswith("/servers"):
        stage.ledger.violations.append(f"3: {subject[:8]} deletes {call.target}")
        return
    server = stage.nova.world.servers.get(name)
    if server is None or server.deleted is not None:
        return
    if name in stage.ledger.earlier:
        stage.ledger.violations.append(f"3: {subject[:8]} deletes {name} of an earlier life")
    if f"dedupd.{subject}" not in server.tags and server.metadata.get("dedupd:id") != subject:
        stage.ledger.violations.append(f"3: {subject[:8]} deletes server {name} without its mark")


class WatchedProbe:
    """A real probe; the observer sees when it looked and what it found."""

    def __init__(self, probe: Probe, stage: Stage) -> None:
        self._probe = probe
        self._stage = stage
        self.prepare = probe.prepare
        self.existed = probe.existed
        self.adopt = probe.adopt
        self.resource = probe.resource
        self.complete = probe.complete
        self.surplus = probe.surplus

    async def look(self, errand: Errand, asker: Asker, *, thorough: bool = True) -> Finding:
        """See ``Probe.look``."""
        began = self._stage.loop.time()
        finding = await self._probe.look(errand, asker, thorough=thorough)
        self._stage.chronicle.note("probe", type(finding).__name__, errand.record.id[:8])
        self._stage.ledger.looked(errand.record.id, began, finding)
        return finding

    async def discard(
        self, errand: Errand, resource: Resource, asker: Asker
    ) -> tuple[Discarded, ...]:
        """See ``Probe.discard``."""
        made = await self._probe.discard(errand, resource, asker)
        gone = [discarded.resource.id for discarded in made if not discarded.left]
        self._stage.chronicle.note("probe", "discard", errand.record.id[:8], resource.id, *gone)
        return made


def watched(probes: dict[str, Probe], stage: Stage) -> dict[str, Probe]:
    """The probes, watched."""
    return {name: WatchedProbe(probe, stage) for name, probe in probes.items()}
