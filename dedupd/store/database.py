"""The SQLite file: how it is made, what it must be to be used, who may serve it."""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dedupd.errors import ConfigError, Engine
from dedupd.ports import StoreUnavailable
from dedupd.store.origin import Origin
from dedupd.store.statements import KEEP_REGION, RETIRE_ALL, SCHEMA

APPLICATION_ID = 0x64647064
""""ddpd": tells a database of dedupd from any other (SQLite file format, 1.3.17)."""

LAYOUT = 1
"""The version of ``SCHEMA`` (``PRAGMA user_version``)."""

BUSY_SECONDS = 2.0
"""How long to wait for another process's transaction to end."""

CHECK_BYTES = 64 * 1024 * 1024
"""Up to this size a database is checked page by page at the start; that takes under a second."""

SETTINGS = """
PRAGMA synchronous = FULL;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16384;           -- KiB: bounds the memory, however many records there are
PRAGMA cache_spill = OFF;             -- nothing is written before COMMIT, which a thread does
PRAGMA journal_size_limit = 67108864; -- bytes
PRAGMA wal_autocheckpoint = 0;        -- but for the server's writer
"""

CHECKPOINT_PAGES = 1000
"""How long the WAL grows before the server's writer, and nobody else, moves it into the database.

One connection alone does so: before SQLite 3.51.3, two at once could, very rarely, corrupt the
database (https://sqlite.org/wal.html#walresetbug).
"""

_HEADER = struct.Struct(">16s44xI4xI28x")
"""Magic, user version, application id: the first 100 bytes (SQLite file format, 1.3)."""

_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
"""Errors that pass by; what else goes wrong at the start needs a person."""

_OTHER_PATH = "Name another path, or put a whole copy there"


@dataclass(frozen=True)
class Files:
    """An open database: three connections, and the lock of the process that serves it."""

    path: Path
    inode: int
    writer: sqlite3.Connection
    looker: sqlite3.Connection
    scanner: sqlite3.Connection
    held: ExitStack

    def in_place(self) -> bool:
        """Whether the path still names the file that is open."""
        try:
            return self.path.stat().st_ino == self.inode
        except OSError:
            return False

    def close(self) -> None:
        """Close all; SQLite then moves what the WAL holds into the database."""
        self.held.close()


def engine(path: Path | str) -> Engine:
    """How errors name a database."""
    return Engine("The database", str(path))


def open_to_serve(path: Path, origin: Origin) -> Files:
    """Open as the one process that serves the database; creates it where it is missing.

    The leases of workers end: they were earlier processes'.

    Raises:
        ConfigError: not to be used; it says why, and nothing was changed.
        StoreUnavailable: locked by another process, or its disk is full.
    """
    with _named(path), _closed_on_error() as held:
        if path.exists():
            _check_header(path)
        held.enter_context(_serving(path))
        if not path.exists():
            _create(path, origin)
        _check(path, origin, deep=True)
        files = _connect(path, held)
        files.writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        # One that was made before databases kept it has none.
        files.writer.execute(KEEP_REGION, (origin.region,))
        files.writer.execute(RETIRE_ALL)
        return files


def open_beside(path: Path, origin: Origin) -> Files:
    """Open a database that is there, whoever serves it meanwhile.

    Raises:
        ConfigError: not there, or not to be used; it says why, and nothing was changed.
        StoreUnavailable: locked by another process.
    """
    with _named(path), _closed_on_error() as held:
        _check_header(path)
        _check(path, origin, deep=False)
        return _connect(path, held)


def _connect(path: Path, held: ExitStack) -> Files:
    """The three connections, closed with what ``held`` holds already."""
    inode = path.stat().st_ino
    writer = held.enter_context(closing(_connection(path, "rw")))
    looker = held.enter_context(closing(_connection(path, "rw")))
    scanner = held.enter_context(closing(_connection(path, "rw")))
    for reader in (looker, scanner):
        reader.execute("PRAGMA query_only = ON")
    looker.execute("PRAGMA busy_timeout = 0")  # it is used in the event loop
    return Files(path, inode, writer, looker, scanner, held)


def _connection(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode, which any one thread at a time may use."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.executescript(SETTINGS)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _create(path: Path, origin: Origin) -> None:
    """Make an empty database, readable by its owner alone; whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(_connection(draft, "rw")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {SCHEMA}")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", asdict(origin).items())
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
            connection.execute("COMMIT")
        draft.rename(path)
        _synchronise(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _synchronise(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _serving(path: Path) -> Iterator[None]:
    """Hold the lock of the one process that serves the database; the lock file stays."""
    descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
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
            f"process {pid or 'unknown'} serves it already, and only one at a time may",
            "Stop that one first, or give this one a database of its own",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _check_header(path: Path) -> None:
    """Look at the header without SQLite, which would change a file that it can repair.

    A database of dedupd has its header from the first moment on (``_create``).
    """
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(b"SQLite format 3\0"):
        raise _unusable(path, "it is not an SQLite database, or was cut off", _OTHER_PATH)
    _, layout, application_id = _HEADER.unpack(header)
    if application_id != APPLICATION_ID:
        raise _unusable(path, "it belongs to another application", _OTHER_PATH)
    if layout != LAYOUT:
        why = f"it has layout {layout}, and this dedupd knows layout {LAYOUT}"
        raise _unusable(path, why, "Use the dedupd that wrote it, or name another path")


def _check(path: Path, origin: Origin, *, deep: bool) -> None:
    """Check, without being able to write: schema, origin, and, if ``deep``, the pages."""
    with closing(_connection(path, "ro")) as connection:
        if _schema(connection) != _expected_schema():
            raise _unusable(path, "it is corrupt (its tables are not dedupd's)", _OTHER_PATH)
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if meta.keys() | {"region"} != {"identity", "region", "version"}:
            raise _unusable(path, "it is corrupt (its meta table is not dedupd's)", _OTHER_PATH)
        refusal = origin.refuses(Origin(meta["identity"], meta.get("region", "")))
        if refusal is not None:
            why, advice = refusal
            raise _unusable(path, why, f"{advice}, or name another path")
        fault = _fault(connection) if deep else None
        if fault is not None:
            raise _unusable(path, f"it is corrupt ({fault})", _OTHER_PATH)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def _expected_schema() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return _schema(connection)


def _fault(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the pages; that the file has them all, SQLite itself has checked."""
    [(pages,)] = connection.execute("PRAGMA page_count")
    [(page_bytes,)] = connection.execute("PRAGMA page_size")
    tables = [""] if pages * page_bytes <= CHECK_BYTES else ["(meta)", "(workers)"]
    for table in tables:
        [(answer,), *_] = connection.execute(f"PRAGMA quick_check{table}").fetchall()
        if answer != "ok":
            return str(answer).replace("\n", " ")
    return None


@contextmanager
def _closed_on_error() -> Iterator[ExitStack]:
    """What is entered into the stack stays open, unless something goes wrong on the way."""
    held = ExitStack()
    try:
        yield held
    except BaseException:
        held.close()
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which database an error is about, and whether it passes by."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _AWAY:
            raise StoreUnavailable.of(engine(path), f": {error}") from error
        corrupt = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        why = f"it is corrupt ({error})" if corrupt else str(error)
        raise _unusable(path, why, _OTHER_PATH) from error
    except OSError as error:
        why = f"{error.filename or path} cannot be used ({error.strerror})"
        raise _unusable(path, why, "Name a path in a directory that dedupd may write") from error


def _unusable(path: Path, why: str, advice: str) -> ConfigError:
    return ConfigError(f"[store] url: the database {path}: {why}. {advice}; nothing was changed.")
