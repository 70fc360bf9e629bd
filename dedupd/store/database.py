"""The SQLite file: how it is made, what it must be to be used, who may serve it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

from dedupd.errors import ConfigError
from dedupd.ports import StoreUnavailable

APPLICATION_ID = 0x64647064
""""ddpd": tells a database of dedupd from any other (SQLite file format, 1.3.17)."""

VERSION = 1
"""The layout of the tables below (``PRAGMA user_version``)."""

BUSY_SECONDS = 2.0
"""How long one waits for another process's transaction to end."""

CACHE_KIBIBYTES = 16 * 1024
WAL_LIMIT_BYTES = 64 * 1024 * 1024

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE requests (
    place INTEGER PRIMARY KEY, -- grows from claim to claim: the order of listings
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


def connect(path: Path, *, identity_check: str) -> sqlite3.Connection:
    """Open a database that is there, for reading and writing, in the calling thread.

    Raises:
        ConfigError: it is not one of dedupd's, of this version, whole, and of this identity key.
        StoreUnavailable: it is locked by another process.
    """
    _check_header(path)
    try:
        connection = _configured(path)
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"The database {path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise _unusable(path, f"it is corrupt ({error})") from error
    identity = connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
    if identity != (identity_check,):
        connection.close()
        raise _unusable(
            path,
            "it was written with another identity key, under which no used token is known",
            "Put the key file ([seal] key_file) back that it was written with",
        )
    return connection


def create(path: Path, *, identity_check: str) -> None:
    """Make an empty database, readable by its owner alone; whole or not at all.

    Does nothing where one is there already.

    Raises:
        ConfigError: it cannot be made there.
    """
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with contextlib.closing(_configured(draft)) as connection:
            connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("INSERT INTO meta VALUES ('identity', ?)", (identity_check,))
            connection.execute("COMMIT")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        _synchronise(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, f"it cannot be created ({error})") from error
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def served(path: Path) -> Iterator[None]:
    """Be the only process that serves the database, for as long as the context lasts.

    Raises:
        ConfigError: another one serves it; the message names its process id.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unusable(path, f"its lock file {lock} cannot be opened ({error})") from error
    try:
        _take(path, descriptor)
        yield
    finally:
        os.close(descriptor)


def _take(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        raise _unusable(
            path,
            f"process {pid or 'unknown'} serves it already, and one process at a time may",
            "Stop that one first, or give this one a database of its own",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _configured(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}").fetchall()
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_header(path: Path) -> None:
    """Look at the first 100 bytes (SQLite file format, 1.3), without SQLite: changes nothing.

    dedupd makes its databases whole (``create``), so they are there from the first moment on.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from error
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise _unusable(path, "it is not an SQLite database, or truncated")
    version, application_id = struct.unpack_from(">I4xI", header, 60)
    if application_id != APPLICATION_ID:
        raise _unusable(path, "it belongs to another application")
    if version != VERSION:
        raise _unusable(
            path,
            f"it has layout {version}, and this dedupd reads layout {VERSION}",
            "Use the dedupd that wrote it, or name another path",
        )


def _synchronise(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(
    path: Path, why: str, advice: str = "Name another path, or put a copy that is whole there"
) -> ConfigError:
    return ConfigError(f"[store] url: the database {path}: {why}. {advice}; nothing was changed.")
