"""One worker: consumes ids, keeps its lease, sweeps, and stops without losing anything."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from oslo_log import log

from dedupd.background import Background
from dedupd.metrics import Metrics
from dedupd.ports import (
    Delivery,
    Queue,
    QueueUnavailable,
    Store,
    Stored,
    StoreUnavailable,
)
from dedupd.request import Record, State
from dedupd.seal import Unsealable
from dedupd.worker import policies
from dedupd.worker.executor import Executor, Step
from dedupd.worker.job import Job, Opener
from dedupd.worker.lease import Lease
from dedupd.worker.reconciler import Decision, Reconciler
from dedupd.worker.sweeper import Sweeper
from dedupd.worker.turns import Notices, Turn, Turns

LOG = log.getLogger(__name__)

HAND_BACK_SECONDS = 1.0
"""How long a message is kept that cannot be acted on, since the store is away."""

REPUBLISH_SECONDS = 15.0
"""Seconds after which a record that is still queued is published again."""

PUBLISHED_AT_ONCE = 1000
"""How many of what was put off are published at a time."""

MAX_REVISITS = 8
"""How many unknowns are looked for at once."""


class WorkerService:
    """Carries requests out until it is told to stop.

    Args:
        prefetch: How many messages it holds at once; more than it sends at once, so that what comes
            next is at hand.
        sweep_seconds: How often it sweeps.
        stop_seconds: How long a stop waits for what is in flight.
        background: Runs what keeps the lease, and what sweeps.
        republish_seconds: After how long a record that is still queued is published again.
    """

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        opener: Opener,
        executor: Executor,
        reconciler: Reconciler,
        lease: Lease,
        turns: Turns,
        metrics: Metrics,
        clock: Callable[[], float],
        tombstone_seconds: float,
        prefetch: int,
        sweep_seconds: float,
        stop_seconds: float,
        background: Background,
        republish_seconds: float = REPUBLISH_SECONDS,
    ) -> None:
        self._store = store
        self._queue = queue
        self._opener = opener
        self._executor = executor
        self._reconciler = reconciler
        self._lease = lease
        self._prefetch = prefetch
        self._sweep_seconds = sweep_seconds
        self._stop_seconds = stop_seconds
        self._in_hand: dict[str, asyncio.Task[None]] = {}
        self._undoing: set[asyncio.Task[None]] = set()
        self._background = background
        self._tasks: list[asyncio.Task[None]] = []
        self._revisits = asyncio.Semaphore(MAX_REVISITS)
        self._turns = turns
        self._publishing: set[asyncio.Task[None]] = set()
        self._consuming = False
        self._sweeper = Sweeper(
            store=store,
            queue=queue,
            metrics=metrics,
            clock=clock,
            tombstone_seconds=tombstone_seconds,
            republish_seconds=republish_seconds,
            worker_id=lambda: lease.worker_id,
            in_hand=self._in_hand.__contains__,
            adopt=lambda record: self._start(record.id, self._adopt(record)),
            revisit=lambda record: self._start(record.id, self._revisit(record)),
        )

    @property
    def consuming(self) -> bool:
        """Whether it takes work and may send it: not where its lease cannot be kept alive."""
        return self._consuming and self._background.is_well and self._lease.may_send()

    async def start(self) -> None:
        """Take the lease and begin to consume.

        Raises:
            StoreUnavailable, QueueUnavailable: not started.
        """
        await self._lease.take()
        await self._queue.consume(self._deliver, self._prefetch)
        self._consuming = True
        self._tasks = [
            self._background.run(self._lease.keep(), "What keeps the worker's lease"),
            self._background.run(self._sweeper.run(self._sweep_seconds), "The worker's sweeper"),
        ]

    async def stop(self) -> None:
        """Stop taking; finish what is in flight, as far as the time goes; hand back the rest.

        What waits for its turn, and what is only looked for, goes to others: a send that began late
        would be cut off, and put in doubt. So would one that is repeated, since what is in flight
        had no effect: that goes to others, too.
        """
        self._consuming = False
        self._executor.stop_sending()
        self._publish_again(self._turns.stop())
        await self._queue.stop_consuming()
        background = self._tasks
        sweeper = background.pop() if background else None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.wait([sweeper])
            await self._sweeper.resign()
        for request_id, task in self._in_hand.items():
            if request_id not in self._executor.under_way:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds):
                while at_work := self._at_work():
                    await asyncio.wait(at_work)  # what ends may leave something to undo
        left = [*self._at_work(), *background]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.gather(*self._publishing, return_exceptions=True)
        try:
            await self._lease.give_up()
        except StoreUnavailable as error:
            LOG.warning("The lease was not given up and ends by itself: %s", error)

    def _at_work(self) -> list[asyncio.Task[None]]:
        return [*self._in_hand.values(), *self._undoing, *self._publishing]

    def _deliver(self, delivery: Delivery) -> None:
        """Take one message; an id that is in hand already is a repeated hint.

        Where the lease has ended, so that nothing could be sent, it is for others.
        """
        if self._lease.has_ended():
            _hand_back_later(delivery)
        elif delivery.id in self._in_hand:
            delivery.acknowledge()
        else:
            self._start(delivery.id, self._take(delivery))

    def _start(self, request_id: str, work: Coroutine[Any, Any, None]) -> None:
        if request_id in self._in_hand:
            work.close()
            return
        task = asyncio.create_task(work)
        self._in_hand[request_id] = task
        task.add_done_callback(lambda done: self._let_go(request_id, done))

    def _let_go(self, request_id: str, task: asyncio.Task[None]) -> None:
        del self._in_hand[request_id]
        _report(request_id, task)

    async def _take(self, delivery: Delivery) -> None:
        """Carry a queued request out; anything else is not this message's business.

        The message is done with as soon as the record says more than it: a request in doubt, or
        one that waits to be sent again, is found by its record, however long it takes and whoever
        dies. Kept, the messages of those that wait would keep all others away. A worker without its
        store is no use to anybody: another one may have the message, after a while, if it was not
        done with before.
        """
        try:
            sent = await self._send(delivery)
        except asyncio.CancelledError:
            delivery.hand_back()
            raise
        except StoreUnavailable:
            _hand_back_later(delivery)
            raise
        except BaseException:
            delivery.acknowledge()
            raise
        if sent is None:
            delivery.acknowledge()
            return
        job, step = sent
        if step is Step.STOPPED:
            delivery.hand_back()
            return
        delivery.acknowledge()
        await self._go_on(job, step)

    async def _send(self, delivery: Delivery) -> tuple[Job, Step] | None:
        """Send a queued request if it has its turn; None: it is none, or not for now.

        The message is acknowledged before a wait to send again; it is published again where that
        wait is broken off.
        """
        record = delivery.claimed
        if record is None:
            stored = await self._queued(delivery.id)
            if stored is None:
                return None
            record = stored.record
        turn = self._turns.begin(record, delivery)
        if turn is None:
            return None
        try:
            sent = await self._send_now(delivery, record.owner, turn)
        except (asyncio.CancelledError, StoreUnavailable):
            self._publish_again(turn.give_up())
            raise
        except Exception:
            self._publish_again(turn.end())
            raise
        self._publish_again(turn.end())
        return sent

    async def _send_now(
        self, delivery: Delivery, owner: str, turn: Turn
    ) -> tuple[Job, Step] | None:
        """As ``_send``; what is still as it was claimed need not be read first.

        Where it has another ``owner`` by now than the message says, that one waits for as long as
        Nova has asked to.
        """
        job = self._opener.unread(delivery.claimed) if delivery.claimed else None
        step = await self._executor.send(job, turn.hold_up) if job else Step.READ
        if job is None or step is Step.READ:
            stored = await self._queued(delivery.id)
            if stored is None or stored.record.owner != owner:
                return None
            job = self._opener.open(stored)
            step = await self._executor.send(job, turn.hold_up)
        return job, step

    def _publish_again(self, notices: Notices) -> None:
        """Publish what has no message any more, and is for whoever has time."""
        if notices:
            task = asyncio.create_task(self._publish_all(notices))
            self._publishing.add(task)
            task.add_done_callback(self._published)

    def _published(self, task: asyncio.Task[None]) -> None:
        self._publishing.discard(task)
        _report("What was put off", task)

    async def _publish_all(self, notices: Notices) -> None:
        """Publish them, many at a time; again and again where the broker is away.

        No sweeper does that soon, since it takes them for put off. So it does when this worker
        has gone: while it stops, each is tried once more at most.
        """
        left = len(notices)
        for some in _slices(notices, PUBLISHED_AT_ONCE):
            repeat = policies.PUBLISH.repeat
            async with asyncio.TaskGroup() as group:
                work = (repeat(self._publish, id_, notices[id_]) for id_ in some)
                tasks = [group.create_task(one) for one in work]
            if not all(task.result() for task in tasks):
                LOG.warning("Up to %d requests are left to the sweeper: the broker is away", left)
                return
            left -= len(some)

    async def _publish(self, request_id: str, record: Record | None) -> bool:
        """Whether it is published; False only where the broker is away and this worker stops.

        Raises:
            QueueUnavailable: the broker is away.
        """
        try:
            await self._queue.publish(request_id, record)
        except QueueUnavailable:
            if self._consuming:
                raise
            return False
        return True

    async def _queued(self, request_id: str) -> Stored | None:
        """What is stored of a request, if it is queued."""
        stored = (await self._store.read([request_id])).get(request_id)
        return stored if stored is not None and stored.record.state is State.QUEUED else None

    async def _go_on(self, job: Job, step: Step) -> None:
        """Reconcile, and send again where that is the decision, until the request has ended."""
        while step is Step.RECONCILE:
            decision = await self._reconciler.decide(job)
            if decision is Decision.SEND_AGAIN:
                step = await self._executor.send(job)
            else:
                step = Step.OVERTAKEN if decision is Decision.OVERTAKEN else Step.ENDED
        if step is Step.OVERTAKEN:
            self._undo(job)

    def _undo(self, job: Job) -> None:
        """See to what any other send made than the one that counts; it is not in hand meanwhile.

        Should whoever moved its record die, this worker may have to take it over.
        """
        task = asyncio.create_task(self._executor.compensation.see_to(job))
        self._undoing.add(task)
        task.add_done_callback(lambda done: self._undone(job.record.id, done))

    def _undone(self, request_id: str, task: asyncio.Task[None]) -> None:
        self._undoing.discard(task)
        _report(request_id, task)

    async def _adopt(self, record: Record) -> None:
        """Reconcile what a worker that is gone left SENDING."""
        stored = (await self._store.read([record.id])).get(record.id)
        if stored is None or stored.record != record:
            return
        job = self._opener.open(stored)
        ours = await self._reconciler.take_over(record)
        if ours is not None:
            job.advance(ours)
            await self._go_on(job, Step.RECONCILE)

    async def _revisit(self, record: Record) -> None:
        """Look once for an unknown."""
        async with self._revisits:
            stored = (await self._store.read([record.id])).get(record.id)
            if stored is not None and stored.record.state is State.UNKNOWN:
                await self._reconciler.revisit(self._opener.open(stored))


def _slices(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """So many at a time, in their order."""
    remaining = iter(ids)
    while some := [*itertools.islice(remaining, size)]:
        yield some


def _hand_back_later(delivery: Delivery) -> None:
    asyncio.get_running_loop().call_later(HAND_BACK_SECONDS, delivery.hand_back)


def _report(request_id: str, task: asyncio.Task[None]) -> None:
    """Log what broke a task off."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, (StoreUnavailable, Unsealable)):
        LOG.warning("%s: left to the sweeper: %s", request_id, error)
    else:
        LOG.error("%s: left to the sweeper", request_id, exc_info=error)
