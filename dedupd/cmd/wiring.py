"""Putting a process together: implementations behind their ports, in the order of their needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dedupd import queue as queues
from dedupd import seal
from dedupd.api.admission import Admission
from dedupd.api.app import App, own_resources
from dedupd.api.auth import Authenticator, KeystoneAuthenticator, NoAuth
from dedupd.api.health import Health
from dedupd.api.idempotent import Front, FrontLimits, Idempotent
from dedupd.api.latch import Latch
from dedupd.api.passthrough import PassThrough, open_upstream
from dedupd.api.status import Status
from dedupd.background import Background
from dedupd.cloud.nova import Connector, Nova
from dedupd.cloud.routes import probes
from dedupd.cloud.service_user import KeystoneServiceUser
from dedupd.cmd import state
from dedupd.cmd.opening import Opening
from dedupd.conf import Settings, keystone
from dedupd.conf.api import Concurrent
from dedupd.conf.auth import Strategy
from dedupd.conf.store import StoreSettings
from dedupd.conf.values import StoreScheme
from dedupd.errors import ConfigError, Unavailable
from dedupd.metrics import Metrics, Place
from dedupd.ports import Queue, Store
from dedupd.seal import Keys
from dedupd.store.memory import MemoryStore
from dedupd.store.origin import Origin
from dedupd.store.sqlite import SqliteStore
from dedupd.worker.executor import Executor, Limits
from dedupd.worker.job import Opener
from dedupd.worker.lease import Lease
from dedupd.worker.reconciler import Reconciler
from dedupd.worker.service import WorkerService
from dedupd.worker.turns import Turns

if TYPE_CHECKING:
    from dedupd.store.etcd_cluster import Cluster

_LOOPBACK = ("127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 # compared with, not listened on

HOUR = 3600.0
DAY = 24 * HOUR

ASK_SECONDS = 10.0
"""How long Nova may take to answer one question of a probe."""

PREFETCH_PER_SLOT = 4
"""A worker holds more messages than it sends at once, so that no slot waits for the broker."""


@dataclass(frozen=True)
class Parts:
    """What front and worker of one process share."""

    settings: Settings
    keys: Keys
    store: Store
    queue: Queue
    cloud: Nova
    metrics: Metrics
    background: Background
    clock: Callable[[], float] = time.time


def load_keys(settings: Settings, *, create: bool) -> Keys:
    """The keys of ``[seal] key_file``; with ``create``, made at the first start (``state.make``).

    Raises:
        ConfigError: missing, unreadable, or malformed; or as ``state.make``.
    """
    if create:
        state.make(settings)
    return seal.load(settings.seal.key_file)


def open_store(settings: Settings, keys: Keys, *, exclusive: bool) -> Store:
    """The store that ``[store] url`` names, not opened yet."""
    url = settings.store.url
    origin = Origin(keys.check, settings.region_name)
    if url.scheme.is_etcd:
        return _etcd_store(settings.store, origin, create=exclusive)
    if url.scheme is StoreScheme.MEMORY or url.path is None:
        return MemoryStore()
    return SqliteStore(url.path, origin=origin, exclusive=exclusive)


def _etcd_store(settings: StoreSettings, origin: Origin, *, create: bool) -> Store:
    """The store on an etcd cluster; gRPC is imported only where it is used."""
    from dedupd.store.etcd import EtcdStore

    return EtcdStore(
        etcd_cluster(settings),
        prefix=settings.prefix,
        origin=origin,
        create=create,
        known_bad=settings.allow_lossy_etcd,
    )


def etcd_cluster(settings: StoreSettings) -> Cluster:
    """The cluster that ``[store] url`` names, not connected yet."""
    from dedupd.store.etcd_cluster import Cluster, Credentials, Security

    tls = settings.url.scheme is StoreScheme.ETCDS
    user = Credentials(settings.username, settings.password) if settings.username else None
    security = Security(settings.cafile, settings.keyfile, settings.certfile) if tls else None
    return Cluster(settings.url.endpoints, security, user)


@asynccontextmanager
async def parts(settings: Settings, keys: Keys, place: Place | None = None) -> AsyncIterator[Parts]:
    """Store and queue, which are still to be opened, and the cloud; closed in the opposite order.

    ``place`` is the process's among several.
    """
    async with AsyncExitStack() as stack:
        background = Background()
        store = open_store(settings, keys, exclusive=True)
        stack.push_async_callback(store.close)
        queue = queues.open_queue(settings.queue, background)
        stack.push_async_callback(queue.close)
        cloud = await stack.enter_async_context(open_cloud(settings))
        yield Parts(settings, keys, store, queue, cloud, Metrics(place), background)


@asynccontextmanager
async def open_cloud(settings: Settings) -> AsyncIterator[Nova]:
    """The Cloud port on ``[nova] endpoint``, with connections of its own."""
    nova = settings.nova
    upstream = partial(
        open_upstream,
        connections=2 * nova.max_in_flight,
        connect_seconds=nova.connect_timeout,
        connector=Connector,
    )
    async with upstream() as session, upstream(keep=False) as afresh:
        yield Nova(session, afresh, endpoint(settings), nova.connect_timeout)


def endpoint(settings: Settings) -> str:
    """Nova's URL.

    Raises:
        ConfigError: it is not configured.
    """
    if settings.nova.endpoint is None:
        raise ConfigError("[nova] endpoint is not set; write Nova's URL, http://controller:8774")
    return settings.nova.endpoint


def refuse_itself(settings: Settings) -> None:
    """A front that is its own Nova would ask itself without end.

    Raises:
        ConfigError: it is.
    """
    nova, front = urlsplit(endpoint(settings)), settings.api.listen
    here = {front.host, "localhost" if front.host in _LOOPBACK else front.host}
    if front.host in _EVERYWHERE:
        here = {*_LOOPBACK, "localhost"}
    if front.port and (nova.port, nova.hostname in here) == (front.port, True):
        raise ConfigError(
            f"[nova] endpoint: {front} is where this front listens itself ([api] listen): write "
            "the URL of Nova's own API."
        )


@asynccontextmanager
async def service_user(settings: Settings) -> AsyncIterator[KeystoneServiceUser | None]:
    """dedupd's own identity, where ``[service_user]`` names one."""
    plugin = keystone.load_plugin(settings.options, keystone.SERVICE)
    if plugin is None:
        yield None
        return
    group = settings.options[keystone.SERVICE]
    user = KeystoneServiceUser(plugin, verify=group.cafile or not group.insecure)
    try:
        yield user
    finally:
        user.close()


@asynccontextmanager
async def worker(shared: Parts) -> AsyncIterator[WorkerService]:
    """A worker, which is still to be started."""
    async with service_user(shared.settings) as user:
        yield _worker_service(shared, user)


def limits(settings: Settings) -> Limits:
    """The worker's limits."""
    nova = settings.nova
    return Limits(
        send=nova.send_timeout,
        connect=nova.connect_timeout,
        settle=nova.settle_seconds,
        look=nova.probe_seconds,
        retry=nova.retry_seconds,
        result=settings.retention.result_hours * HOUR,
        in_flight=nova.max_in_flight,
    )


def _worker_service(shared: Parts, user: KeystoneServiceUser | None) -> WorkerService:
    settings, clock = shared.settings, shared.clock
    bounds = limits(settings)
    lease = Lease(shared.store, settings.worker.lease_seconds, clock)
    executor = Executor(
        shared.store, shared.cloud, shared.keys, lease, bounds, shared.metrics, clock
    )
    duplicates = str(settings.nova.duplicates)
    prefetch = PREFETCH_PER_SLOT * settings.nova.max_in_flight
    return WorkerService(
        store=shared.store,
        queue=shared.queue,
        opener=Opener(
            shared.keys, shared.cloud, user, ASK_SECONDS, probes(settings.nova.request_id_seconds)
        ),
        executor=executor,
        reconciler=Reconciler(
            shared.store, executor, lease, bounds, shared.metrics, clock, duplicates
        ),
        lease=lease,
        turns=Turns(settings.nova.max_in_flight, prefetch, shared.metrics.put_off),
        metrics=shared.metrics,
        clock=clock,
        tombstone_seconds=settings.retention.tombstone_days * DAY,
        prefetch=prefetch,
        sweep_seconds=settings.worker.sweep_seconds,
        stop_seconds=settings.worker.stop_seconds,
        background=shared.background,
    )


@asynccontextmanager
async def front(
    shared: Parts, worker_service: WorkerService | None, opening: Opening
) -> AsyncIterator[App]:
    """The front's ASGI application, and what runs beside it.

    ``opening`` is that of store and queue, wherever it has come to.
    """
    settings = shared.settings
    refuse_itself(settings)
    authenticator = _authenticator(settings)
    latch = Latch(shared.store, settings.api.max_waiters, shared.metrics)
    admission = Admission(shared.store, settings.queue.max_depth, settings.queue.project_share)
    idempotent = Idempotent(
        Front(
            store=shared.store,
            queue=shared.queue,
            keys=shared.keys,
            authenticator=authenticator,
            latch=latch,
            admission=admission,
            metrics=shared.metrics,
            limits=FrontLimits(
                region=settings.region_name,
                body_seconds=settings.api.body_timeout,
                hold_seconds=settings.api.hold_seconds,
                max_body_bytes=settings.api.max_body_bytes,
                latch=settings.api.concurrent is Concurrent.LATCH,
            ),
            clock=shared.clock,
            check_open=opening.check,
        )
    )
    async with (
        open_upstream(connect_seconds=settings.nova.connect_timeout) as upstream,
        _running(
            shared.background.run(latch.poll(), "What looks after waiting callers"),
            shared.background.run(_refresh(admission, opening), "What reads the queue's depth"),
        ),
    ):
        try:
            own = own_resources(
                _status(shared, authenticator), health(shared, worker_service, opening)
            )
            passthrough = PassThrough(
                upstream, endpoint(settings), body_seconds=settings.api.body_timeout
            )
            yield App(own, idempotent, passthrough)
        finally:
            await authenticator.close()


async def _refresh(admission: Admission, opening: Opening) -> None:
    """Keep it up to date, as soon as there is something to read."""
    await opening.finished()
    await admission.refresh()


def _status(shared: Parts, authenticator: Authenticator) -> Status:
    settings = shared.settings
    return Status(
        store=shared.store,
        cloud=shared.cloud,
        authenticator=authenticator,
        identity_key=shared.keys.identity,
        region=settings.region_name,
        clock=shared.clock,
        cancelled_seconds=settings.retention.result_hours * HOUR,
    )


def health(shared: Parts, worker_service: WorkerService | None, opening: Opening) -> Health:
    """What a process answers about itself; ``opening`` as for ``front``."""
    return Health(_checks(shared, worker_service, opening), shared.metrics)


def _authenticator(settings: Settings) -> Authenticator:
    if settings.auth.strategy is Strategy.NOAUTH:
        return NoAuth()
    return KeystoneAuthenticator(
        settings.options,
        cache_seconds=settings.auth.cache_seconds,
        timeout_seconds=settings.auth.timeout_seconds,
    )


def _checks(
    shared: Parts, worker_service: WorkerService | None, opening: Opening
) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
    async def store() -> None:
        opening.check_part("store")
        await shared.store.depth()

    async def queue() -> None:
        opening.check_part("queue")
        await shared.queue.depth()

    async def consuming() -> None:
        if worker_service is None or not worker_service.consuming:
            raise Unavailable("the worker does not consume, or its lease cannot be kept alive")

    checks = {"store": store, "queue": queue}
    return checks if worker_service is None else checks | {"worker": consuming}


@asynccontextmanager
async def _running(*tasks: asyncio.Task[None]) -> AsyncIterator[None]:
    """Let these run beside the block; cancelled at its end."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
