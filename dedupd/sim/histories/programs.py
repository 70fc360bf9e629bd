"""The real programs, put together on a stage: what a front's and a worker's process run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dedupd.api.admission import Admission
from dedupd.api.app import App, own_resources
from dedupd.api.auth import NoAuth
from dedupd.api.health import Health
from dedupd.api.idempotent import Front, FrontLimits, Idempotent
from dedupd.api.latch import Latch
from dedupd.api.passthrough import PassThrough
from dedupd.api.status import Status
from dedupd.background import Background
from dedupd.cloud import routes
from dedupd.ports import QueueUnavailable, StoreUnavailable
from dedupd.sim.histories.cloud import HostileCloud, watched
from dedupd.sim.histories.faults import Operation
from dedupd.sim.histories.queue import HostileQueue
from dedupd.sim.histories.stage import Node
from dedupd.sim.histories.store import HostileStore
from dedupd.sim.histories.unread import unread
from dedupd.sim.histories.upstream import Upstream
from dedupd.worker.executor import Executor, Limits
from dedupd.worker.job import Opener
from dedupd.worker.lease import Lease
from dedupd.worker.reconciler import Reconciler
from dedupd.worker.service import WorkerService
from dedupd.worker.turns import Turns

REGION = "RegionOne"
METRICS = unread()
"""One for all histories: nothing in them reads it."""

CONNECT_SECONDS = 1.0
SEND_SECONDS = 3.0
ASK_SECONDS = 2.0
PASSING_SECONDS = 5.0
LEASE_SECONDS = 6.0
REPUBLISH_SWEEPS = 1.2
"""After how many sweeps what is still queued is published again."""
PREFETCH = 8
HOLD_SECONDS = 8.0
REFRESH_SECONDS = 20.0
TOMBSTONE_SECONDS = 1e6
BROKEN_OFF_SECONDS = 1.0
"""How soon a program that could not start is started again."""

HOST = "compute"


@dataclass(frozen=True)
class Terms:
    """What differs from one history to another in how the programs are configured."""

    settle: float
    retry: float
    result: float
    latch: bool
    duplicates: str
    sweep: float
    held_up: int = 1
    """See ``Turns``: its ``limit``."""

    @property
    def limits(self) -> Limits:
        """As the worker takes them."""
        return Limits(
            send=SEND_SECONDS,
            connect=CONNECT_SECONDS,
            settle=self.settle,
            look=0.25,
            retry=self.retry,
            result=self.result,
            in_flight=4,
        )


class _ServiceUser:
    """An administrator: else nothing could be concluded where Nova's pages are as short as here."""

    async def token(self) -> str:
        """See ``ServiceUser.token``."""
        return "dedupd:service:admin"


class WorkerProgram:
    """``dedupd worker`` on a node."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._names = 0

    def boot(self, node: Node) -> None:
        """Begin in a fresh process."""
        node.spawn(self._run(node))

    def _name(self, node: Node) -> str:
        """A new identity; a random part stands first, so that anybody may come to lead."""
        self._names += 1
        return f"{node.stage.entropy(2).hex()}-{node.name}-{self._names}"

    async def _run(self, node: Node) -> None:
        queue = HostileQueue(node, Operation.WORKER_PUBLISH)
        await queue.open()
        try:
            await self._service(node, queue).start()
        except (StoreUnavailable, QueueUnavailable):
            node.crash(BROKEN_OFF_SECONDS)

    def _service(self, node: Node, queue: HostileQueue) -> WorkerService:
        stage, limits, clock = node.stage, self._terms.limits, node.clock
        store = HostileStore(node, Operation.WORKER_STORE)
        cloud = HostileCloud(node, Operation.WORKER_QUESTION, CONNECT_SECONDS)
        lease = Lease(store, LEASE_SECONDS, clock, lambda: self._name(node))
        executor = Executor(store, cloud, stage.keys, lease, limits, METRICS, clock)
        duplicates = self._terms.duplicates
        probes = watched(routes.probes(), stage)
        return WorkerService(
            store=store,
            queue=queue,
            opener=Opener(stage.keys, cloud, _ServiceUser(), ASK_SECONDS, probes),
            executor=executor,
            reconciler=Reconciler(store, executor, lease, limits, METRICS, clock, duplicates),
            lease=lease,
            turns=Turns(self._terms.held_up, PREFETCH, METRICS.put_off),
            metrics=METRICS,
            clock=clock,
            tombstone_seconds=TOMBSTONE_SECONDS,
            prefetch=PREFETCH,
            sweep_seconds=self._terms.sweep,
            republish_seconds=REPUBLISH_SWEEPS * self._terms.sweep,
            stop_seconds=5.0,
            background=Background(),
        )


class FrontProgram:
    """``dedupd api`` on a node; ``app`` is what listens there now."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.app: ASGIApp

    def boot(self, node: Node) -> None:
        """Begin in a fresh process."""
        store = HostileStore(node, Operation.FRONT_STORE)
        queue = HostileQueue(node, Operation.FRONT_PUBLISH)
        latch = Latch(store, 100, METRICS)
        admission = Admission(store, 100, 1.0, REFRESH_SECONDS)
        front = self._front(node, store, queue, latch, admission)
        status = Status(
            store=store,
            cloud=HostileCloud(node, Operation.FRONT_QUESTION, CONNECT_SECONDS),
            authenticator=front.authenticator,
            identity_key=node.stage.keys.identity,
            region=REGION,
            clock=node.clock,
            cancelled_seconds=self._terms.result,
        )
        own = _Lazy(status)
        upstream: Any = Upstream(node, SEND_SECONDS)
        passthrough = PassThrough(upstream, f"http://{HOST}", idle_seconds=PASSING_SECONDS)
        self.app = App(own, Idempotent(front), passthrough)
        node.spawn(queue.open())
        node.spawn(latch.poll())
        node.spawn(admission.refresh())

    def _front(
        self,
        node: Node,
        store: HostileStore,
        queue: HostileQueue,
        latch: Latch,
        admission: Admission,
    ) -> Front:
        return Front(
            store=store,
            queue=queue,
            keys=node.stage.keys,
            authenticator=NoAuth(),
            latch=latch,
            admission=admission,
            metrics=METRICS,
            limits=FrontLimits(
                region=REGION,
                hold_seconds=HOLD_SECONDS,
                max_body_bytes=10_000,
                latch=self._terms.latch,
            ),
            clock=node.clock,
            entropy=node.stage.entropy,
            draw_key=node.stage.draw_key,
        )


class _Lazy:
    """dedupd's own resources, made when somebody asks for one: few histories do."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._app is None:
            self._app = own_resources(self._status, Health({}, METRICS))
        await self._app(scope, receive, send)


class Reply:
    """What a caller is answered."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value.decode() for name, value in headers}
        self.body = body


class Exchange:
    """One HTTP exchange with a front's process."""

    def __init__(self, node: Node, app: ASGIApp, scope: dict[str, Any], body: bytes) -> None:
        loop = node.stage.loop
        self._body: bytes | None = body
        self._gone: asyncio.Future[None] = loop.create_future()
        self._started: Message = {}
        self._parts: list[bytes] = []
        self.ended: asyncio.Future[Reply | None] = loop.create_future()
        """The reply; None where the connection broke."""
        node.lost.append(self._break)
        node.spawn(self._serve(app, scope))

    def hang_up(self) -> None:
        """The caller closes its connection."""
        if not self._gone.done():
            self._gone.set_result(None)
        self._break()

    async def _serve(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    def _break(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.shield(self._gone)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = message
            return
        self._parts.append(message.get("body", b""))
        if not message.get("more_body") and not self.ended.done():
            start = self._started
            reply = Reply(start["status"], start["headers"], b"".join(self._parts))
            self.ended.set_result(reply)
