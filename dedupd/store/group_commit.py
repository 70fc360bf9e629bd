"""Group commit on etcd: what gathers while transactions are under way goes into the next one.

No timer: a single caller waits for nobody, many callers share one round of consensus and one
fsync. Each operation is a transaction of its own with its own compare, nested into the batch's:
they succeed and fail each by itself.

Rules of etcd that shape a batch (measured with 3.4.23 and 3.5.1): a request is at most 1.5 MiB;
operations along a nesting path add up to at most 128; two writes of one key reject the whole
batch, so that a batch takes each subject once; nested compares see the state before the batch. A
batch that is rejected as a whole has written nothing: it is cut in halves until the operation that
is to blame stands alone. What a nested transaction puts is not counted against etcd's quota, which
takes a batch of them for a read and lets it pass (3.4.23, etcdserver/quota.go): so a batch says
what it costs by a put in its other branch, which is never carried out.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from dedupd.errors import Engine
from dedupd.ports import StoreUnavailable
from dedupd.store import etcd_requests
from dedupd.store.etcd_cluster import IN_DOUBT, LATE, Cluster, Late, Refused
from dedupd.store.etcd_requests import Transaction
from dedupd.store.etcd_stubs import rpc

MAX_BYTES = 1024 * 1024
"""What a batch carries at most, in bytes, unless a single operation is larger."""

_OVERHEAD = 1024
"""Bytes that an operation takes beside its values; less, if keys are no longer."""

IN_FLIGHT = 2
"""How many batches are under way at the same time. A further one begins only when it is half full:
a batch costs client and server far more than an operation in it does."""


class Part(NamedTuple):
    """What came of one operation of a batch.

    Where ``doubtful``, the operation had to be sent more than once, since nobody could tell whether
    a batch with it had been carried out; ``succeeded`` is what the last one found, so that a
    compare that failed may have failed because of the operation itself.
    """

    succeeded: bool
    responses: Sequence[Any]
    revision: int
    """The store's, after the batch: the version of everything that the batch has written."""
    doubtful: bool


class Operation(NamedTuple):
    """One operation that waits for its batch."""

    subject: str | None
    """What it changes: a batch holds each subject once. None: it only reads."""
    transaction: Transaction
    puts: bytes | None
    """A key that it puts, None where it makes nothing larger."""
    size: int
    deadline: float
    future: asyncio.Future[Part]


class Form(NamedTuple):
    """How operations become one transaction, and its response becomes theirs again."""

    limit: int
    compose: Callable[[Sequence[Operation]], Any]
    split: Callable[[Sequence[Operation], Any], list[tuple[bool, Sequence[Any]]]]
    late: str
    """What is said where etcd does not answer in time: only of a write nobody can tell more."""


class GroupCommit:
    """The operations that wait, and the batches under way; for one event loop."""

    def __init__(
        self,
        cluster: Cluster,
        form: Form,
        seconds: float,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what to send over, how, and how many seconds an operation may take in all.

        ``on_doubt`` is called when a batch may have been carried out by a try whose answer is lost,
        or may still be; before its callers are told what came of it.
        """
        self._cluster = cluster
        self._form = form
        self._seconds = seconds
        self._on_doubt = on_doubt
        self._waiting: deque[Operation] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._launching = False
        self._alarm: asyncio.TimerHandle | None = None

    def run(self, subject: str | None, transaction: Transaction) -> asyncio.Future[Part]:
        """Carry an operation out; whoever stops waiting does not stop what was sent.

        The future raises:
            StoreUnavailable: refused, or not answered in time: then nobody can tell whether it
                was carried out, unless it was never sent.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Part] = loop.create_future()
        deadline = loop.time() + self._seconds
        puts = etcd_requests.puts(transaction)
        self._waiting.append(
            Operation(
                subject,
                transaction,
                puts[0]["key"] if puts else None,
                _OVERHEAD + etcd_requests.size(transaction),
                deadline,
                future,
            )
        )
        if not self._launching:
            self._launching = True
            # In the loop's next round: all that is called for in this one goes together.
            loop.call_soon(self._launch)
        return future

    async def finish(self) -> None:
        """Wait until everything that was begun has ended; each operation has its deadline."""
        while self._under_way or self._waiting:
            if self._under_way:
                await asyncio.wait(self._under_way)
            else:
                await asyncio.sleep(0)

    def _launch(self) -> None:
        """Send as many batches as may be under way."""
        self._launching = False
        while len(self._waiting) >= self._enough():
            batch = self._take()
            if batch:
                task = asyncio.create_task(self._serve(batch))
                self._under_way.add(task)
                task.add_done_callback(self._landed)
        self._set_alarm()

    def _enough(self) -> float:
        """How many operations must wait for a batch to begin now."""
        if len(self._under_way) >= IN_FLIGHT:
            return math.inf
        return self._form.limit / 2 if self._under_way else 1

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._launch()

    def _take(self) -> list[Operation]:
        """The next batch: in the order of their arrival, each subject once, not too large."""
        batch: list[Operation] = []
        later: list[Operation] = []
        subjects: set[str] = set()
        size = 0
        while self._waiting and len(batch) < self._form.limit:
            operation = self._waiting[0]
            if batch and size + operation.size > MAX_BYTES:
                break
            self._waiting.popleft()
            if operation.future.done():
                continue
            if operation.subject in subjects:
                later.append(operation)
                continue
            if operation.subject is not None:
                subjects.add(operation.subject)
            size += operation.size
            batch.append(operation)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _serve(self, batch: list[Operation]) -> None:
        """Carry a batch out; none of its callers waits for longer than its own deadline."""
        watch = _Watch(batch, self._cluster.engine, self._form.late)
        try:
            await self._carry_out(batch)
        finally:
            watch.cancel()

    async def _carry_out(self, batch: list[Operation], *, in_doubt: bool = False) -> None:
        """Send a batch, until the newest of its deadlines, and deliver what came of it to each.

        A batch of an outage holds callers who have waited for almost all of their time together
        with some who came just now, and who would otherwise be in doubt at once.
        ``in_doubt``: a larger batch that it was part of may have been carried out.
        """
        try:
            request = self._form.compose(batch)
            response, doubtful = await self._cluster.ask(
                "KV", "Txn", request, batch[-1].deadline, self._form.late
            )
        except Refused as refusal:
            refusal.in_doubt |= in_doubt
            if refusal.in_doubt:
                self._on_doubt()
            await self._blame(batch, refusal)
        except Exception as failure:  # noqa: BLE001 # the callers get it
            self._on_doubt()
            _fail(batch, failure)
        else:
            doubtful |= in_doubt
            if doubtful:
                self._on_doubt()
            revision = response.header.revision
            answers = self._form.split(batch, response)
            for operation, (succeeded, responses) in zip(batch, answers, strict=True):
                if not operation.future.done():
                    operation.future.set_result(Part(succeeded, responses, revision, doubtful))

    async def _blame(self, batch: list[Operation], refusal: Refused) -> None:
        """Carry out those of a rejected batch that are not to blame for it."""
        harmless = [operation for operation in batch if operation.puts is None]
        if refusal.is_full and harmless:
            _fail([operation for operation in batch if operation.puts is not None], refusal)
            await self._carry_out(harmless, in_doubt=refusal.in_doubt)
        elif refusal.concerns_all or len(batch) == 1:
            _fail(batch, refusal)
        else:
            middle = len(batch) // 2
            await self._carry_out(batch[:middle], in_doubt=refusal.in_doubt)
            await self._carry_out(batch[middle:], in_doubt=refusal.in_doubt)

    def _set_alarm(self) -> None:
        """Wake up when the first of those that wait has waited for too long."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_at(self._waiting[0].deadline, self._give_up)

    def _give_up(self) -> None:
        """Fail what was never sent in time."""
        now = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0].deadline <= now:
            operation = self._waiting.popleft()
            _fail([operation], StoreUnavailable.of(self._cluster.engine, " does not answer"))
        self._set_alarm()


class _Watch:
    """Fails the operations of a batch that was sent, each at its own deadline.

    One timer, for the oldest of them. ``batch`` is in the order of deadlines, as operations come.
    """

    def __init__(self, batch: Sequence[Operation], engine: Engine, late: str) -> None:
        self._batch = batch
        self._engine = engine
        self._late = late
        self._timer = self._set(batch[0].deadline)

    def cancel(self) -> None:
        """Every operation of the batch has its answer."""
        self._timer.cancel()

    def _set(self, deadline: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(deadline, self._give_up)

    def _give_up(self) -> None:
        now = asyncio.get_running_loop().time()
        late = [operation for operation in self._batch if operation.deadline <= now]
        _fail(late, Late.of(self._engine, self._late))
        if len(late) < len(self._batch):
            self._timer = self._set(self._batch[len(late)].deadline)


def _fail(batch: Sequence[Operation], failure: Exception) -> None:
    for operation in batch:
        if not operation.future.done():
            operation.future.set_exception(failure)


def _nest(batch: Sequence[Operation]) -> Any:
    key = next((each.puts for each in batch if each.puts is not None), None)
    return rpc.TxnRequest(
        success=[{"request_txn": each.transaction} for each in batch],
        failure=[] if key is None else [etcd_requests.put(key, b"")],
    )


def _unnest(batch: Sequence[Operation], response: Any) -> list[tuple[bool, Sequence[Any]]]:
    answers = (each.response_txn for each in response.responses)
    pairs = zip(batch, answers, strict=True)
    return [(answer.succeeded, answer.responses) for _, answer in pairs]


WRITES = Form(100, _nest, _unnest, IN_DOUBT)
"""Compare-and-swaps, nested."""


def _chain(batch: Sequence[Operation]) -> Any:
    return rpc.TxnRequest(success=[each for one in batch for each in one.transaction["success"]])


def _unchain(batch: Sequence[Operation], response: Any) -> list[tuple[bool, Sequence[Any]]]:
    answers = iter(response.responses)
    return [(True, list(islice(answers, len(one.transaction["success"])))) for one in batch]


READS = Form(32, _chain, _unchain, LATE)
"""Reads of at most four keys each, side by side: etcd answers a transaction of ranges alone
without writing it to its log, which it does for a nested one."""
