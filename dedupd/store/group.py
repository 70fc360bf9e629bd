"""Group commit: what gathers while one commit is under way goes into the next one.

No timer: a single caller waits for nobody, many callers share one fsync.

The statements run in the event loop, the commit in a thread. Statements touch pages in memory and
take microseconds; in a thread each of them would give Python's global lock away and queue for it
behind the event loop. What can take long, an fsync and the wait for another process's lock, never
holds the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from oslo_log import log

from dedupd.errors import Engine
from dedupd.ports import StoreUnavailable

LOG = log.getLogger(__name__)
T = TypeVar("T")
Operation = Callable[[sqlite3.Cursor, int], T]
"""Changes one thing with one statement; is given a version that no other write has or had."""

BATCH = 100
"""The most operations in one transaction: some 1 ms of statements in the event loop."""

HANGS = "its disk does not answer"
MOVED = "its file was moved or deleted while it was in use; put it back, or restart dedupd"

TAKE_VERSIONS = "UPDATE meta SET value = value + ? WHERE name = 'version' RETURNING value"


class Full(StoreUnavailable):
    """The disk has no room: the transaction was rolled back, and nothing of it stands."""

    in_doubt = False


class Write(Generic[T]):
    """One operation, who waits for it, and what is to be done when it has been committed."""

    __slots__ = ("caller", "committed", "error", "operation", "result")

    def __init__(
        self,
        operation: Operation[T],
        committed: Callable[[T], None] | None,
        caller: asyncio.Future[T],
    ) -> None:
        self.operation = operation
        self.committed = committed
        self.caller = caller
        self.error: Exception | None = None
        self.result: T

    def execute(self, cursor: sqlite3.Cursor, version: int) -> None:
        """Run the statement; an error of this operation alone is kept for its caller.

        Raises:
            sqlite3.Error: of the database, so of all in the transaction.
        """
        try:
            self.result = self.operation(cursor, version)
        except sqlite3.DataError as error:  # a value larger than SQLite takes
            self.error = StoreUnavailable(f"The record cannot be stored: {error}.")
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 # raised again where the caller awaits it
            self.error = error

    def succeed(self) -> None:
        """The transaction is durable; the caller may have gone away, what follows is done."""
        if self.error is not None:
            self.fail(self.error)
            return
        if self.committed is not None:
            self.committed(self.result)
        if not self.caller.done():
            self.caller.set_result(self.result)

    def fail(self, error: Exception) -> None:
        """Nothing was done, or nobody can tell."""
        if not self.caller.done():
            self.caller.set_exception(error)


class GroupCommit:
    """The one writer of a database in this process.

    ``connection`` (in autocommit mode) is used by nobody else. ``in_place`` tells whether what is
    committed would be found again after a restart. ``engine`` names the database in errors.
    ``busy_seconds``: how long to wait for another process's lock. ``patience``: after so many
    seconds of one commit, those who wait get ``StoreUnavailable``, and so does everybody who
    comes, until it has ended.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        in_place: Callable[[], bool],
        engine: Engine,
        *,
        busy_seconds: float = 2.0,
        patience: float = 10.0,
    ) -> None:
        self._connection = connection
        self._cursor = connection.execute("PRAGMA busy_timeout = 0")
        self._in_place = in_place
        self._engine = engine
        self._busy_seconds = busy_seconds
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "dedupd-commit")
        self._gathered: deque[Write[Any]] = deque()
        self._under_way: list[Write[Any]] = []
        self._news = asyncio.Event()
        self._closed = False
        self._stuck = False
        self._task = asyncio.create_task(self._serve())

    async def write(
        self, operation: Operation[T], committed: Callable[[T], None] | None = None
    ) -> T:
        """Carry an operation out, durably. It runs to its end also where the caller goes away.

        ``committed`` is called with the result right after the commit.

        Raises:
            StoreUnavailable: closed, or the database is locked, full or out of order.
        """
        if self._closed:
            raise self._unavailable("closed")
        if self._stuck:
            raise self._unavailable(HANGS)
        caller: asyncio.Future[T] = self._loop.create_future()
        self._gathered.append(Write(operation, committed, caller))
        self._news.set()
        return await caller

    async def close(self) -> None:
        """Commit what has gathered; the connection is in nobody's use then."""
        self._closed = True
        self._news.set()
        await asyncio.wait([self._task])
        await asyncio.to_thread(self._thread.shutdown)

    async def _serve(self) -> None:
        try:
            while not self._closed or self._gathered:
                await self._news.wait()
                self._news.clear()
                while self._gathered:
                    self._under_way = self._next_batch()
                    if self._under_way:
                        await self._commit(self._under_way)
        finally:
            self._closed = True
            self._fail_all("closed")

    def _next_batch(self) -> list[Write[Any]]:
        """The next operations, without those that nobody waits for any more."""
        count = min(BATCH, len(self._gathered))
        batch = [self._gathered.popleft() for _ in range(count)]
        return [write for write in batch if not write.caller.done()]

    async def _commit(self, batch: Sequence[Write[Any]]) -> None:
        """Carry a batch out in one transaction: all of it is durable then, or nothing."""
        watch = self._loop.call_later(self._patience, self._give_up)
        try:
            await self._begin()
            self._execute(batch)
            await self._in_thread(self._make_durable)
        except sqlite3.Error as error:
            await self._in_thread(self._roll_back)
            failure = self._failure(error)
            for write in batch:
                write.fail(failure)
        else:
            for write in batch:
                write.succeed()
        finally:
            watch.cancel()
            self._stuck = False

    async def _begin(self) -> None:
        """Begin at once where no other process writes, else wait for it in the thread."""
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            await self._in_thread(self._wait_and_begin)

    def _wait_and_begin(self) -> None:
        self._cursor.execute(f"PRAGMA busy_timeout = {self._busy_seconds * 1000:.0f}")
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        finally:
            self._cursor.execute("PRAGMA busy_timeout = 0")

    def _execute(self, batch: Sequence[Write[Any]]) -> None:
        [(last,)] = self._cursor.execute(TAKE_VERSIONS, (len(batch),)).fetchall()
        for version, write in enumerate(batch, start=last - len(batch) + 1):
            write.execute(self._cursor, version)

    def _make_durable(self) -> None:
        if not self._in_place():
            raise sqlite3.OperationalError(MOVED)
        self._connection.commit()

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()

    def _give_up(self) -> None:
        """The commit hangs: nobody waits for it, or behind it, any longer."""
        self._stuck = True
        self._fail_all(HANGS)

    def _fail_all(self, why: str) -> None:
        for write in (*self._under_way, *self._gathered):
            write.fail(self._unavailable(why))
        self._gathered.clear()

    def _failure(self, error: sqlite3.Error) -> StoreUnavailable:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code & 0xFF != sqlite3.SQLITE_FULL:
            return self._unavailable(str(error))
        LOG.error("%s: %s: free some space there", self._engine, error)
        return Full(
            "dedupd's disk is full, so that nothing was stored. Repeat with the same token when "
            "its operator has made room."
        )

    def _unavailable(self, why: str) -> StoreUnavailable:
        return StoreUnavailable.of(self._engine, f": {why}")

    def _in_thread(self, function: Callable[[], None]) -> asyncio.Future[None]:
        return self._loop.run_in_executor(self._thread, function)
