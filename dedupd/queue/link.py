"""Between the event loop, which must not wait, and a broker, which may block.

The loop gives commands; all that have gathered are carried out at once, and what comes of them,
with the messages that have arrived, comes back to the loop in one piece.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

from dedupd.errors import ConfigError, DedupdError
from dedupd.ports import QueueUnavailable
from dedupd.queue.bell import Bell
from dedupd.queue.broker import Answers, Arrived, Broker, Command, Operation, Reply
from dedupd.queue.delivery import Message
from dedupd.queue.policies import ACKNOWLEDGE_SECONDS

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
        self.reason = ""
        """Why it has ended, for operators."""
        self.failure: DedupdError | None = None
        """What ended it, where the broker, or the way to it, did."""

    @property
    def refusal(self) -> ConfigError | None:
        """What ended it, if nothing else can come of another attempt."""
        return self.failure if isinstance(self.failure, ConfigError) else None

    @abstractmethod
    def _give(self, command: Command) -> None:
        """Have a command carried out, after those that were given before."""

    def _defer(self, command: Command) -> None:
        """The same, but it may take a little while, so that others can join it."""
        self._give(command)

    async def until_ended(self) -> None:
        """Returns when it has ended; ``reason`` says why."""
        await asyncio.shield(self._ended)

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
        if hand_back:
            self.tell(Broker.hand_back, tag)
        elif not self._ended.done():
            self._defer((Broker.acknowledge, tag, None))

    async def stop(self) -> None:
        """Returns when all that was commanded before is done, and the connection closed."""
        self.tell(Broker.stop, None)
        await self.until_ended()

    def abandon(self, reason: str) -> None:
        """End it here and now, whatever the broker is at; it is closed when it comes to it."""
        self.tell(Broker.stop, None)
        self._end(reason)

    def _receive(self, answers: Answers, arrived: Arrived) -> None:
        if self._ended.done():
            return
        for reply, value in answers:
            self._waiting.discard(reply)
            if reply.done():
                continue
            if isinstance(value, Exception):
                reply.set_exception(value)
            else:
                reply.set_result(value)
        if arrived:
            self._on_arrival(
                [Message(id_, self.settle, tag, claimed) for id_, claimed, tag in arrived]
            )

    def _end(self, reason: str) -> None:
        if self._ended.done():
            return
        self.reason = reason
        self._ended.set_result(None)
        for reply in self._waiting:
            if not reply.done():
                reply.set_exception(self._unavailable())
        self._waiting.clear()

    def _unavailable(self) -> QueueUnavailable:
        told = said = "The queue's connection has ended"
        if isinstance(self.failure, QueueUnavailable):  # any other is for operators alone
            told = f"{said}: {self.failure.message.rstrip('.')}"
        return QueueUnavailable(f"{told}.", operators=f"{said}: {self.reason}.")


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
    """In a daemon thread of its own: for a broker that blocks.

    It is woken once for all commands that one round of the loop gives.
    """

    def __init__(
        self, connect: Callable[[], Broker], on_arrival: Callable[[list[Message]], None]
    ) -> None:
        super().__init__(connect, on_arrival)
        self._gathered: list[Command] = []
        self._commands: deque[Command] = deque()
        self._bell = Bell()
        self._wake: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        threading.Thread(target=self._run, name="dedupd-queue", daemon=True).start()

    def _give(self, command: Command) -> None:
        self._gathered.append(command)
        if self._wake is None:
            self._wake = self._loop.call_soon(self._hand_over)

    def _defer(self, command: Command) -> None:
        self._gathered.append(command)
        if self._wake is None and self._later is None:
            self._later = self._loop.call_later(ACKNOWLEDGE_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._wake = self._later = None
        gathered, self._gathered = self._gathered, []
        self._commands.extend(command for command in gathered if not _is_given_up(command))
        self._bell.ring()

    def _run(self) -> None:
        reason, failure = CLOSED, None
        try:
            self._serve()
        except DedupdError as error:
            reason, failure = str(error).rstrip("."), error
        except Exception as error:
            LOG.exception("the queue's thread has failed")
            reason = _describe(error)
        try:
            self._call(self._finish, reason, failure)
        except RuntimeError:  # the loop has gone, and all who waited with it
            self._bell.close()

    def _serve(self) -> None:
        broker = self._connect()
        try:
            if broker.descriptor is not None:
                self._bell.watch(broker.descriptor)
            while broker.running:
                answers, arrived = broker.perform(self._take(broker.patience))
                if answers or arrived:
                    self._call(self._receive, answers, arrived)
        except BaseException:
            broker.drop()
            raise
        broker.close()

    def _take(self, patience: float | None) -> list[Command]:
        """What has gathered; where nothing has, it is waited for."""
        commands = self._commands
        if not commands:  # the bell does not ring again for those that were left
            self._bell.wait(patience)
        return [commands.popleft() for _ in range(min(len(commands), BATCH))]

    def _finish(self, reason: str, failure: DedupdError | None) -> None:
        self.failure = failure
        self._bell.close()
        self._end(reason)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *arguments)


def _is_given_up(command: Command) -> bool:
    _, _, reply = command
    return reply is not None and reply.cancelled()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
