"""Reads that may take long, in a thread and on a connection of their own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dedupd.errors import Engine
from dedupd.ports import StoreUnavailable

T = TypeVar("T")


class Scans:
    """One read after another; none of them delays a write or the event loop.

    ``connection`` is used by nobody else. A read that takes longer than ``patience`` seconds is
    interrupted. ``engine`` names the database in errors.
    """

    def __init__(
        self, connection: sqlite3.Connection, engine: Engine, *, patience: float = 10.0
    ) -> None:
        self._connection = connection
        self._engine = engine
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, "dedupd-scan")

    async def run(self, read: Callable[[sqlite3.Cursor], T]) -> T:
        """Call ``read`` in the thread.

        Raises:
            StoreUnavailable: the database is out of order, or it took too long.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience):
                return await loop.run_in_executor(self._thread, read, self._connection.cursor())
        except TimeoutError:
            self._connection.interrupt()
            said = f": nothing found within {self._patience:g} s"
            raise StoreUnavailable.of(self._engine, said) from None
        except sqlite3.Error as error:
            raise StoreUnavailable.of(self._engine, f": {error}") from error

    async def close(self) -> None:
        """Interrupt what is under way; the connection is in nobody's use then."""
        ended = asyncio.create_task(asyncio.to_thread(self._thread.shutdown))
        while not ended.done():
            self._connection.interrupt()  # heeded only by a statement that has begun
            await asyncio.wait([ended], timeout=0.05)
