"""The broker as kombu shows it: blocking, and used in one thread only.

kombu's channels are used directly, without its Consumer and Producer, which would add the coding
of bodies and of headers: all that is sent is an id as plain text.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from kombu.connection import Connection
from kombu.transport import memory, virtual

from dedupd.ports import QueueUnavailable
from dedupd.queue import hint
from dedupd.queue.delivery import Notice
from dedupd.request import Record

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
"""How long one attempt to connect may take."""

Reply = asyncio.Future[Any]
"""What a caller in the event loop waits for; it is touched nowhere else."""

Operation = Callable[["Broker", Any, Reply | None], None]
Command = tuple[Operation, Any, Reply | None]
Answers = list[tuple[Reply, Any]]
"""Replies and their values; a value that is an exception is raised to who waits."""

Arrived = list[tuple[str, Record | None, Any]]
"""Messages that have come in: ids, records as they were claimed, and tags."""


class Silent(QueueUnavailable):
    """The broker is there, and does not confirm: its queue may serve nobody."""


_ID = re.compile(r"[0-9a-f]{32}")
make_connection: Callable[..., Any] = Connection  # kombu has no types
_state: Callable[[], Any] = virtual.BrokerState


def private_memory() -> type:
    """A kombu memory transport whose messages nobody else in this process sees.

    kombu's own keeps them in class attributes, by queue name alone (the URL does not count), and
    forgets what a channel had not acknowledged when it closes.
    """
    channel = {"queues": {}, "do_restore": True, "body_encoding": None}
    transport = {
        "Channel": type("PrivateChannel", (memory.Channel,), channel),
        "global_state": _state(),
    }
    return type("PrivateTransport", (memory.Transport,), transport)


class Broker:
    """One connection with one channel; made, used and closed in one thread.

    An error that an operation raises is the end of the connection. A DedupdError tells what is to
    be done; with any other its traceback is logged. What operations do differently with another
    broker is in the private methods.
    """

    patience: float | None = None
    """For how many seconds ``perform`` may be put off while nothing happens; None: for ever."""

    def __init__(self, url: str, name: str, transport: type | None = None, **options: Any) -> None:
        self.running = True
        self._name = name
        self._answers: Answers = []
        self._arrived: Arrived = []
        self._consumer = ""
        self._consumers = 0
        self._prefetch = 0
        self._connection = make_connection(
            url, transport=transport, **{"connect_timeout": CONNECT_SECONDS} | options
        )
        try:
            # By itself kombu would sleep 2 s, and retry.
            self._connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
            self._channel: Any = self._connection.channel()
            self._declare()
        except BaseException:
            self.drop()
            raise

    @property
    def descriptor(self) -> int | None:
        """The file descriptor that can be read when ``perform`` has something to take in."""
        return None

    def perform(self, commands: Iterable[Command]) -> tuple[Answers, Arrived]:
        """Carry out commands, and take in the messages that have come, waiting for nothing."""
        for operation, argument, reply in commands:
            operation(self, argument, reply)
        if self._consumer:
            self._drain()
        return self._taken()

    def _taken(self) -> tuple[Answers, Arrived]:
        answers, self._answers = self._answers, []
        arrived, self._arrived = self._arrived, []
        return answers, arrived

    def close(self) -> None:
        """Disconnect; what is unacknowledged goes back to the queue."""
        self._connection.close()

    def drop(self) -> None:
        """Let go of a connection that is broken already, without a farewell."""
        self._connection.close()

    def greet(self, _argument: None, reply: Reply | None) -> None:
        """Answer that the connection stands."""
        self._answer(reply)

    def stop(self, _argument: None, reply: Reply | None) -> None:
        """Ask for the end, once all that was commanded before is done."""
        self._finish()
        self.running = False
        self._answer(reply)

    def publish(self, notice: Notice, reply: Reply | None) -> None:
        """Put an id on the queue; the reply is the broker's confirmation."""
        self._publish(notice, reply)

    def consume(self, prefetch: int, reply: Reply | None) -> None:
        """Let messages come in, at most ``prefetch`` of them unacknowledged."""
        self.cancel(None, None)
        self._prefetch = prefetch
        self._consumer = self._subscribe(prefetch)
        self._answer(reply)

    def cancel(self, _argument: None, reply: Reply | None) -> None:
        """Let no more messages come in; those that have come can still be settled."""
        if self._consumer:
            self._cancel(self._consumer)
            self._consumer = ""
        self._answer(reply)

    def depth(self, _argument: None, reply: Reply | None) -> None:
        """Count the messages that wait."""
        self._answer(reply, self._count())

    def acknowledge(self, tag: Any, reply: Reply | None) -> None:
        """Take a message off the queue."""
        self._acknowledge(tag)
        self._answer(reply)

    def hand_back(self, tag: Any, reply: Reply | None) -> None:
        """Give a message back to the queue."""
        self._hand_back(tag)
        self._answer(reply)

    def _count(self) -> int | QueueUnavailable:
        """The messages that wait, or why they are not counted."""
        declared = self._channel.queue_declare(queue=self._name, passive=True)
        count: int = declared.message_count
        return count

    def _subscribe(self, prefetch: int) -> str:
        """A new consumer; its name."""
        self._consumers += 1
        consumer = f"dedupd-{self._consumers}"  # a quorum queue confuses two of one name
        self._channel.basic_qos(0, prefetch, False)
        self._channel.basic_consume(
            queue=self._name, no_ack=False, callback=self._arrive, consumer_tag=consumer
        )
        return consumer

    def _declare(self) -> None:
        self._channel.queue_declare(queue=self._name, durable=True, auto_delete=False)

    def _publish(self, notice: Notice, reply: Reply | None) -> None:
        request_id, claimed = notice
        message = self._channel.prepare_message(
            request_id,
            content_type="text/plain",
            content_encoding="utf-8",
            headers=hint.headers(claimed),
        )
        self._channel.basic_publish(message, exchange="", routing_key=self._name)
        self._answer(reply)

    def _acknowledge(self, tag: Any) -> None:
        self._channel.basic_ack(tag)

    def _hand_back(self, tag: Any) -> None:
        self._reject(tag, requeue=True)

    def _reject(self, tag: Any, *, requeue: bool) -> None:
        self._channel.basic_reject(tag, requeue=requeue)

    def _cancel(self, consumer: str) -> None:
        self._channel.basic_cancel(consumer)

    def _finish(self) -> None:
        """Do what must be done before the end."""

    def _answer(self, reply: Reply | None, value: Any = None) -> None:
        if reply is not None:
            self._answers.append((reply, value))

    def _drain(self) -> None:
        with suppress(TimeoutError):  # nothing has come, or the prefetch is reached
            while True:
                self._connection.drain_events(timeout=0)

    def _arrive(self, message: Any) -> None:
        body = message.body
        text = body.decode("ascii", "replace") if isinstance(body, bytes) else str(body)
        if _ID.fullmatch(text):
            claimed = hint.claimed(text, message.headers)
            self._take_in(text, claimed, message.delivery_tag)
            return
        LOG.warning("queue %s: a message is no request's id, dropped: %.64r", self._name, text)
        self._reject(message.delivery_tag, requeue=False)

    def _take_in(self, request_id: str, claimed: Record | None, tag: Any) -> None:
        self._arrived.append((request_id, claimed, tag))
