"""The broker as kombu shows it: blocking, and used by one thread only.

kombu's channels are used directly, without its Consumer and Producer: they cost more than the
channel itself, and all that is sent is an id as plain text.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from kombu.connection import Connection
from kombu.transport import memory, virtual

LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
"""How long one attempt to connect may take."""

Reply = asyncio.Future[Any]
"""What a caller in the event loop waits for; only ever touched there."""

_ID = re.compile(r"[0-9a-f]{32}")
_CONSUMER = "dedupd"
_connect: Callable[..., Any] = Connection  # kombu has no types
_state: Callable[[], Any] = virtual.BrokerState


def private_memory() -> type:
    """A kombu memory transport whose messages nobody else in this process sees.

    kombu's own keeps them in class attributes, by queue name alone (the URL does not count), and
    forgets what a channel had not acknowledged when it closes.
    """

    class PrivateChannel(memory.Channel):
        queues: ClassVar[dict[str, Any]] = {}
        do_restore = True
        body_encoding = None

    class PrivateTransport(memory.Transport):
        Channel = PrivateChannel
        global_state = _state()

    return PrivateTransport


class Broker:
    """One connection with one channel; made, used and closed in one thread.

    What an operation has to say to the event loop gathers in ``replies`` and ``arrived``, until
    the thread takes it over there. Any error that an operation raises ends the connection.
    """

    def __init__(self, url: str, name: str, transport: type | None) -> None:
        self.running = True
        self.replies: list[tuple[Reply, Any]] = []
        self.arrived: list[tuple[str, Any]] = []
        self._name = name
        self._consuming = False
        self._connection = _connect(url, transport=transport, connect_timeout=CONNECT_SECONDS)
        self._channel: Any = self._connection.channel()
        self._channel.queue_declare(queue=name, durable=True, auto_delete=False)

    def publish(self, reply: Reply, request_id: str) -> None:
        """Put an id on the queue; the reply is its confirmation."""
        message = self._channel.prepare_message(
            request_id, content_type="text/plain", content_encoding="utf-8"
        )
        self._channel.basic_publish(message, exchange="", routing_key=self._name)
        self.replies.append((reply, None))

    def consume(self, reply: Reply, prefetch: int) -> None:
        """Let messages come in, at most ``prefetch`` of them unacknowledged."""
        self._channel.basic_qos(0, prefetch, False)
        self._channel.basic_consume(
            queue=self._name, no_ack=False, callback=self._arrive, consumer_tag=_CONSUMER
        )
        self._consuming = True
        self.replies.append((reply, None))

    def cancel(self, reply: Reply, _argument: None) -> None:
        """Let no more messages come in; those that are here stay here."""
        self._channel.basic_cancel(_CONSUMER)
        self._consuming = False
        self.replies.append((reply, None))

    def depth(self, reply: Reply, _argument: None) -> None:
        """Count the messages that wait."""
        declared = self._channel.queue_declare(queue=self._name, passive=True)
        self.replies.append((reply, declared.message_count))

    def acknowledge(self, _reply: None, tag: Any) -> None:
        """Take a message off the queue."""
        self._channel.basic_ack(tag)

    def hand_back(self, _reply: None, tag: Any) -> None:
        """Give a message back to the queue."""
        self._channel.basic_reject(tag, requeue=True)

    def stop(self, _reply: None, _argument: None) -> None:
        """End the thread, once all that was asked before is done."""
        self.running = False

    def drain(self) -> None:
        """Take in what has come, as far as the prefetch allows, without waiting for more."""
        if self._consuming:
            with suppress(TimeoutError):
                while True:
                    self._connection.drain_events(timeout=0)

    def close(self) -> None:
        """Disconnect; what is unacknowledged goes back to the queue."""
        self._connection.close()

    def _arrive(self, message: Any) -> None:
        body = message.body
        text = body.decode("ascii", "replace") if isinstance(body, bytes) else str(body)
        if _ID.fullmatch(text):
            self.arrived.append((text, message.delivery_tag))
            return
        LOG.warning("queue %s: dropped a message that is no request's id: %.64r", self._name, text)
        self._channel.basic_reject(message.delivery_tag, requeue=False)
