"""Group commit by itself: batches, errors of one and of all, hanging disks, and the end."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from dedupd.errors import Engine
from dedupd.ports import StoreUnavailable
from dedupd.store.group import BATCH, GroupCommit, Operation

DEADLINE = 10.0
ENGINE = Engine("The database", "/srv/records.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "group.db"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value)")
        connection.execute("INSERT INTO meta VALUES ('version', 0)")
        connection.execute("CREATE TABLE rows (value)")
    return path


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@asynccontextmanager
async def grouping(
    path: Path, *, in_place: Callable[[], bool] = lambda: True, patience: float = DEADLINE
) -> AsyncIterator[GroupCommit]:
    with closing(connect(path)) as connection:
        group = GroupCommit(connection, in_place, ENGINE, patience=patience)
        yield group
        await group.close()


def add(value: object) -> Operation[int]:
    """An operation that adds a row; gives its version."""

    def execute(cursor: sqlite3.Cursor, version: int) -> int:
        cursor.execute("INSERT INTO rows VALUES (?)", (value,))
        return version

    return execute


def rows(path: Path) -> list[object]:
    with closing(connect(path)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM rows")]


class TestBatch:
    async def test_what_gathers_is_committed_together(self, path: Path) -> None:
        statements: list[str] = []
        with closing(connect(path)) as connection:
            connection.set_trace_callback(statements.append)
            group = GroupCommit(connection, lambda: True, ENGINE)
            versions = await asyncio.gather(*(group.write(add(n)) for n in range(BATCH * 3)))
            await group.close()
        assert statements.count("COMMIT") == 3
        assert rows(path) == list(range(BATCH * 3))
        assert versions == sorted(set(versions))

    async def test_a_single_one_waits_for_no_other(self, path: Path) -> None:
        async with grouping(path) as group:
            for value in range(5):
                await group.write(add(value))
                assert rows(path) == list(range(value + 1))

    async def test_what_follows_the_commit_is_called(self, path: Path) -> None:
        seen: list[int] = []
        async with grouping(path) as group:
            version = await group.write(add("a"), seen.append)
        assert seen == [version]

    async def test_what_nobody_waits_for_is_not_begun(self, path: Path) -> None:
        async with grouping(path) as group:
            calls = [asyncio.create_task(group.write(add(value))) for value in "abc"]
            await asyncio.sleep(0)
            calls[1].cancel()
            await asyncio.wait(calls)
            calls = [asyncio.create_task(group.write(add(value))) for value in "de"]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        assert rows(path) == ["a", "c"]


class TestErrors:
    async def test_of_one_operation_are_its_own(self, path: Path) -> None:
        def fail(_cursor: sqlite3.Cursor, _version: int) -> None:
            raise ValueError("of its own")

        async with grouping(path) as group:
            outcomes = await asyncio.gather(
                group.write(add("a")),
                group.write(fail),
                group.write(add(1 << 64)),
                group.write(add("b")),
                return_exceptions=True,
            )
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [int, ValueError, OverflowError, int]
        assert rows(path) == ["a", "b"]

    async def test_a_value_too_large_fails_alone(self, path: Path) -> None:
        with closing(connect(path)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
            group = GroupCommit(connection, lambda: True, ENGINE)
            outcomes = await asyncio.gather(
                *(group.write(add(value)) for value in ("a", bytes(1001), "b")),
                return_exceptions=True,
            )
            await group.close()
        assert isinstance(outcomes[1], StoreUnavailable)
        assert "cannot be stored: string or blob too big" in str(outcomes[1])
        assert rows(path) == ["a", "b"]

    async def test_of_the_database_fail_the_batch_and_leave_nothing(self, path: Path) -> None:
        def corrupt(cursor: sqlite3.Cursor, _version: int) -> None:
            cursor.execute("INSERT INTO no_such_table VALUES (1)")

        seen: list[int] = []
        async with grouping(path) as group:
            outcomes = await asyncio.gather(
                group.write(add("a"), seen.append),
                group.write(corrupt),
                group.write(add("b"), seen.append),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
            assert isinstance(outcomes[0], StoreUnavailable)
            assert outcomes[0].message == "The database: no such table: no_such_table."
            assert str(outcomes[0]).startswith("The database /srv/records.db: no such table")
            assert (rows(path), seen) == ([], [])
            await group.write(add("c"))
        assert rows(path) == ["c"]

    async def test_where_the_file_is_gone(self, path: Path) -> None:
        there = False
        async with grouping(path, in_place=lambda: there) as group:
            with pytest.raises(StoreUnavailable, match="moved or deleted"):
                await group.write(add("a"))
            there = True
            await group.write(add("b"))
        assert rows(path) == ["b"]


class TestLocked:
    async def test_a_lock_is_waited_for(self, path: Path) -> None:
        async with grouping(path) as group:
            with closing(connect(path)) as other:
                other.execute("BEGIN EXCLUSIVE")
                call = asyncio.create_task(group.write(add("a")))
                for _ in range(1000):
                    await asyncio.sleep(0)
                assert not call.done()
                other.execute("COMMIT")
                await call
        assert rows(path) == ["a"]

    async def test_a_lasting_lock_fails_all_that_wait_and_holds_nobody_else(
        self, path: Path
    ) -> None:
        async with grouping(path) as group:
            with closing(connect(path)) as other:
                other.execute("BEGIN EXCLUSIVE")
                calls = [asyncio.create_task(group.write(add(value))) for value in range(3)]
                rounds = 0
                while not all(call.done() for call in calls):
                    await asyncio.sleep(0.001)
                    rounds += 1
                assert rounds > 20
                for call in calls:
                    assert "locked" in str(call.exception())
                other.execute("ROLLBACK")
            await group.write(add("after"))
        assert rows(path) == ["after"]


class TestHangs:
    async def test_nobody_waits_longer_than_the_patience(self, path: Path) -> None:
        async with grouping(path, patience=0.05) as group:
            with closing(connect(path)) as other:
                other.execute("BEGIN EXCLUSIVE")
                first = asyncio.create_task(group.write(add("a")))
                await asyncio.sleep(0.01)
                second = asyncio.create_task(group.write(add("b")))
                for call in (first, second):
                    with pytest.raises(StoreUnavailable, match="does not answer"):
                        await call
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    await group.write(add("c"))
                other.execute("COMMIT")
            await until_it_writes(group)
        assert rows(path)[-1] == "d"
        assert "b" not in rows(path)
        assert "c" not in rows(path)


async def until_it_writes(group: GroupCommit) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await group.write(add("d"))
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                return


UNCLOSED = """
import asyncio, sqlite3, sys
from dedupd.errors import Engine
from dedupd.store.group import GroupCommit

async def main() -> None:
    connection = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
    group = GroupCommit(connection, lambda: True, Engine("The database", sys.argv[1]))

    def add(cursor: sqlite3.Cursor, version: int) -> None:
        cursor.execute("INSERT INTO rows VALUES ('a')")

    await group.write(add)
    calls = [asyncio.create_task(group.write(add)) for _ in range(10)]
    await asyncio.sleep(0)

asyncio.run(main())
"""


class TestEnd:
    async def test_commits_what_has_gathered(self, path: Path) -> None:
        async with grouping(path) as group:
            calls = [asyncio.create_task(group.write(add(value))) for value in range(250)]
            await asyncio.sleep(0)
        assert all(call.done() for call in calls)
        assert rows(path) == list(range(250))

    async def test_takes_nothing_more(self, path: Path) -> None:
        async with grouping(path) as group:
            pass
        with pytest.raises(StoreUnavailable, match="closed"):
            await group.write(add("a"))

    def test_a_process_that_forgets_it_ends(self, path: Path) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", UNCLOSED, str(path)],
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert rows(path)[:1] == ["a"]
