"""Telling those who wait that a request is no longer awaited, or that a worker has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dedupd.ports import Stored
from dedupd.request import Record, State

Listener = Callable[[Stored], None]


class Completions:
    """The listeners of one store in one process (see ``Store.on_completion``)."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call this one too from now on."""
        self._listeners.append(listener)

    def swapped(self, before: Record, written: Record, result: bytes | None) -> None:
        """A record was written: publish it, with the result it brought, if it ends a wait.

        Listeners are called in the loop's next round, so that none disturbs the store or another
        one by what it does or raises.
        """
        if not before.state.awaited or written.state.awaited:
            return
        event = Stored(written, result=None if written.state is State.TOMBSTONE else result)
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.call_soon(listener, event)


class Departures:
    """Who wants to hear of workers that have gone (see ``Store.on_departure``)."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call this one too from now on."""
        self._listeners.append(listener)

    def departed(self, worker_id: str) -> None:
        """A worker's lease has ended; listeners hear of it in the loop's next round."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.call_soon(listener, worker_id)
