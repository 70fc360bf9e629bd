"""The SQL of the store: tables, statements, and how a record becomes a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from sqlite3 import Cursor

import msgspec
from oslo_log import log

from dedupd.errors import NotFound
from dedupd.ports import Query, Stored, Unreadable
from dedupd.request import Record

LOG = log.getLogger(__name__)

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE requests (
    place INTEGER PRIMARY KEY, -- the version of the claim: the order of listings
    id TEXT NOT NULL,
    birth TEXT NOT NULL,
    project_id TEXT NOT NULL,
    state INTEGER NOT NULL,
    version INTEGER NOT NULL,
    expires_at REAL,
    record BLOB NOT NULL,      -- msgpack of dedupd.request.Record, without its version
    payload BLOB,              -- sealed; NULL once the request has ended
    result BLOB                -- sealed
);
CREATE UNIQUE INDEX requests_by_id ON requests (id);
CREATE INDEX requests_by_project ON requests (project_id, place);
CREATE INDEX requests_pending ON requests (place, project_id) WHERE state <= 2;
CREATE INDEX requests_by_expiry ON requests (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE workers (
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, lease_until REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO meta VALUES ('version', 0);
"""

KEEP_REGION = "INSERT OR IGNORE INTO meta VALUES ('region', ?)"

READ = "SELECT record, version, payload, result FROM requests WHERE id = ?"

# state 5 is RELEASED
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
    result = CASE WHEN :answered THEN coalesce(:result, result) END
WHERE id = :id AND version = :before_version AND birth = :before_birth
"""

LEASE_LIVES = "AND EXISTS (SELECT 1 FROM workers WHERE id = :worker AND lease_until > :now) "
LEASE_ENDED = "AND NOT EXISTS (SELECT 1 FROM workers WHERE id = :gone AND lease_until > :now)"

BEGIN = f"""
UPDATE requests SET state = :state, version = :version, record = :record
WHERE id = :id AND version = place AND record = :claimed AND payload IS NOT NULL {LEASE_LIVES}
RETURNING payload
"""  # noqa: S608 # a constant

FORGET = "DELETE FROM requests WHERE id = ? AND version = ? AND birth = ?"

# states up to 2 are pending; left to itself, SQLite may go through all records for them
PENDING = """
SELECT id, record, version FROM requests INDEXED BY requests_pending WHERE state <= 2
ORDER BY place LIMIT ?
"""

DEPTH = """
SELECT project_id, count(*) FROM requests INDEXED BY requests_pending WHERE state <= 2
GROUP BY project_id
"""

OVERDUE = """
SELECT id, record, version FROM requests WHERE expires_at <= ? ORDER BY expires_at, place LIMIT ?
"""

REGISTER = "INSERT OR REPLACE INTO workers (id, host, pid, lease_until) VALUES (?, ?, ?, ?)"
KEEP_ALIVE = "UPDATE workers SET lease_until = ? WHERE id = ? AND lease_until > ?"
RETIRE = "DELETE FROM workers WHERE id = ?"
RETIRE_ALL = "DELETE FROM workers"
WORKERS = "SELECT id, host, pid, lease_until FROM workers WHERE lease_until > ? ORDER BY id"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def stamped(record: Record, version: int) -> Record:
    """The record with this version."""
    return msgspec.structs.replace(record, version=version)


def columns(record: Record) -> dict[str, object]:
    """What the columns hold of a record but for its version, by their names."""
    return {
        "id": record.id,
        "birth": record.birth,
        "project_id": record.project_id,
        "state": int(record.state),
        "expires_at": record.expires_at,
        "record": _encode(stamped(record, 0)),
    }


def swap(*, by_worker: bool, of_gone: bool) -> str:
    """SWAP, on the conditions that are asked for."""
    return SWAP + LEASE_LIVES * by_worker + LEASE_ENDED * of_gone


def read(cursor: Cursor, ids: Iterable[str]) -> dict[str, Stored]:
    """The records with these ids, whole, each by a statement of its own.

    Raises:
        Unreadable: one of them.
    """
    found: dict[str, Stored] = {}
    for id_ in ids:
        for record, version, payload, result in cursor.execute(READ, (id_,)):
            found[id_] = Stored(_record(id_, record, version), payload, result)
    return found


def records(cursor: Cursor, statement: str, values: Sequence[object]) -> list[Record]:
    """What a statement that selects (id, record, version) finds, and can be read."""
    return list(_readable(cursor.execute(statement, values).fetchall()))


def _readable(rows: Iterable[tuple[str, bytes, int]]) -> Iterator[Record]:
    for row in rows:
        try:
            yield _record(*row)
        except Unreadable as error:
            LOG.error("%s", error)


def _record(id_: str, value: bytes, version: int) -> Record:
    try:
        return stamped(_decode(value), version)
    except (msgspec.DecodeError, ValueError) as error:
        raise Unreadable(
            f"SQLite: what is stored of {id_} is not one of dedupd's records: {error}. Its request "
            "may have been carried out (docs/operations.md, 'At three in the morning')."
        ) from None


def find(cursor: Cursor, query: Query) -> list[Record]:
    """What a query finds.

    Raises:
        NotFound: the marker names no record of the query's project.
    """
    table, conditions = "requests", ["TRUE"]
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
    if query.states and all(state.pending for state in query.states):
        table = "requests INDEXED BY requests_pending"
        conditions.append("state <= 2")
    where = " AND ".join(conditions)
    chosen = f"SELECT id, record, version FROM {table} WHERE {where}"  # noqa: S608 # values are bound
    statement = f"{chosen} ORDER BY place DESC LIMIT ?"
    return records(cursor, statement, (*values, query.limit))


def _place(cursor: Cursor, marker: str, project_id: str | None) -> int:
    values = (marker, project_id)
    found = cursor.execute(
        "SELECT place FROM requests WHERE id = ? AND project_id = coalesce(?, project_id)", values
    ).fetchone()
    if found is None:
        raise NotFound(f"The marker {marker} names no record; list again without a marker.")
    return int(found[0])
