"""Between the event loop, which must not wait, and a broker, which may block.

The loop gives commands; all that have gathered are carried out at once, and what comes of them,
with the messages that have arrived, comes back to the loop in one piece.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from dedupd.ports import QueueUnavailable
from dedupd.queue.broker import Answers, Arrived, Broker, Command, Operation, Reply
from dedupd.queue.delivery import Message

LOG = logging.getLogger(__name__)

BATCH = 256
"""How many commands a thread carries out before the loop hears what came of them."""

CLOSED = "it was closed"


class Link(ABC):
    """One broker connection, until ``stop``, ``abandon`` or an error.

    Connecting is the first thing that it does: the first reply tells whether that succeeded. For
    one event loop; ``on_arrival`` is called there with the messages that have come in, and must
    not raise.
    """

    def __init__(
        self, connect: Callable[[], Broker], on_arrival: Callable[[list[Message]], None]
    ) -> None:
        self._connect = connect
        self._on_arrival = on_arrival
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Reply] = set()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._reason = ""

    @abstractmethod
    def _give(self, command: Command) -> None:
        """Have a command carried out, after those that were given before."""

    def submit(self, operation: Operation, argument: Any) -> Reply:
        """Command an operation; its reply fails with QueueUnavailable when the link ends.

        Raises:
            QueueUnavailable: it has ended.
        """
        if self._ended.done():
            raise self._unavailable()
        reply: Reply = self._loop.create_future()
        self._waiting.add(reply)
        self._give((operation, argument, reply))
        return reply

    def tell(self, operation: Operation, argument: Any) -> None:
        """Command an operation without a reply; once the link has ended, nothing happens."""
        if not self._ended.done():
            self._give((operation, argument, None))

    def settle(self, tag: Any, hand_back: bool) -> None:
        """End a message that came by this link."""
        self.tell(Broker.hand_back if hand_back else Broker.acknowledge, tag)

    async def stop(self) -> None:
        """Returns when all that was commanded before is done, and the connection closed."""
        self.tell(Broker.stop, None)
        await asyncio.shield(self._ended)

    def abandon(self, reason: str) -> None:
        """End it here and now, whatever the broker is at; it is closed when it comes to it."""
        self.tell(Broker.stop, None)
        self._end(reason)

    def _receive(self, answers: Answers, arrived: Arrived) -> None:
        if self._ended.done():
            return
        for reply, value in answers:
            self._waiting.discard(reply)
            if not reply.done():
                reply.set_result(value)
        if arrived:
            self._on_arrival([Message(id_, self.settle, tag) for id_, tag in arrived])

    def _end(self, reason: str) -> None:
        if self._ended.done():
            return
        self._reason = reason
        self._ended.set_result(None)
        for reply in self._waiting:
            if not reply.done():
                reply.set_exception(self._unavailable())
        self._waiting.clear()

    def _unavailable(self) -> QueueUnavailable:
        return QueueUnavailable(f"The queue's connection has ended: {self._reason}.")


class InlineLink(Link):
    """In the event loop itself, once per round: for a broker that never blocks.

    That is kombu's memory transport, 13 us a message. A thread would wait for the interpreter's
    lock longer than that: a uvloop thread that is never idle gives it up only for an instant.
    """

    def __init__(
        self, connect: Callable[[], Broker], on_arrival: Callable[[list[Message]], None]
    ) -> None:
        super().__init__(connect, on_arrival)
        self._commands: list[Command] = []
        self._broker: Broker | None = None

    def _give(self, command: Command) -> None:
        self._commands.append(command)
        if len(self._commands) == 1:
            self._loop.call_soon(self._round)

    def _round(self) -> None:
        commands, self._commands = self._commands, []
        if self._ended.done():
            return
        try:
            if self._broker is None:
                self._broker = self._connect()
            self._receive(*self._broker.perform(commands))
        except Exception as error:
            LOG.exception("the queue has failed")
            self._end(_describe(error))
        else:
            if not self._broker.running:
                self._end(CLOSED)

    def _end(self, reason: str) -> None:
        super()._end(reason)
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.close()


class ThreadLink(Link):
    """In a daemon thread of its own: for a broker that blocks."""

    def __init__(
        self, connect: Callable[[], Broker], on_arrival: Callable[[list[Message]], None]
    ) -> None:
        super().__init__(connect, on_arrival)
        self._commands: SimpleQueue[Command] = SimpleQueue()
        threading.Thread(target=self._run, name="dedupd-queue", daemon=True).start()

    def _give(self, command: Command) -> None:
        self._commands.put(command)

    def _run(self) -> None:
        reason = CLOSED
        try:
            self._serve()
        except Exception as error:
            LOG.exception("the queue's thread has failed")
            reason = _describe(error)
        finally:
            with suppress(RuntimeError):  # the loop has gone, and all who waited with it
                self._call(self._end, reason)

    def _serve(self) -> None:
        broker = self._connect()
        try:
            while broker.running:
                answers, arrived = broker.perform(self._take())
                if answers or arrived:
                    self._call(self._receive, answers, arrived)
        finally:
            broker.close()

    def _take(self) -> list[Command]:
        """Wait for a command, and take those too that have gathered behind it."""
        commands = [self._commands.get()]
        with suppress(Empty):
            while len(commands) < BATCH:
                commands.append(self._commands.get_nowait())
        return commands

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *arguments)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
