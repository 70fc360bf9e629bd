"""The three seams: Store, Queue, Cloud. What is above them never names an implementation.

The record in the store is the truth; the queue is only a hint that there is work; the cloud itself
is asked before anything is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from dedupd.errors import DedupdError, Unavailable
from dedupd.exchange import Answer, Call
from dedupd.request import Record, State


class Stored(msgspec.Struct, frozen=True):
    """A record as the store holds it, with what it carries (sealed)."""

    record: Record
    payload: bytes | None = None
    result: bytes | None = None


class Worker(msgspec.Struct, frozen=True):
    """A worker's lease, as others see it."""

    id: str
    host: str
    pid: int
    lease_until: float


class Depth(msgspec.Struct, frozen=True):
    """How many requests are pending, in all and for each project."""

    total: int
    by_project: Mapping[str, int]


class Query(msgspec.Struct, frozen=True):
    """Which records to list: newest first, from behind ``marker`` (an id), at most ``limit``."""

    project_id: str | None = None
    states: frozenset[State] = frozenset()
    marker: str | None = None
    limit: int = 100


class StoreUnavailable(Unavailable):
    """The store did not carry the operation out, or nobody can tell whether it did.

    A caller that must know reads the record again; it never guesses.
    """

    in_doubt = True
    """Whether it may have been carried out, or still be."""


class Unreadable(StoreUnavailable):
    """What stands in a record's place is none, or one of a later dedupd.

    It is not taken for a record that is not there: its request may have been carried out. Whoever
    reads many passes it over, with a line in the log.
    """


class Store(Protocol):
    """Records, moved only by compare-and-swap.

    Every method raises ``StoreUnavailable`` where the store is away, full or locked, and has then
    either done all of its operation or nothing.
    """

    async def open(self) -> None:
        """Make it ready; creates what is missing.

        Raises:
            ConfigError: of another version, corrupt, or not to be used; it says why.
        """

    async def close(self) -> None:
        """Let go of it; what was acknowledged is durable."""

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        """Create the record with its payload if its id is free, else say what stands there.

        One atomic operation: of any number of concurrent claims of one id, exactly one wins.
        An id is free when it has no record, or a released one, which is replaced.

        Returns:
            ``(True, as created)`` or ``(False, what stands there, with its result)``.
        """

    async def read(self, ids: Sequence[str]) -> dict[str, Stored]:
        """The records with these ids, whole; those that are not there are left out.

        Each is read atomically and no older than this call; together they are no snapshot.
        """

    async def swap(
        self,
        before: Record,
        after: Record,
        *,
        result: bytes | None = None,
        worker: str = "",
        gone: str = "",
    ) -> Record | None:
        """Put ``after`` in the place of ``before`` if nothing has changed in between.

        One atomic operation: compares ``before.version`` (and birth), and, where they are named,
        that the lease of ``worker`` is alive, and that the one of ``gone`` is not. ``result`` is
        stored with it; without one, what is stored stays. A record that has ended loses its
        payload, a tombstone also its result.
        When a record stops being awaited (it has ended, or is unknown), that is published to
        every ``on_completion``, with the result that was given here.

        Returns:
            The record as written, with its new version; None where it was not written.
        """

    async def begin(self, claimed: Record, sending: Record, worker: str) -> Stored | None:
        """Put ``sending`` in the place of what was claimed, if nobody has written it since.

        A swap for who has heard of a claim and not read it, and knows no version: compares every
        field of ``claimed`` but that, and that the payload is there and the lease of ``worker``
        alive.

        Returns:
            The record as written, with its payload; None where it was not written.
        """

    async def forget(self, record: Record) -> bool:
        """Delete the record if nothing has changed since; its token counts as never used."""

    async def pending(self, limit: int) -> list[Record]:
        """Records in QUEUED, SENDING or UNKNOWN, at most ``limit``, the oldest first.

        Its cost follows the number of pending records, never that of all.
        """

    async def overdue(self, now: float, limit: int) -> list[Record]:
        """Records with ``expires_at`` <= ``now``, at most ``limit``, the earliest first.

        No tombstone is skipped.
        """

    async def find(self, query: Query) -> list[Record]:
        """Records by a query, in the order of their claims, the newest first.

        Raises:
            NotFound: the marker names no record of the query's project.
        """

    async def depth(self) -> Depth:
        """How many are pending."""

    def on_completion(self, listener: Callable[[Stored], None]) -> None:
        """Call ``listener`` in the event loop with each request that is no longer awaited.

        A hint: an event may be lost, come twice or late, so a waiter also reads now and then.
        """

    async def register(self, worker: Worker) -> None:
        """Take a lease for a worker until ``worker.lease_until``."""

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """Prolong a living lease. False: it has ended already, and stays ended."""

    async def retire(self, worker_id: str) -> None:
        """End a lease now."""

    async def workers(self) -> list[Worker]:
        """The living leases."""

    async def lead(self, worker_id: str) -> bool:
        """Make a living worker the leader if no living one is; whether it leads now.

        One atomic operation. It leads until its lease ends or it resigns.
        """

    async def resign(self, worker_id: str) -> None:
        """Let another worker lead, if this one does."""

    def on_departure(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` in the event loop with the id of each worker whose lease has ended.

        A hint like ``on_completion``: whoever must know asks for ``workers`` now and then.
        """


class Delivery(Protocol):
    """One message taken from the queue."""

    @property
    def id(self) -> str:
        """The request's id."""

    @property
    def claimed(self) -> Record | None:
        """The record as it was claimed, if the message says; only a hint, as the id is."""

    def acknowledge(self) -> None:
        """Take the message off the queue for good. Returns at once.

        Of this and ``hand_back`` only the first call counts; after ``close`` neither does anything.
        """

    def hand_back(self) -> None:
        """Give the message back for another consumer, or the same. Returns at once."""


class QueueUnavailable(Unavailable):
    """The broker did not confirm the message; it may be there or not."""


class Queue(Protocol):
    """Ids of requests that have work to do: may be lost, repeated, reordered, never invented.

    Beside an id may stand the record as it was claimed: whoever writes to the broker can write
    another one there, so it counts only as far as the store says the same (``Store.begin``).
    """

    async def open(self) -> None:
        """Connect, and declare what is missing.

        Raises:
            QueueUnavailable: no broker within the connection's deadline.
            ConfigError: it refuses: the credentials, the certificates, or the queue's properties.
        """

    async def close(self) -> None:
        """Stop; unacknowledged messages go back to the broker."""

    async def publish(self, request_id: str, claimed: Record | None = None) -> None:
        """Put an id on the queue; returns when the broker has confirmed it.

        ``claimed`` goes with it, unless it is large; a message that is handed back may lose it.

        Raises:
            QueueUnavailable: not confirmed in time.
        """

    async def consume(self, handler: Callable[[Delivery], None], prefetch: int) -> None:
        """Call ``handler`` in the event loop for each message, until ``stop_consuming``.

        At most ``prefetch`` (1 or more) messages are unacknowledged at any time. The handler must
        not raise: that is logged, and its message stays unacknowledged until ``close``. Called
        again, the new handler takes the place of the old one.

        Raises:
            QueueUnavailable: the broker did not agree in time; nothing will come.
        """

    async def stop_consuming(self) -> None:
        """No handler is called after this returns; what is unacknowledged may still be acked."""

    async def depth(self) -> int:
        """Messages that wait in the queue, without those that are unacknowledged.

        Raises:
            QueueUnavailable: no answer in time, or the connection has ended: until ``close`` and
                ``open``, nothing is published or comes any more.
        """


class NotSent(DedupdError):
    """The cloud could not be reached: not one byte of the request went out."""

    status = 502
    name = "badGateway"


class Lost(DedupdError):
    """The request may have reached the cloud, but no complete answer came back.

    The message is for callers too, and does not say where the cloud is.
    """

    status = 502
    name = "badGateway"


class Cloud(Protocol):
    """The cloud's API, one exchange at a time."""

    async def send(
        self,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool] = lambda: True,
        *,
        afresh: bool = False,
    ) -> Answer:
        """Send once and wait for the whole answer; nothing underneath sends a POST again.

        What is given up is not delivered any more, unless it has been already.

        Args:
            call: What is sent.
            timeout: Seconds from the first byte sent: waiting for a connection is not sending.
            permitted: Asked right before that byte.
            afresh: Over a connection of its own, which waits until the cloud takes it behind all
                that wait there already.

        Raises:
            NotSent: refused, unknown host, TLS, no connection in time, or not permitted any more:
                certainly no effect.
            Lost: anything that went wrong after that.
        """
