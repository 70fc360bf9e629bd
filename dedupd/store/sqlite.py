"""The Store on SQLite: durable on one machine, with nothing to install.

WAL and ``synchronous=FULL``: what was acknowledged has been written through to the disk. Three
connections: writes (``group.py``), look-ups of single records in the event loop, and scans in a
thread (``scan.py``); SQLite lets them read while one writes. A look-up takes some 10 us; by way of
a thread it would take 30 to 60, and milliseconds beside a busy event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Cursor

from dedupd.errors import DedupdError
from dedupd.ports import Depth, Query, Stored, StoreUnavailable, Worker
from dedupd.request import Record
from dedupd.store import database, statements
from dedupd.store.completion import Completions, Departures
from dedupd.store.group import GroupCommit
from dedupd.store.origin import Origin
from dedupd.store.scan import Scans

MOST_LOOKS = 100
"""The most records that are looked up in the event loop at once: some 1 ms."""


@dataclass(frozen=True)
class _Opened:
    files: database.Files
    looks: Cursor
    writes: GroupCommit
    scans: Scans


class SqliteStore:
    """Records in one SQLite file; see ``dedupd.ports.Store`` for what each method promises.

    One process at a time serves a database, which a lock on ``<path>.lock`` makes sure of; being
    that one proves that the workers of earlier processes are dead, so ``open`` ends their leases.
    A tool that only looks, or changes a few records beside the server, takes ``exclusive=False``;
    it creates no database. What such a tool changes is not published in the server
    (``on_completion``): waiters see it when they read again.

    A database keeps the ``origin`` that it was made for.
    ``clock`` gives seconds since the epoch; the leases of workers are measured with it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        origin: Origin,
        clock: Callable[[], float] = time.time,
        exclusive: bool = True,
    ) -> None:
        self._path = Path(path)
        self._engine = database.engine(path)
        self._origin = origin
        self._clock = clock
        self._exclusive = exclusive
        self._leader = ""
        self._completions = Completions()
        self._departures = Departures()
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """See ``Store.open``.

        Raises:
            ConfigError: also where another process serves the database; it names its process id.
            StoreUnavailable: the database is locked by another process, or its disk is full.
        """
        access = database.open_to_serve if self._exclusive else database.open_beside
        opening = asyncio.ensure_future(asyncio.to_thread(access, self._path, self._origin))
        try:
            files = await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(DedupdError):
                await asyncio.to_thread((await opening).close)
            raise
        self._opened = _Opened(
            files,
            files.looker.cursor(),
            GroupCommit(files.writer, files.in_place, self._engine),
            Scans(files.scanner, self._engine),
        )

    async def close(self) -> None:
        """See ``Store.close``; what is under way is finished first."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.writes.close()
            await opened.scans.close()
            await asyncio.to_thread(opened.files.close)

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        """See ``Store.claim``; where the id is not free, nothing is written."""
        standing = (await self.read([record.id])).get(record.id)
        if standing is not None and not standing.record.state.vacant:
            return False, standing
        values = statements.columns(record) | {"payload": payload}

        def claim(cursor: Cursor, version: int) -> tuple[bool, Stored]:
            if cursor.execute(statements.CLAIM, values | {"version": version}).rowcount:
                return True, Stored(statements.stamped(record, version), payload)
            return False, statements.read(cursor, [record.id])[record.id]

        return await self._use.writes.write(claim)

    async def read(self, ids: Sequence[str]) -> dict[str, Stored]:
        """See ``Store.read``."""
        if len(ids) > MOST_LOOKS:
            return await self._use.scans.run(lambda cursor: statements.read(cursor, ids))
        try:
            return statements.read(self._use.looks, ids)
        except sqlite3.Error as error:
            raise StoreUnavailable.of(self._engine, f": {error}") from error

    async def swap(
        self,
        before: Record,
        after: Record,
        *,
        result: bytes | None = None,
        worker: str = "",
        gone: str = "",
    ) -> Record | None:
        """See ``Store.swap``."""
        statement = statements.swap(by_worker=bool(worker), of_gone=bool(gone))
        values = statements.columns(after) | {
            "before_version": before.version,
            "before_birth": before.birth,
            "pending": after.state.pending,
            "answered": after.state.answered,
            "result": result,
            "worker": worker,
            "gone": gone,
        }

        def swap(cursor: Cursor, version: int) -> Record | None:
            of_now = {"version": version, "now": self._clock()}
            written = cursor.execute(statement, values | of_now).rowcount
            return statements.stamped(after, version) if written else None

        def publish(written: Record | None) -> None:
            if written is not None:
                self._completions.swapped(before, written, result)

        return await self._use.writes.write(swap, publish)

    async def begin(self, claimed: Record, sending: Record, worker: str) -> Stored | None:
        """See ``Store.begin``."""
        as_claimed = statements.columns(claimed)["record"]
        values = statements.columns(sending) | {"claimed": as_claimed, "worker": worker}

        def begin(cursor: Cursor, version: int) -> Stored | None:
            of_now = {"version": version, "now": self._clock()}
            rows = cursor.execute(statements.BEGIN, values | of_now).fetchall()
            return Stored(statements.stamped(sending, version), *rows[0]) if rows else None

        return await self._use.writes.write(begin)

    async def forget(self, record: Record) -> bool:
        """See ``Store.forget``."""
        values = (record.id, record.version, record.birth)
        return await self._change(statements.FORGET, lambda: values)

    async def pending(self, limit: int) -> list[Record]:
        """See ``Store.pending``."""
        return await self._use.scans.run(
            lambda cursor: statements.records(cursor, statements.PENDING, (limit,))
        )

    async def overdue(self, now: float, limit: int) -> list[Record]:
        """See ``Store.overdue``."""
        return await self._use.scans.run(
            lambda cursor: statements.records(cursor, statements.OVERDUE, (now, limit))
        )

    async def find(self, query: Query) -> list[Record]:
        """See ``Store.find``."""
        return await self._use.scans.run(lambda cursor: statements.find(cursor, query))

    async def depth(self) -> Depth:
        """See ``Store.depth``."""
        projects = await self._use.scans.run(
            lambda cursor: dict(cursor.execute(statements.DEPTH).fetchall())
        )
        return Depth(sum(projects.values()), projects)

    def on_completion(self, listener: Callable[[Stored], None]) -> None:
        """See ``Store.on_completion``; what another process changes is not published."""
        self._completions.listen(listener)

    async def register(self, worker: Worker) -> None:
        """See ``Store.register``."""
        values = (worker.id, worker.host, worker.pid, worker.lease_until)
        await self._change(statements.REGISTER, lambda: values)

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """See ``Store.keep_alive``."""
        return await self._change(statements.KEEP_ALIVE, lambda: (until, worker_id, self._clock()))

    async def retire(self, worker_id: str) -> None:
        """See ``Store.retire``."""
        if await self._change(statements.RETIRE, lambda: (worker_id,)):
            self._departures.departed(worker_id)

    async def workers(self) -> list[Worker]:
        """See ``Store.workers``; in the order of their ids."""
        rows = await self._use.scans.run(
            lambda cursor: cursor.execute(statements.WORKERS, (self._clock(),)).fetchall()
        )
        return [Worker(*row) for row in rows]

    async def lead(self, worker_id: str) -> bool:
        """See ``Store.lead``; leadership ends with the process, as the leases do."""

        def lead(cursor: Cursor, _version: int) -> bool:
            living = {row[0] for row in cursor.execute(statements.WORKERS, (self._clock(),))}
            if worker_id in living and self._leader not in living:
                self._leader = worker_id
            return self._leader == worker_id and worker_id in living

        return await self._use.writes.write(lead)

    async def resign(self, worker_id: str) -> None:
        """See ``Store.resign``."""
        if self._leader == worker_id:
            self._leader = ""

    def on_departure(self, listener: Callable[[str], None]) -> None:
        """See ``Store.on_departure``; a lease that runs out is not heard of."""
        self._departures.listen(listener)

    @property
    def _use(self) -> _Opened:
        if self._opened is None:
            raise StoreUnavailable.of(self._engine, " is not open")
        return self._opened

    async def _change(self, statement: str, values: Callable[[], Sequence[object]]) -> bool:
        """Execute a statement with the values of the moment; whether it changed anything."""
        return await self._use.writes.write(
            lambda cursor, _version: cursor.execute(statement, values()).rowcount > 0
        )
