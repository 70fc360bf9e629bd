"""Noticing that a caller has gone away, at next to no cost for those who stay.

ASGI tells of a closed connection only to whoever waits in ``receive()``. To wait there beside the
work takes a task, and a task for each request is what a fast answer cannot afford. So nothing is
started at first but a timer; only an exchange that outlives it gets a watcher.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive

BODY_BYTES_PER_SECOND = 1024
"""How fast a body must come, once the first patience with its sender has ended."""


class ClientGone(Exception):
    """The caller closed its connection: nobody is left to answer."""


class Disconnect:
    """Ends the block it guards with ClientGone when the caller goes away.

        with Disconnect(receive) as client:
            answer = await asyncio.wait_for(waiter, hold_seconds)

    The block is cancelled at whatever it awaits, as by ``asyncio.timeout()``, and the cancellation
    leaves the block as ClientGone. A cancellation from elsewhere stays one. Plain ``with``: nothing
    is awaited on entry or exit, and a block that ends within ``after`` seconds costs one timer.

    Within the block nobody else may call the ASGI ``receive``: a body that is yet to be read comes
    through ``client.receive()``. While such a body is being read, its reader sees the disconnect;
    the watcher takes over after the body's last part.

    The same timer serves two deadlines, each of which ends the block with TimeoutError. While the
    body is waited for, ``body_seconds``: that long altogether, not counting what its reader did
    meanwhile, and a second longer for each BODY_BYTES_PER_SECOND of it that came. At other times
    ``idle_seconds``: ``client.moved()`` has not been called for that long.

    Args:
        receive: the request's ASGI receive.
        body_pending: the request's body is yet to be read, through ``client.receive()``.
        idle_seconds: how long nothing may move; None for ever. Noticed up to ``after`` late.
        body_seconds: how long the caller may take to send its body; None for ever. Noticed as late.
        after: seconds that pass before the watcher starts, and so by which a disconnect may be
            noticed late.
    """

    __slots__ = (
        "_after",
        "_asked_at",
        "_cancelling",
        "_idle_seconds",
        "_last_moved",
        "_loop",
        "_patience",
        "_reason",
        "_receive",
        "_task",
        "_timer",
        "_watcher",
        "body_pending",
        "receiving",
    )

    def __init__(
        self,
        receive: Receive,
        *,
        body_pending: bool = False,
        idle_seconds: float | None = None,
        body_seconds: float | None = None,
        after: float = 1.0,
    ) -> None:
        self._receive = receive
        self._idle_seconds = math.inf if idle_seconds is None else idle_seconds
        self._patience = math.inf if body_seconds is None else body_seconds
        self._after = min(after, self._idle_seconds, self._patience)
        self._asked_at = 0.0
        self.body_pending = body_pending
        """Whether there is more of the caller's body to receive."""
        self.receiving = False
        """Whether ``receive()`` waits for the caller to send more of its body."""
        self._reason: type[Exception] | None = None  # why the block was cancelled from here
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("Disconnect guards a block of a task: enter it inside one")
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._last_moved = self._loop.time()
        self._timer = self._loop.call_later(self._after, self._tick)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._reason is None or self._task.uncancel() > self._cancelling:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._reason from error

    def moved(self) -> None:
        """Something has gone on: the standstill that ``idle_seconds`` limits begins anew."""
        self._last_moved = self._loop.time()

    async def receive(self) -> Message:
        """The next part of the body, as ASGI's receive gives it; its arrival counts as moved.

        Any task may read the body, one at a time.

        Raises:
            ClientGone: the caller is gone. The guarded block ends too, also when it is another
                task that reads the body.
        """
        self.receiving = True
        self._asked_at = self._loop.time()
        message = await self._receive()
        self.receiving = False
        if message["type"] == "http.disconnect":
            self._end(ClientGone)
            raise ClientGone
        self.moved()
        self._patience -= self._last_moved - self._asked_at
        self._patience += len(message.get("body", b"")) / BODY_BYTES_PER_SECOND
        self.body_pending = message.get("more_body", False)
        return message

    def _tick(self) -> None:
        if self._overdue():
            self._end(TimeoutError)
            return
        if not self.body_pending and self._watcher is None:
            self._watcher = self._loop.create_task(self._watch())
        if self.body_pending or self._idle_seconds < math.inf:
            self._timer = self._loop.call_later(self._after, self._tick)

    def _overdue(self) -> bool:
        now = self._loop.time()
        if self.receiving:
            return now - self._asked_at >= self._patience
        return now - self._last_moved >= self._idle_seconds

    async def _watch(self) -> None:
        # Parts of a body that nobody asked for (its reader gave up early) may still come first.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(ClientGone)

    def _end(self, reason: type[Exception]) -> None:
        if self._reason is None and self._task is not asyncio.current_task():
            self._reason = reason
            self._task.cancel()
