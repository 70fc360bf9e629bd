"""Watches on etcd: completions and departures, resumed whatever breaks them.

A record's head appears under ``requests/`` in the transaction that ends it, with its answer, so
that an event is all that a waiting caller needs. A worker's key vanishes with its lease. A watch
that breaks goes on from the revision after the last one seen. Where etcd has compacted that away
meanwhile, it goes on from what is left: what was missed in between is found by the listeners' own
slow polls.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import tenacity
from grpc import aio
from oslo_log import log

from dedupd.ports import Stored, StoreUnavailable
from dedupd.store import etcd_keys, etcd_stream
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.etcd_keys import Keys, end_of
from dedupd.store.etcd_stubs import rpc

LOG = log.getLogger(__name__)

CREATE_SECONDS = 2.0
"""How long etcd may take to begin a watch."""

T = TypeVar("T")


class _Watch(ABC, Generic[T]):
    """The events of one prefix, for as long as anybody listens."""

    _SUBJECT: str
    """What is heard of, for people."""

    _UNWANTED: int
    """The kind of events that etcd need not send."""

    def __init__(self, cluster: Cluster, prefix: bytes) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._listeners: list[Callable[[T], None]] = []
        self._next = 0
        """The revision from which the watch goes on."""
        self._task: asyncio.Task[None] | None = None
        self._call: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        cluster.on_move(self._break)

    @abstractmethod
    def _read(self, event: Any) -> T | None:
        """What an event says, None where it is of no interest."""

    def listen(self, listener: Callable[[T], None]) -> None:
        """Call this one too from now on; may be called outside the loop."""
        self._listeners.append(listener)
        self._begin()

    def start(self) -> None:
        """The cluster is there; nothing is watched until somebody listens."""
        self._loop = asyncio.get_running_loop()
        self._begin()

    async def stop(self) -> None:
        """No event is published after this."""
        self._loop = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _begin(self) -> None:
        if self._loop is not None and self._listeners and self._task is None:
            # Whatever has not been answered yet is still to come.
            self._next = self._cluster.revision + 1
            self._task = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        """Watch for ever; cancel to stop."""
        resuming = RESUMING.copy(before_sleep=self._report)
        while True:
            await resuming.copy()(self._subscribe)

    async def _subscribe(self) -> None:
        """One watch, from where the last one ended until it breaks.

        Raises:
            StoreUnavailable: it was not even begun.
        """
        used = self._cluster.current
        self._call = self._cluster.stream("Watch", "Watch")
        try:
            try:
                async with asyncio.timeout(CREATE_SECONDS):
                    self._check(await etcd_stream.exchange(self._call, self._request()))
            except aio.AioRpcError as error:
                self._cluster.move_from(used)
                raise self._cluster.translated(error) from None
            except (TimeoutError, etcd_stream.Broken):
                self._cluster.move_from(used)
                raise StoreUnavailable.of(self._cluster.engine, " does not answer") from None
            with contextlib.suppress(StoreUnavailable, aio.AioRpcError, etcd_stream.Broken):
                while True:
                    self._take(self._check(await etcd_stream.read(self._call)))
        finally:
            self._call.cancel()

    def _request(self) -> Any:
        return rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=self._prefix,
                range_end=end_of(self._prefix),
                start_revision=self._next,
                progress_notify=True,
                filters=[self._UNWANTED],
            )
        )

    def _check(self, response: Any) -> Any:
        """The response, unless it says that there will be no more.

        Raises:
            StoreUnavailable: etcd has ended the watch.
        """
        if response.canceled:
            self._skip(response)
            raise StoreUnavailable(f"etcd has ended the watch: {response.cancel_reason}")
        return response

    def _skip(self, response: Any) -> None:
        """Go on from what etcd still has, where it has forgotten what was to come next."""
        if response.compact_revision > self._next:
            LOG.warning(
                "etcd has compacted revisions %d to %d before they were seen; those who wait for "
                "what happened in them find it when they poll",
                self._next,
                response.compact_revision - 1,
            )
            self._next = response.compact_revision

    def _take(self, response: Any) -> None:
        """Publish what a response says."""
        loop = asyncio.get_running_loop()
        for event in response.events:
            said = self._read(event)
            if said is not None:
                for listener in self._listeners:
                    loop.call_soon(listener, said)
        # The header may be ahead of events that are still to come, but not of a mere progress.
        newest = response.events[-1].kv if response.events else None
        seen = newest.mod_revision if newest is not None else response.header.revision
        self._next = max(self._next, seen + 1)

    def _break(self) -> None:
        """The cluster is asked through another endpoint from now on."""
        if self._call is not None:
            self._call.cancel()

    def _report(self, state: tenacity.RetryCallState) -> None:
        """Say so once for each outage."""
        if state.attempt_number == 1 and state.outcome is not None:
            LOG.warning("%s: %s", self._SUBJECT, state.outcome.exception())


class Completions(_Watch[Stored]):
    """Records that are no longer awaited; see ``Store.on_completion``."""

    _SUBJECT = "Completions are not heard for now; waiters are told by their own polls"
    _UNWANTED = rpc.WatchCreateRequest.NODELETE

    def __init__(self, cluster: Cluster, keys: Keys) -> None:
        super().__init__(cluster, keys.all_requests)

    def _read(self, event: Any) -> Stored | None:
        pair = event.kv
        if pair.version != 1:  # created; later writes are expiries and resolutions
            return None
        head = etcd_keys.readable_at(pair)
        return None if head is None else etcd_keys.stored(head)


class Departures(_Watch[str]):
    """Workers whose leases have ended; see ``Store.on_departure``."""

    _SUBJECT = "Ends of workers are not heard for now; sweeps find them"
    _UNWANTED = rpc.WatchCreateRequest.NOPUT

    def __init__(self, cluster: Cluster, keys: Keys) -> None:
        super().__init__(cluster, keys.all_workers)

    def _read(self, event: Any) -> str:
        return Keys.last_part(event.kv.key)


RESUMING = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_exception_type(StoreUnavailable),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
)
"""A watch that cannot be begun is tried again for ever."""
