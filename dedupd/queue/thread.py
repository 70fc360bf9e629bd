"""The broker thread: kombu blocks, so it lives here, and the event loop never waits for it.

The loop hands over commands, and the thread takes all that have gathered at once; what comes of
them, and what has arrived, goes back in one ``call_soon_threadsafe``.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from dedupd.ports import QueueUnavailable
from dedupd.queue.broker import Broker, Reply

LOG = logging.getLogger(__name__)

BATCH = 256
"""The most commands before the loop hears of their results."""

Operation = Callable[[Broker, Any, Any], None]
Arrived = list[tuple[str, Any]]


class BrokerThread:
    """One broker connection in a daemon thread of its own, from ``start`` to ``stop``.

    All methods are for the event loop in which it was made. ``on_arrival`` is called there with
    the ids and tags of the messages that have come in.
    """

    def __init__(
        self, connect: Callable[[], Broker], on_arrival: Callable[[Arrived], None]
    ) -> None:
        self._connect = connect
        self._on_arrival = on_arrival
        self._loop = asyncio.get_running_loop()
        self._commands: SimpleQueue[tuple[Operation, Reply | None, Any]] = SimpleQueue()
        self._waiting: set[Reply] = set()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._failure: str = "it was closed"
        self._thread = threading.Thread(target=self._run, name="dedupd-queue", daemon=True)

    async def start(self) -> None:
        """Connect; returns when the broker can be used.

        Raises:
            QueueUnavailable: no connection.
        """
        connected = self.submit(_answer, None)
        self._thread.start()
        await connected

    def submit(self, operation: Operation, argument: Any) -> Reply:
        """Have an operation done; its reply fails with QueueUnavailable if the thread ends."""
        if self._ended.done():
            raise self._unavailable()
        reply: Reply = self._loop.create_future()
        self._waiting.add(reply)
        self._commands.put((operation, reply, argument))
        return reply

    def tell(self, operation: Operation, argument: Any) -> None:
        """Have an operation done that has no reply; nothing happens if the thread has ended."""
        self._commands.put((operation, None, argument))

    async def stop(self) -> None:
        """End the thread after what was asked before; returns when it has ended."""
        if not self._ended.done():
            self.tell(Broker.stop, None)
            await asyncio.shield(self._ended)
        self._thread.join()

    def _run(self) -> None:
        failure = self._failure
        try:
            self._serve()
        except Exception as error:
            LOG.exception("the broker thread ended")
            failure = f"{type(error).__name__}: {error}"
        finally:
            self._call(self._end, failure)

    def _serve(self) -> None:
        broker = self._connect()
        try:
            while broker.running:
                for operation, reply, argument in self._take():
                    operation(broker, reply, argument)
                broker.drain()
                replies, broker.replies = broker.replies, []
                arrived, broker.arrived = broker.arrived, []
                if replies or arrived:
                    self._call(self._receive, replies, arrived)
        finally:
            broker.close()

    def _take(self) -> list[tuple[Operation, Reply | None, Any]]:
        """Wait for a command, and take what else has gathered."""
        commands = [self._commands.get()]
        with suppress(Empty):
            while len(commands) < BATCH:
                commands.append(self._commands.get_nowait())
        return commands

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *arguments)

    def _receive(self, replies: list[tuple[Reply, Any]], arrived: Arrived) -> None:
        for reply, value in replies:
            self._waiting.discard(reply)
            if not reply.done():
                reply.set_result(value)
        if arrived:
            self._on_arrival(arrived)

    def _end(self, failure: str) -> None:
        self._failure = failure
        for reply in self._waiting:
            if not reply.done():
                reply.set_exception(self._unavailable())
        self._waiting.clear()
        self._ended.set_result(None)

    def _unavailable(self) -> QueueUnavailable:
        return QueueUnavailable(f"The queue's connection has ended ({self._failure}).")


def _answer(broker: Broker, reply: Reply, argument: Any) -> None:
    broker.replies.append((reply, argument))
