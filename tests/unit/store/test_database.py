"""What a database must be to be used: made whole, checked at the start, served by one process."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dedupd import request
from dedupd.errors import ConfigError
from dedupd.ports import StoreUnavailable, Worker
from dedupd.request import State
from dedupd.store import database
from dedupd.store.sqlite import SqliteStore
from tests.contract.stores import NOW, ORIGIN, Clock, make_record

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


def serving(path: Path) -> SqliteStore:
    return SqliteStore(path, origin=ORIGIN, clock=Clock())


def beside(path: Path) -> SqliteStore:
    return SqliteStore(path, origin=ORIGIN, clock=Clock(), exclusive=False)


def modes(directory: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in directory.iterdir()}


def remove(path: Path) -> None:
    path.unlink()


def is_open(path: Path) -> bool:
    """Whether this process holds the file open."""
    target = path.resolve()
    return any(opened.resolve() == target for opened in Path("/proc/self/fd").iterdir())


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


async def filled(path: Path, number: int = 50) -> None:
    """A database with so many records at the path, closed."""
    store = serving(path)
    await store.open()
    await asyncio.gather(*(store.claim(make_record(n), bytes(2000)) for n in range(number)))
    await store.close()


class TestMade:
    async def test_for_its_owner_alone(self, tmp_path: Path, path: Path) -> None:
        store = serving(path)
        await store.open()
        await store.claim(make_record(), b"payload")
        found = modes(tmp_path)
        await store.close()
        assert found == dict.fromkeys(
            ["records.db", "records.db-wal", "records.db-shm", "records.db.lock"], 0o600
        )

    async def test_and_says_what_it_is(self, path: Path) -> None:
        await filled(path)
        header = content(path)
        assert header is not None
        assert int.from_bytes(header[68:72]) == database.APPLICATION_ID == int(b"ddpd".hex(), 16)
        assert int.from_bytes(header[60:64]) == database.LAYOUT

    async def test_kept_when_opened_again(self, path: Path) -> None:
        store = serving(path)
        await store.open()
        _, stored = await store.claim(make_record(), b"\x00payload")
        done = request.finish(stored.record, NOW, status=202, resource=None, keep=60)
        written = await store.swap(stored.record, done, result=b"\x00answer")
        await store.close()
        await store.open()
        again = (await store.read([done.id]))[done.id]
        await store.close()
        assert (again.record, again.payload, again.result) == (written, None, b"\x00answer")

    async def test_given_a_region_by_the_next_server_where_it_has_none(self, path: Path) -> None:
        await filled(path)
        without_a_region(path)
        other = SqliteStore(path, origin=replace(ORIGIN, region="RegionTwo"), exclusive=False)
        await other.open()
        await other.close()
        await filled(path, 0)
        with pytest.raises(ConfigError, match="serves the region RegionOne alone"):
            await other.open()

    async def test_versions_go_on_when_opened_again(self, path: Path) -> None:
        store = serving(path)
        await store.open()
        _, old = await store.claim(make_record(), b"")
        assert await store.forget(old.record)
        await store.close()
        await store.open()
        _, new = await store.claim(make_record(), b"")
        written = await store.swap(old.record, old.record)
        await store.close()
        assert new.record.version > old.record.version
        assert written is None

    async def test_a_place_that_a_caller_left_is_free(self, tmp_path: Path, path: Path) -> None:
        opening = asyncio.create_task(serving(path).open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await filled(path)
        assert not [name for name in modes(tmp_path) if name.startswith(".")]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def only_a_header(path: Path) -> None:
    os.truncate(path, 99)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def of_another_application(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE requests (id)")


def of_a_later_layout(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def scribbled_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)


def without_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE workers")


def change_meta(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def without_its_versions(path: Path) -> None:
    change_meta(path, "DELETE FROM meta WHERE name = 'version'")


def of_another_key(path: Path) -> None:
    change_meta(path, "UPDATE meta SET value = 'other' WHERE name = 'identity'")


def of_another_region(path: Path) -> None:
    change_meta(path, "UPDATE meta SET value = 'RegionTwo' WHERE name = 'region'")


def without_a_region(path: Path) -> None:
    """As an earlier dedupd left it, which kept none."""
    change_meta(path, "DELETE FROM meta WHERE name = 'region'")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS = [
    (empty, "not an SQLite database, or was cut off"),
    (garbage, "not an SQLite database, or was cut off"),
    (only_a_header, "not an SQLite database, or was cut off"),
    (cut_off, "is corrupt"),
    (of_another_application, "belongs to another application"),
    (of_a_later_layout, "has layout 99, and this dedupd knows layout 1"),
    (scribbled_over, "is corrupt"),
    (without_a_table, "its tables are not dedupd's"),
    (without_its_versions, "its meta table is not dedupd's"),
    (of_another_key, "written with another identity key"),
    (of_another_region, "the region RegionTwo alone.*region_name is RegionOne.*another path"),
    (a_directory, "Is a directory"),
]


class TestRefused:
    @pytest.mark.parametrize(("spoil", "why"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
    async def test_and_left_as_it_was(
        self, path: Path, spoil: Callable[[Path], None], why: str
    ) -> None:
        await filled(path)
        spoil(path)
        before = content(path)
        with pytest.raises(ConfigError, match=why) as refused:
            await serving(path).open()
        assert str(path) in refused.value.message
        assert refused.value.message.endswith("; nothing was changed.")
        assert content(path) == before
        assert not is_open(path)

    async def test_a_large_one_that_was_cut_off(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await filled(path)
        cut_off(path)
        monkeypatch.setattr(database, "CHECK_BYTES", 4096)
        with pytest.raises(ConfigError, match="is corrupt"):
            await serving(path).open()

    async def test_a_large_one_is_not_read_through(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await filled(path)
        monkeypatch.setattr(database, "CHECK_BYTES", 4096)
        store = serving(path)
        await store.open()
        assert len(await store.pending(100)) == 50
        await store.close()

    async def test_in_no_directory(self, tmp_path: Path) -> None:
        path = tmp_path / "missing" / "records.db"
        with pytest.raises(ConfigError, match=r"records\.db.*No such file or directory"):
            await serving(path).open()

    async def test_in_a_directory_that_may_not_be_written(self) -> None:
        with unprivileged() as directory:
            directory.chmod(0o500)
            with pytest.raises(ConfigError, match=r"Permission denied.*dedupd may write"):
                await serving(directory / "records.db").open()

    async def test_a_file_that_may_not_be_written(self) -> None:
        with unprivileged() as directory:
            path = directory / "records.db"
            await filled(path)
            path.chmod(0o400)
            with pytest.raises(ConfigError, match="readonly database"):
                await serving(path).open()

    async def test_a_file_that_may_not_be_read(self) -> None:
        with unprivileged() as directory:
            path = directory / "records.db"
            await filled(path)
            path.chmod(0o000)
            with pytest.raises(ConfigError, match="Permission denied"):
                await serving(path).open()

    async def test_another_one_is_opened_afterwards(self, tmp_path: Path, path: Path) -> None:
        garbage(path)
        with pytest.raises(ConfigError):
            await serving(path).open()
        remove(path)
        await filled(path)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of this process's own, which file modes bind (they do not bind root)."""
    directory = Path(tempfile.mkdtemp(prefix="dedupd-test-"))
    user = os.geteuid()
    try:
        if user == 0:
            os.chown(directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        yield directory
    finally:
        os.seteuid(user)
        shutil.rmtree(directory)


HOLDER = """
import asyncio, sys
from pathlib import Path
from dedupd.store.sqlite import SqliteStore
from tests.contract.stores import ORIGIN

async def main() -> None:
    store = SqliteStore(Path(sys.argv[1]), origin=ORIGIN)
    await store.open()
    print("open", flush=True)
    sys.stdin.read()
    await store.close()

asyncio.run(main())
"""


@contextmanager
def served_by_another_process(path: Path) -> Iterator[int]:
    """Another process serves the database; gives its id."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process.pid
        process.communicate(timeout=30)
    assert process.returncode == 0


class TestServed:
    async def test_by_one_process_at_a_time(self, path: Path) -> None:
        with served_by_another_process(path) as pid:
            with pytest.raises(ConfigError, match=f"process {pid} serves it already") as refused:
                await serving(path).open()
            assert str(path) in refused.value.message
        await filled(path)

    async def test_by_one_of_two_that_start_at_once(self, path: Path) -> None:
        stores = [serving(path) for _ in range(8)]
        outcomes = await asyncio.gather(*(store.open() for store in stores), return_exceptions=True)
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert len(refused) == 7
        assert all(isinstance(outcome, ConfigError) for outcome in refused)
        await asyncio.gather(*(store.close() for store in stores))

    async def test_ends_the_leases_of_earlier_processes(self, path: Path) -> None:
        store = serving(path)
        await store.open()
        await store.register(Worker("w1", "h", 1, NOW + 1000))
        await store.close()
        await store.open()
        assert await store.workers() == []
        assert not await store.keep_alive("w1", NOW + 2000)
        await store.close()

    async def test_a_lock_at_the_start_is_waited_for(self, path: Path) -> None:
        store = serving(path)
        await store.open()
        await store.register(Worker("w1", "h", 1, NOW + 1000))
        await store.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.open()
            opening = asyncio.create_task(store.open())
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
            await opening
        await store.close()


class TestBeside:
    async def test_needs_a_database(self, path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            await beside(path).open()
        assert modes(path.parent) == {}

    async def test_is_refused_where_the_key_is_another(self, path: Path) -> None:
        await filled(path)
        of_another_key(path)
        with pytest.raises(ConfigError, match="identity key"):
            await beside(path).open()

    async def test_is_refused_where_the_region_is_another(self, path: Path) -> None:
        await filled(path)
        of_another_region(path)
        with pytest.raises(ConfigError, match="Set region_name = RegionTwo"):
            await beside(path).open()

    async def test_sees_and_changes_what_the_server_has(self, path: Path) -> None:
        server, tool = serving(path), beside(path)
        await server.open()
        await server.register(Worker("w1", "h", 1, NOW + 1000))
        _, stored = await server.claim(make_record(), b"payload")
        await tool.open()
        assert await tool.read([stored.record.id]) == {stored.record.id: stored}
        assert [worker.id for worker in await tool.workers()] == ["w1"]
        cancelled = request.cancel(stored.record, NOW, detail="by an operator", keep=60)
        written = await tool.swap(stored.record, cancelled)
        assert written is not None
        assert await server.swap(stored.record, stored.record) is None
        assert (await server.read([written.id]))[written.id].record == written
        assert written.state is State.CANCELLED
        again = await server.swap(written, written)
        assert again is not None
        assert again.version > written.version > stored.record.version
        await tool.close()
        await server.close()
