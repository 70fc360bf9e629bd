"""Group commit: what gathers while one commit is under way goes into the next one.

No timer: a single caller waits for nobody, many callers share one fsync. All of SQLite happens in
one thread of its own, so that neither an fsync nor a wait for a lock ever holds the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from dedupd.ports import StoreUnavailable

T = TypeVar("T")


class Job(Generic[T]):
    """One operation: ``look`` reads; where it gives None, ``write`` does the rest.

    ``write`` is given a version that no other write of this database has, and is executed in a
    transaction. ``done`` is called in the event loop with the result, also where the caller has
    gone away meanwhile.
    """

    __slots__ = ("done", "error", "future", "look", "result", "write")

    def __init__(
        self,
        future: asyncio.Future[T],
        look: Callable[[sqlite3.Cursor], T | None] | None = None,
        write: Callable[[sqlite3.Cursor, int], T] | None = None,
        done: Callable[[T], None] | None = None,
    ) -> None:
        self.future = future
        self.look = look
        self.write = write
        self.done = done
        self.result: T | None = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        """Give the caller what came out; in the event loop."""
        if self.error is None and self.done is not None:
            self.done(self.result)  # type: ignore[arg-type] # set whenever error is None
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type] # likewise


class Group:
    """The thread, and the operations that wait for it."""

    def __init__(
        self, connection: Callable[[], sqlite3.Connection], subject: str, claim_versions: str
    ) -> None:
        """Take ``connection`` (opens the database, in the thread) and two texts.

        ``subject`` names the database in errors; ``claim_versions`` is the statement that takes
        a number of versions.
        """
        self._connect = connection
        self._subject = subject
        self._claim_versions = claim_versions
        self._gathered: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Open the database and take operations.

        Raises:
            Exception: whatever opening it raised; nothing runs then.
        """
        loop = asyncio.get_running_loop()
        opened = loop.create_future()
        self._gathered = SimpleQueue()
        self._thread = threading.Thread(
            target=self._serve, args=(loop, opened), name="dedupd-sqlite", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Carry out what has gathered, close the database, end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._gathered.put(None)
            await asyncio.to_thread(thread.join)

    async def run(
        self,
        look: Callable[[sqlite3.Cursor], T | None] | None = None,
        write: Callable[[sqlite3.Cursor, int], T] | None = None,
        done: Callable[[T], None] | None = None,
    ) -> T:
        """Carry an operation out; whoever stops waiting does not stop it.

        Raises:
            StoreUnavailable: closed; or the database is away, full or locked.
        """
        if self._thread is None:
            raise StoreUnavailable(f"{self._subject} is not open.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._gathered.put(Job(future, look, write, done))
        return await future

    def _serve(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        """The thread: open, carry out batch after batch, close."""
        try:
            connection = self._connect()
        except Exception as error:  # noqa: BLE001 # the caller of start() gets it
            _call(loop, _settle, opened, error)
            return
        with contextlib.closing(connection):
            _call(loop, _settle, opened, None)
            self._work(loop, connection.cursor())

    def _work(self, loop: asyncio.AbstractEventLoop, cursor: sqlite3.Cursor) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            for job in batch:
                self._look(cursor, job)
            writes = [job for job in batch if job.result is None and job.error is None]
            if writes:
                self._commit(cursor, writes)
            _call(loop, _deliver, batch)

    def _next_batch(self) -> tuple[list[Job[Any]], bool]:
        """Everything that has gathered (waits for the first); and whether to go on after it."""
        batch: list[Job[Any]] = []
        job = self._gathered.get()
        with contextlib.suppress(Empty):
            while job is not None:
                if not job.future.cancelled():
                    batch.append(job)
                job = self._gathered.get_nowait()
            return batch, False
        return batch, True

    def _look(self, cursor: sqlite3.Cursor, job: Job[Any]) -> None:
        if job.look is None:
            return
        try:
            job.result = job.look(cursor)
        except sqlite3.Error as error:
            job.error = self._unavailable(error)
        except Exception as error:  # noqa: BLE001 # the caller gets it
            job.error = error

    def _commit(self, cursor: sqlite3.Cursor, jobs: list[Job[Any]]) -> None:
        """Execute and commit; a failure of the database fails all of them, with nothing done."""
        try:
            cursor.execute("BEGIN IMMEDIATE")
            [(last,)] = cursor.execute(self._claim_versions, (len(jobs),)).fetchall()
            for version, job in enumerate(jobs, start=last - len(jobs) + 1):
                _write(cursor, job, version)
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            if cursor.connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
            for job in jobs:
                job.error = self._unavailable(error)

    def _unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        return StoreUnavailable(f"{self._subject} did not carry it out: {error}.")


def _write(cursor: sqlite3.Cursor, job: Job[Any], version: int) -> None:
    """One operation of the batch; an error of its own concerns no other one."""
    if job.write is None:
        return
    try:
        job.result = job.write(cursor, version)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 # the caller gets it
        job.error = error


def _deliver(batch: list[Job[Any]]) -> None:
    for job in batch:
        job.deliver()


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    """Call in the event loop, if it still runs."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *args)
