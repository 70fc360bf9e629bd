"""The Store on SQLite: durable on one machine, with nothing to install.

WAL and ``synchronous=FULL``: what was acknowledged has been written through to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection, Cursor

import msgspec

from dedupd.errors import ConfigError, NotFound
from dedupd.ports import Depth, Query, Stored, StoreUnavailable, Worker
from dedupd.request import Record, State
from dedupd.store import database
from dedupd.store.group import Group

CLAIM_VERSIONS = "UPDATE meta SET value = value + ? WHERE name = 'version' RETURNING value"

READ = "SELECT record, version, payload, result FROM requests WHERE id = ?"

CLAIM = """
INSERT INTO requests (place, id, birth, project_id, state, version, expires_at, record, payload)
VALUES (:version, :id, :birth, :project_id, :state, :version, :expires_at, :record, :payload)
ON CONFLICT (id) DO UPDATE SET place = :version, birth = :birth, project_id = :project_id,
    state = :state, version = :version, expires_at = :expires_at, record = :record,
    payload = :payload, result = NULL
WHERE state = 5
"""

SWAP = """
UPDATE requests SET birth = :birth, state = :state, version = :version, expires_at = :expires_at,
    record = :record, payload = CASE WHEN :pending THEN payload END,
    result = CASE WHEN :tombstone THEN NULL ELSE coalesce(:result, result) END
WHERE id = :id AND version = :before AND birth = :birth_before
"""

LEASE_LIVES = "AND EXISTS (SELECT 1 FROM workers WHERE id = :worker AND lease_until > :now)"
SWAP_BY_WORKER = SWAP + LEASE_LIVES

FORGET = "DELETE FROM requests WHERE id = ? AND version = ? AND birth = ?"

PENDING = "SELECT record, version FROM requests WHERE state <= 2 ORDER BY place LIMIT ?"

OVERDUE = """
SELECT record, version FROM requests WHERE expires_at <= ? ORDER BY expires_at, place LIMIT ?
"""

DEPTH = "SELECT project_id, count(*) FROM requests WHERE state <= 2 GROUP BY project_id"

REGISTER = "INSERT OR REPLACE INTO workers (id, host, pid, lease_until) VALUES (?, ?, ?, ?)"
KEEP_ALIVE = "UPDATE workers SET lease_until = ? WHERE id = ?"
RETIRE = "DELETE FROM workers WHERE id = ?"
REMOVE_ENDED = "DELETE FROM workers WHERE lease_until <= ?"
WORKERS = "SELECT id, host, pid, lease_until FROM workers WHERE lease_until > ? ORDER BY id"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class SqliteStore:
    """Records in one SQLite file; see ``dedupd.ports.Store`` for what each method promises.

    One process at a time serves a database, which a lock on ``<path>.lock`` makes sure of; being
    that one proves that the workers of earlier processes are dead, so ``open`` ends their leases.
    A tool that only looks, or changes a few records beside the server, takes ``exclusive=False``;
    it creates no database. What such a tool changes is published to nobody (``on_completion``):
    the server's waiters see it when they read again.

    ``identity_check`` is ``Keys.check``: a database keeps the one that it was made with.
    ``clock`` gives seconds since the epoch; the leases of workers are measured with it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        identity_check: str,
        clock: Callable[[], float] = time.time,
        exclusive: bool = True,
    ) -> None:
        self._path = Path(path)
        self._identity_check = identity_check
        self._clock = clock
        self._exclusive = exclusive
        self._held = contextlib.ExitStack()
        self._listeners: list[Callable[[Stored], None]] = []
        self._group = Group(self._connect, f"The database {self._path}", CLAIM_VERSIONS)

    async def open(self) -> None:
        """See ``Store.open``."""
        try:
            await self._group.start()
        except BaseException:
            self._held.close()
            raise

    async def close(self) -> None:
        """See ``Store.close``; what is under way is finished first."""
        await self._group.stop()
        self._held.close()

    async def claim(self, record: Record, payload: bytes) -> tuple[bool, Stored]:
        """See ``Store.claim``."""
        values = _values(record) | {"payload": payload}

        def look(cursor: Cursor) -> tuple[bool, Stored] | None:
            standing = _read(cursor, record.id)
            if standing is None or standing.record.state.vacant:
                return None
            return False, standing

        def write(cursor: Cursor, version: int) -> tuple[bool, Stored]:
            if cursor.execute(CLAIM, values | {"version": version}).rowcount:
                return True, Stored(_stamped(record, version), payload)
            standing = _read(cursor, record.id)
            if standing is None:
                raise StoreUnavailable(f"The database {self._path} contradicts itself.")
            return False, standing

        return await self._group.run(look, write)

    async def read(self, ids: Sequence[str]) -> dict[str, Stored]:
        """See ``Store.read``."""

        def look(cursor: Cursor) -> dict[str, Stored]:
            found = {id_: _read(cursor, id_) for id_ in ids}
            return {id_: stored for id_, stored in found.items() if stored is not None}

        return await self._group.run(look)

    async def swap(
        self, before: Record, after: Record, *, result: bytes | None = None, worker: str = ""
    ) -> Record | None:
        """See ``Store.swap``."""
        values = _values(after) | {
            "before": before.version,
            "birth_before": before.birth,
            "pending": after.state.pending,
            "tombstone": after.state is State.TOMBSTONE,
            "result": result,
            "worker": worker,
        }
        statement = SWAP_BY_WORKER if worker else SWAP

        def write(cursor: Cursor, version: int) -> Record | None:
            changes = {"version": version, "now": self._clock()}
            written = cursor.execute(statement, values | changes).rowcount
            return _stamped(after, version) if written else None

        def done(record: Record | None) -> None:
            if record is not None and before.state.awaited and not record.state.awaited:
                self._publish(Stored(record, result=result))

        return await self._group.run(None, write, done)

    async def forget(self, record: Record) -> bool:
        """See ``Store.forget``."""

        def write(cursor: Cursor, _version: int) -> bool:
            values = (record.id, record.version, record.birth)
            return cursor.execute(FORGET, values).rowcount > 0

        return await self._group.run(None, write)

    async def pending(self, limit: int) -> list[Record]:
        """See ``Store.pending``."""
        return await self._group.run(lambda cursor: _records(cursor, PENDING, (limit,)))

    async def overdue(self, now: float, limit: int) -> list[Record]:
        """See ``Store.overdue``."""
        return await self._group.run(lambda cursor: _records(cursor, OVERDUE, (now, limit)))

    async def find(self, query: Query) -> list[Record]:
        """See ``Store.find``."""
        return await self._group.run(lambda cursor: _find(cursor, query))

    async def depth(self) -> Depth:
        """See ``Store.depth``."""
        projects = await self._group.run(lambda cursor: dict(cursor.execute(DEPTH).fetchall()))
        return Depth(sum(projects.values()), projects)

    def on_completion(self, listener: Callable[[Stored], None]) -> None:
        """See ``Store.on_completion``; what another process changes is not published."""
        self._listeners.append(listener)

    async def register(self, worker: Worker) -> None:
        """See ``Store.register``."""

        def write(cursor: Cursor, _version: int) -> bool:
            cursor.execute(REMOVE_ENDED, (self._clock(),))
            cursor.execute(REGISTER, (worker.id, worker.host, worker.pid, worker.lease_until))
            return True

        await self._group.run(None, write)

    async def keep_alive(self, worker_id: str, until: float) -> bool:
        """See ``Store.keep_alive``."""

        def write(cursor: Cursor, _version: int) -> bool:
            cursor.execute(REMOVE_ENDED, (self._clock(),))
            return cursor.execute(KEEP_ALIVE, (until, worker_id)).rowcount > 0

        return await self._group.run(None, write)

    async def retire(self, worker_id: str) -> None:
        """See ``Store.retire``."""
        await self._group.run(
            None, lambda cursor, _version: cursor.execute(RETIRE, (worker_id,)).rowcount
        )

    async def workers(self) -> list[Worker]:
        """See ``Store.workers``; in the order of their ids."""
        rows = await self._group.run(
            lambda cursor: cursor.execute(WORKERS, (self._clock(),)).fetchall()
        )
        return [Worker(*row) for row in rows]

    def _connect(self) -> Connection:
        """In the group's thread."""
        if self._exclusive:
            self._held.enter_context(database.served(self._path))
            database.create(self._path, identity_check=self._identity_check)
        elif not self._path.exists():
            raise ConfigError(
                f"[store] url: the database {self._path} does not exist; start dedupd once, "
                "or name the path that it uses."
            )
        connection = database.connect(self._path, identity_check=self._identity_check)
        if self._exclusive:
            connection.execute("DELETE FROM workers")
        return connection

    def _publish(self, stored: Stored) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.call_soon(listener, stored)


def _values(record: Record) -> dict[str, object]:
    """What the columns hold of a record; its version is a column of its own."""
    return {
        "id": record.id,
        "birth": record.birth,
        "project_id": record.project_id,
        "state": int(record.state),
        "expires_at": record.expires_at,
        "record": _encode(_stamped(record, 0)),
    }


def _stamped(record: Record, version: int) -> Record:
    return msgspec.structs.replace(record, version=version)


def _read(cursor: Cursor, id_: str) -> Stored | None:
    row = cursor.execute(READ, (id_,)).fetchone()
    if row is None:
        return None
    record, version, payload, result = row
    return Stored(_stamped(_decode(record), version), payload, result)


def _records(cursor: Cursor, statement: str, values: Sequence[object]) -> list[Record]:
    rows = cursor.execute(statement, values).fetchall()
    return [_stamped(_decode(record), version) for record, version in rows]


def _find(cursor: Cursor, query: Query) -> list[Record]:
    conditions: list[str] = []
    values: list[object] = []
    if query.project_id is not None:
        conditions.append("project_id = ?")
        values.append(query.project_id)
    if query.marker is not None:
        conditions.append("place < ?")
        values.append(_place(cursor, query.marker, query.project_id))
    if query.states:
        conditions.append(f"state IN ({', '.join('?' * len(query.states))})")
        values.extend(int(state) for state in query.states)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"SELECT record, version FROM requests {where} ORDER BY place DESC LIMIT ?"  # noqa: S608
    return _records(cursor, statement, (*values, query.limit))


def _place(cursor: Cursor, marker: str, project_id: str | None) -> int:
    row = cursor.execute("SELECT place, project_id FROM requests WHERE id = ?", (marker,))
    found = row.fetchone()
    if found is None or project_id not in (None, found[1]):
        raise NotFound(f"The marker {marker} names no record; list again without a marker.")
    return int(found[0])
