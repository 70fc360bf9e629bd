"""RabbitMQ, as a ``Broker``: quorum queues, and what is published is confirmed in a pipeline."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from amqp import spec
from amqp.basic_message import Message

from dedupd.ports import QueueUnavailable
from dedupd.queue import hint, policies
from dedupd.queue.broker import Answers, Arrived, Broker, Command, Reply, Silent
from dedupd.queue.delivery import Notice
from dedupd.queue.refusal import engine, explained
from dedupd.queue.settlements import Settlements
from dedupd.queue.unconfirmed import Unconfirmed
from dedupd.queue.wire import Wire, WiredTransport
from dedupd.request import Record

LOG = logging.getLogger(__name__)

MAX_UNCONFIRMED = 20_000
"""How many messages may await their confirmation; one more is refused."""

REJECTING_SECONDS = 1.0
"""For how long everything may be rejected before the connection is replaced: a channel that begins
to publish while the queue's members elect a leader has everything rejected for ever (3.10.8)."""

DEAD_LETTERS = 100_000
"""How many messages the queue of dead letters keeps; the oldest go first."""

PERSISTENT = 2
"""AMQP's delivery mode of a message that outlives the broker's process."""


def dead_letters(name: str) -> str:
    """The exchange and the queue where the dead letters of a queue go."""
    return f"{name}.dead"


SILENT_SECONDS = 10.0
"""How long a message may await its confirmation: longer than the queue's members take to elect a
leader. A queue that serves nobody confirms nothing, while its broker beats and tells of it."""


IDLE_SECONDS = 5.0
"""After how long without a message it is looked whether the queue serves at all. Whoever heals a
queue that serves nobody takes twice as long to delete it, so that each worker notices by itself:
its consumer would be left behind with the queue that was deleted, and RabbitMQ not say so."""


class _Sent(NamedTuple):
    """One message: who waits for it, the tag of the one that it takes the place of, and since when.

    On the monotonic clock.
    """

    reply: Reply | None
    replaces: int | None
    at: float


class AmqpBroker(Broker):
    """One connection to one RabbitMQ.

    A message that is handed back, be it because the connection is closed, is published anew and
    then acknowledged: RabbitMQ's own way would count it as delivered in vain, though nobody has
    died of it, and would not say when it is there again.

    Args:
        host, port: Where it is.
        name: The queue; its exchange and its queue of dead letters end in ``.dead``.
        delivery_limit: How often a message may be delivered in vain before it goes there.
        login: kombu's options: ``userid``, ``password``, ``virtual_host``, ``ssl``,
            ``connect_timeout``, ``heartbeat``.

    Raises:
        QueueUnavailable: it cannot be reached, or breaks off.
        ConfigError: it refuses, and will go on to do so until somebody changes something.
    """

    def __init__(
        self, host: str, port: int, name: str, delivery_limit: int, login: dict[str, Any]
    ) -> None:
        self._engine = engine(f"{host}:{port}")
        self._delivery_limit = delivery_limit
        self._unconfirmed: Unconfirmed[_Sent] = Unconfirmed()
        self._settlements = Settlements()
        self._unsettled: dict[int, str] = {}
        self._next_beat = 0.0
        self._rejecting_since: float | None = None
        self._alarm = False
        self._confirms_since = 0.0
        self._served_at = 0.0
        options = {
            "read_timeout": policies.DEADLINE_SECONDS,
            "write_timeout": policies.DEADLINE_SECONDS,
            "on_blocked": self._blocked,
            "on_unblocked": self._unblocked,
        }
        login = {"heartbeat": policies.HEARTBEAT_SECONDS} | login
        self._beat_seconds: float = login["heartbeat"] / 4
        self.patience = self._beat_seconds
        with explained(self._engine.place):
            super().__init__(
                host, name, WiredTransport, port=port, transport_options=options, **login
            )
        # kombu's own reference would connect again by itself, to who knows what.
        self._amqp = self._channel.connection
        self._wire: Wire = self._amqp.transport.wire

    @property
    def descriptor(self) -> int:
        """The socket."""
        descriptor: int = self._amqp.sock.fileno()
        return descriptor

    def perform(self, commands: Iterable[Command]) -> tuple[Answers, Arrived]:
        """See ``Broker.perform``.

        Raises:
            QueueUnavailable, ConfigError: the connection has ended.
        """
        with explained(self._engine.place):
            for operation, argument, reply in commands:
                operation(self, argument, reply)
            self._say()
            self._drain()
            self._beat()  # when what has come is known, after a pause of this process too
            self._say()
        return self._taken()

    def drop(self) -> None:
        """See ``Broker.drop``."""
        self._connection.collect()

    def _declare(self) -> None:
        channel, name = self._channel, self._name
        dead = dead_letters(name)
        durable = {"durable": True, "auto_delete": False}
        quorum = {"x-queue-type": "quorum"}
        channel.exchange_declare(dead, "fanout", **durable)
        channel.queue_declare(dead, arguments=quorum | {"x-max-length": DEAD_LETTERS}, **durable)
        channel.queue_bind(dead, dead)
        limit = {
            "x-delivery-limit": self._delivery_limit,
            "x-dead-letter-exchange": dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # at-least-once demands it
        }
        channel.queue_declare(name, arguments=quorum | limit, **durable)
        channel.confirm_select()
        channel.events["basic_ack"].add(self._confirmed)
        channel.events["basic_nack"].add(self._rejected)

    def _count(self) -> int | QueueUnavailable:
        """During an alarm the broker reads nothing more from who has published."""
        return self._blocks() if self._alarm else super()._count()

    def _subscribe(self, prefetch: int) -> str:
        self._served_at = time.monotonic()
        return super()._subscribe(prefetch)

    def _publish(self, notice: Notice, reply: Reply | None) -> None:
        if self._alarm:
            self._answer(reply, self._blocks())
        elif len(self._unconfirmed) < MAX_UNCONFIRMED:
            self._send(notice, _Sent(reply, None, time.monotonic()))
        else:
            said = f" has {MAX_UNCONFIRMED} messages to confirm already"
            self._answer(reply, QueueUnavailable.of(self._engine, said))

    def _send(self, notice: Notice, sent: _Sent) -> None:
        """Publish, mandatory: else RabbitMQ would confirm even what no queue takes."""
        request_id, claimed = notice
        self._unconfirmed.published(sent)
        self._channel.send_method(
            spec.Basic.Publish,
            "Bssbb",
            (0, "", self._name, True, False),
            Message(
                request_id.encode(),
                delivery_mode=PERSISTENT,
                application_headers=hint.headers(claimed, self._channel.connection.frame_max // 2),
            ),
        )

    def _confirmed(self, number: int, multiple: bool) -> None:
        self._rejecting_since = None
        for sent in self._unconfirmed.take(number, multiple):
            self._answer(sent.reply)
            if sent.replaces is not None:
                self._settlements.acknowledged(sent.replaces)

    def _rejected(self, number: int, multiple: bool) -> None:
        for sent in self._unconfirmed.take(number, multiple):
            said = " did not take the message: try again later"
            self._answer(sent.reply, QueueUnavailable.of(self._engine, said))
            if sent.replaces is not None:
                self._reject(sent.replaces, requeue=True)
        now = time.monotonic()
        self._rejecting_since = self._rejecting_since or now
        if now - self._rejecting_since > REJECTING_SECONDS:
            raise QueueUnavailable.of(self._engine, " rejects everything")

    def _arrive(self, message: Any) -> None:
        self._served_at = time.monotonic()
        self._settlements.arrived(message.delivery_tag)
        super()._arrive(message)

    def _take_in(self, request_id: str, claimed: Record | None, tag: int) -> None:
        self._unsettled[tag] = request_id
        super()._take_in(request_id, claimed, tag)

    def _acknowledge(self, tag: int) -> None:
        if self._unsettled.pop(tag, None) is not None:
            self._settlements.acknowledged(tag)

    def _hand_back(self, tag: int) -> None:
        request_id = self._unsettled.pop(tag, None)
        if request_id is not None:  # else all was handed back for the end
            self._send((request_id, None), _Sent(None, tag, time.monotonic()))

    def _reject(self, tag: int, *, requeue: bool) -> None:
        super()._reject(tag, requeue=requeue)
        self._settlements.refused(tag)

    def _cancel(self, consumer: str) -> None:
        """Cancel, and take in what was on its way: RabbitMQ says that it is done before it is."""
        self._channel.basic_cancel(consumer, nowait=True)
        self._channel.basic_qos(0, 1, False)  # answered when all before it is done
        self._channel.callbacks.pop(consumer, None)  # else amqp keeps it for a confirmation

    def _say(self) -> None:
        """Send what has gathered; reading gathers some too."""
        for tag, multiple in self._settlements.take():
            self._channel.basic_ack(tag, multiple=multiple)
        self._wire.flush()

    def _finish(self) -> None:
        """Hand back what is unsettled, and hear what is unconfirmed."""
        self.cancel(None, None)
        for tag in [*self._unsettled]:
            self._hand_back(tag)
        deadline = time.monotonic() + policies.DEADLINE_SECONDS
        while self._unconfirmed and time.monotonic() < deadline:
            self._amqp.blocking_read()

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + self._beat_seconds
            self._amqp.heartbeat_tick()
            if not self._alarm:
                self._check_confirmed(now)
                self._check_served(now)

    def _check_confirmed(self, now: float) -> None:
        oldest = self._unconfirmed.oldest
        since = max(oldest.at, self._confirms_since) if oldest else now
        if now - since > SILENT_SECONDS:
            raise Silent.of(
                self._engine,
                f" is there, but has not confirmed a message for {SILENT_SECONDS:g} s",
            )

    def _check_served(self, now: float) -> None:
        """Where nothing comes though something may, consume once more.

        That is not answered by a queue that serves nobody. A new consumer takes the old one's place
        if no message is in hand; it may be of a queue that was deleted. Else it is there for a
        moment, and what it brings is taken in as any other.

        Raises:
            TimeoutError, AMQPError: it is not answered.
        """
        if not self._consumer or len(self._unsettled) >= self._prefetch:
            return
        if now - self._served_at <= IDLE_SECONDS:
            return
        if self._unsettled:
            self._cancel(self._subscribe(1))
        else:
            self.consume(self._prefetch, None)

    def _drain(self) -> None:
        self._wire.patient = False
        with suppress(TimeoutError):
            while True:
                self._amqp.blocking_read()
        self._wire.patient = True

    def _blocked(self, _reason: str) -> None:
        self._alarm = True
        LOG.warning("%s", self._blocks())

    def _blocks(self) -> QueueUnavailable:
        """RabbitMQ blocks who publishes for two reasons; amqp does not say which it names."""
        return QueueUnavailable.of(
            self._engine,
            " takes no messages: it is short of memory or disk space. `rabbitmqctl status` names "
            "the alarm; free some there, and it goes on by itself",
        )

    def _unblocked(self) -> None:
        self._alarm = False
        self._confirms_since = self._served_at = time.monotonic()
        LOG.info("the broker %s takes messages again", self._engine.place)
