"""RabbitMQ, as a ``Broker``: quorum queues, and what is published is confirmed in a pipeline."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from amqp import spec
from amqp.basic_message import Message

from dedupd.ports import QueueUnavailable
from dedupd.queue import policies
from dedupd.queue.broker import Answers, Arrived, Broker, Command, Reply
from dedupd.queue.refusal import explained
from dedupd.queue.settlements import Settlements
from dedupd.queue.wire import Wire, WiredTransport

LOG = logging.getLogger(__name__)

MAX_UNCONFIRMED = 20_000
"""How many messages may await their confirmation; one more is refused."""

DEAD_LETTERS = 100_000
"""How many messages the queue of dead letters keeps; the oldest go first."""

PERSISTENT = 2
"""AMQP's delivery mode of a message that outlives the broker's process."""


class AmqpBroker(Broker):
    """One connection to one RabbitMQ.

    Args:
        host, port, login: Where it is, and as whom: kombu's options ``userid``, ``password``,
            ``virtual_host``, and ``ssl``.
        name: The queue; its exchange and queue of dead letters end in ``.dead``.
        delivery_limit: How often a message may be delivered in vain before it goes there.

    Raises:
        QueueUnavailable: it cannot be reached, or breaks off.
        ConfigError: it refuses, and will go on to do so until somebody changes something.
    """

    patience = policies.HEARTBEAT_SECONDS / 4

    def __init__(
        self, host: str, port: int, name: str, delivery_limit: int, login: dict[str, Any]
    ) -> None:
        self._place = f"{host}:{port}"
        self._delivery_limit = delivery_limit
        self._unconfirmed: dict[int, Reply | None] = {}
        self._published = 0
        self._settlements = Settlements()
        self._next_beat = 0.0
        seconds = policies.DEADLINE_SECONDS
        options = {
            "read_timeout": seconds,
            "write_timeout": seconds,
            "on_blocked": self._blocked,
            "on_unblocked": self._unblocked,
        }
        with explained(self._place):
            super().__init__(
                *(host, name, WiredTransport),
                port=port,
                heartbeat=policies.HEARTBEAT_SECONDS,
                transport_options=options,
                **login,
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
        with explained(self._place):
            for operation, argument, reply in commands:
                operation(self, argument, reply)
            self._acknowledge_all()
            self._beat()
            self._wire.flush()
            self._drain()
        return self._taken()

    def drop(self) -> None:
        """See ``Broker.drop``."""
        self._connection.collect()

    def _declare(self) -> None:
        channel, name = self._channel, self._name
        dead = f"{name}.dead"
        channel.exchange_declare(dead, "fanout", durable=True, auto_delete=False)
        channel.queue_declare(
            dead,
            durable=True,
            auto_delete=False,
            arguments={"x-queue-type": "quorum", "x-max-length": DEAD_LETTERS},
        )
        channel.queue_bind(dead, dead)
        channel.queue_declare(
            name,
            durable=True,
            auto_delete=False,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": self._delivery_limit,
                "x-dead-letter-exchange": dead,
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",  # at-least-once demands it
            },
        )
        channel.confirm_select()
        channel.events["basic_ack"].add(self._confirmed)
        channel.events["basic_nack"].add(self._rejected)

    def _publish(self, request_id: str, reply: Reply | None) -> None:
        if len(self._unconfirmed) >= MAX_UNCONFIRMED:
            text = f"The broker {self._place} has {MAX_UNCONFIRMED} messages to confirm already."
            self._answer(reply, QueueUnavailable(text))
            return
        self._published += 1
        self._unconfirmed[self._published] = reply
        message = Message(request_id, delivery_mode=PERSISTENT)
        # Mandatory: RabbitMQ confirms what belongs to no queue, too, unless it must return it.
        self._channel.send_method(
            spec.Basic.Publish, "Bssbb", (0, "", self._name, True, False), message
        )

    def _confirmed(self, number: int, multiple: bool) -> None:
        for reply in self._replies(number, multiple):
            self._answer(reply)

    def _rejected(self, number: int, multiple: bool) -> None:
        for reply in self._replies(number, multiple):
            text = f"The broker {self._place} did not take the message: try again later."
            self._answer(reply, QueueUnavailable(text))

    def _replies(self, number: int, multiple: bool) -> list[Reply | None]:
        """The replies to one confirmation, which may stand for all before it too."""
        waiting = self._unconfirmed
        if not multiple:
            return [waiting.pop(number)] if number in waiting else []
        numbers = [each for each in waiting if each <= number]
        return [waiting.pop(each) for each in numbers]

    def _arrive(self, message: Any) -> None:
        self._settlements.arrived(message.delivery_tag)
        super()._arrive(message)

    def _acknowledge(self, tag: Any) -> None:
        self._settlements.acknowledged(tag)

    def _refuse(self, tag: Any, *, requeue: bool) -> None:
        super()._refuse(tag, requeue=requeue)
        self._settlements.refused(tag)

    def _acknowledge_all(self) -> None:
        for tag, multiple in self._settlements.take():
            self._channel.basic_ack(tag, multiple=multiple)

    def _finish(self) -> None:
        """Say what is unsaid, and hear what is unconfirmed."""
        self._acknowledge_all()
        deadline = time.monotonic() + policies.DEADLINE_SECONDS
        while self._unconfirmed and time.monotonic() < deadline:
            self._amqp.blocking_read()

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + policies.HEARTBEAT_SECONDS / 4
            self._amqp.heartbeat_tick()

    def _drain(self) -> None:
        self._wire.patient = False
        with suppress(TimeoutError):
            while True:
                self._amqp.blocking_read()
        self._wire.patient = True

    def _blocked(self, reason: str) -> None:
        LOG.warning("the broker %s takes no messages for now: %s", self._place, reason)

    def _unblocked(self) -> None:
        LOG.info("the broker %s takes messages again", self._place)
