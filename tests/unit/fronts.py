"""A front on a site: the token path and the status API, called without a server."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from dedupd import ssh_key
from dedupd.api.admission import Admission
from dedupd.api.app import own_resources
from dedupd.api.auth import NoAuth
from dedupd.api.health import Check, Health
from dedupd.api.idempotent import Front, FrontLimits, Idempotent
from dedupd.api.latch import Latch
from dedupd.api.status import Status
from dedupd.metrics import Metrics
from dedupd.ports import Queue
from dedupd.queue.memory import MemoryQueue
from dedupd.seal import Keys
from tests.unit.asgi import Exchange, Reply, call
from tests.unit.site import AUTH, HOST, KEYS, REGION, SERVERS, VM, Site

HOLD_SECONDS = 50.0
RESULT_SECONDS = 86400.0
MAX_BODY = 2000

LIMITS = FrontLimits(region=REGION, hold_seconds=HOLD_SECONDS, max_body_bytes=MAX_BODY, latch=True)


class FrontDesk:
    """One front.

    Args:
        site: What stands behind it.
        queue: In the place of one on the site's broker.
        keys: In the place of the site's.
        max_waiters, max_depth, project_share: As in the configuration.
        checks: What ``/healthz/ready`` runs.
        check_open: Raises while the store is not open.
        limits: What differs from LIMITS.
    """

    def __init__(
        self,
        site: Site,
        *,
        queue: Queue | None = None,
        keys: Keys = KEYS,
        max_waiters: int = 100,
        max_depth: int = 100,
        project_share: float = 1.0,
        checks: dict[str, Check] | None = None,
        check_open: Callable[[], None] = lambda: None,
        **limits: Any,
    ) -> None:
        self.site = site
        self.queue = queue or MemoryQueue(site.broker)
        self.metrics = Metrics()
        self.latch = Latch(site.store, max_waiters, self.metrics)
        self.admission = Admission(site.store, max_depth, project_share)
        authenticator = NoAuth()
        self.idempotent = Idempotent(
            Front(
                store=site.store,
                queue=self.queue,
                keys=keys,
                authenticator=authenticator,
                latch=self.latch,
                admission=self.admission,
                metrics=self.metrics,
                limits=dataclasses.replace(LIMITS, **limits),
                clock=site.clock,
                draw_key=self._draw_key,
                check_open=check_open,
            )
        )
        status = Status(
            store=site.store,
            cloud=site.cloud,
            authenticator=authenticator,
            identity_key=KEYS.identity,
            region=REGION,
            clock=site.clock,
            cancelled_seconds=RESULT_SECONDS,
        )
        self.drawn = 0
        self.own = own_resources(status, Health(checks or {}, self.metrics))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FrontDesk]:
        """With its queue open, and what runs beside it."""
        await self.queue.open()
        tasks = [
            asyncio.create_task(self.latch.poll()),
            asyncio.create_task(self.admission.refresh()),
        ]
        await asyncio.sleep(0)
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _draw_key(self) -> ssh_key.GeneratedKey:
        """Virtual time knows no threads."""
        self.drawn += 1
        return ssh_key.generate()

    def exchange(
        self,
        document: Any = None,
        token: str | None = "foo",
        *,
        target: str = SERVERS,
        version: str | None = "2.96",
        auth: str | None = AUTH,
        headers: Iterable[tuple[str, str]] = (),
        chunks: Iterable[bytes] | None = None,
    ) -> Exchange:
        """A POST with a client token."""
        fields = [("Host", HOST), ("Content-Type", "application/json"), *headers]
        fields += [("X-Client-Token", token)] if token is not None else []
        fields += [("X-Auth-Token", auth)] if auth is not None else []
        fields += [("OpenStack-API-Version", f"compute {version}")] if version is not None else []
        body = [msgspec.json.encode(VM if document is None else document)]
        return Exchange(self.idempotent, "POST", target, fields, chunks or body)

    async def post(self, *request: Any, **more: Any) -> Reply:
        """The reply to a POST with a client token."""
        reply = await self.exchange(*request, **more)()
        assert reply is not None, "no answer"
        return reply

    async def ask(
        self,
        method: str,
        target: str,
        *,
        auth: str | None = AUTH,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Reply:
        """The reply of one of dedupd's own resources."""
        fields = [("Host", HOST), *headers]
        fields += [("X-Auth-Token", auth)] if auth is not None else []
        return await call(self.own, method, target, fields)

    def count(self, name: str, **labels: str) -> float:
        """What its metrics say."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0
