"""What only the SQLite store has: full and locked disks, a moved file, records in number."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dedupd import request
from dedupd.ports import Query, Stored, StoreUnavailable, Unreadable, Worker
from dedupd.request import Record, State
from dedupd.store import statements
from dedupd.store.group import Full
from dedupd.store.sqlite import MOST_LOOKS, SqliteStore
from tests.contract.stores import NOW, ORIGIN, Clock, make_record

PAYLOAD = bytes(4000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, origin=ORIGIN, clock=Clock())
    await store.open()
    yield store
    await store.close()


def writer(store: SqliteStore) -> sqlite3.Connection:
    assert store._opened is not None
    return store._opened.files.writer


async def claimed(store: SqliteStore, number: int) -> Record:
    new, stored = await store.claim(make_record(number), PAYLOAD)
    assert new
    return stored.record


class TestFull:
    async def test_nothing_is_done_and_later_all_works_again(
        self, store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        record = await claimed(store, 0)
        [(pages,)] = writer(store).execute("PRAGMA page_count")
        writer(store).execute(f"PRAGMA max_page_count = {pages + 8}").fetchall()
        outcomes = await asyncio.gather(
            *(store.claim(make_record(number), PAYLOAD) for number in range(1, 50)),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Full] * 49
        assert "disk is full, so that nothing was stored" in str(outcomes[0])
        assert str(path) not in str(outcomes[0])
        assert not Full.in_doubt
        assert "database or disk is full: free some space there" in caplog.text
        assert await store.find(Query()) == [record]
        assert await store.read([record.id]) == {record.id: Stored(record, PAYLOAD)}

        writer(store).execute("PRAGMA max_page_count = 1000000").fetchall()
        assert await store.swap(record, record) is not None
        for number in range(1, 50):
            await claimed(store, number)


NO_ROOM = """
import asyncio, resource, sys
from dedupd.ports import Query, StoreUnavailable
from dedupd.store.sqlite import SqliteStore
from tests.contract.stores import ORIGIN, make_record

async def main() -> None:
    store = SqliteStore(sys.argv[1], origin=ORIGIN)
    await store.open()
    taken = [await store.claim(make_record(0), bytes(4000))]
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    failed = None
    while failed is None:
        try:
            taken.append(await store.claim(make_record(len(taken)), bytes(4000)))
        except StoreUnavailable as error:
            failed = str(error)
    there = await store.find(Query(limit=1000))
    assert there == [stored.record for _, stored in reversed(taken)], "half done"
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    new, _ = await store.claim(make_record(len(taken)), bytes(4000))
    assert new
    await store.close()
    print(len(taken), failed)

asyncio.run(main())
"""


class TestNoRoomForTheLog:
    def test_a_commit_that_cannot_be_written_is_undone(self, path: Path) -> None:
        ended = subprocess.run(
            [sys.executable, "-c", NO_ROOM, str(path)],
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert ended.returncode == 0, ended.stderr
        count, _, failed = ended.stdout.partition(" ")
        assert int(count) > 5
        assert "disk" in failed
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("SELECT count(*) FROM requests").fetchall() == [
                (int(count) + 1,)
            ]


class TestLocked:
    async def test_writes_fail_reads_go_on_and_later_all_works_again(
        self, store: SqliteStore, path: Path
    ) -> None:
        record = await claimed(store, 0)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            calls: list[asyncio.Task[Any]] = [
                asyncio.create_task(store.swap(record, record)) for _ in range(5)
            ]
            calls.append(asyncio.create_task(store.begin(record, record, "w1")))
            rounds = 0
            while not all(call.done() for call in calls):
                assert list(await store.read([record.id])) == [record.id]
                assert await store.pending(10) == [record]
                new, found = await store.claim(make_record(0), b"")
                assert (new, found.record) == (False, record)
                rounds += 1
            assert rounds > 20
            for call in calls:
                assert isinstance(call.exception(), StoreUnavailable)
            other.execute("COMMIT")
        assert await store.swap(record, record) is not None


class TestBegin:
    async def test_without_a_payload_nothing_begins(self, store: SqliteStore) -> None:
        await store.register(Worker("w1", "h", 1, NOW + 1))
        record = await claimed(store, 0)
        writer(store).execute("UPDATE requests SET payload = NULL")
        assert await store.begin(record, record, "w1") is None
        assert (await store.read([record.id]))[record.id] == Stored(record)


class TestMoved:
    async def test_nothing_is_acknowledged_that_a_restart_would_not_find(
        self, store: SqliteStore, path: Path
    ) -> None:
        record = await claimed(store, 0)
        move(path, path.with_suffix(".bak"))
        with pytest.raises(StoreUnavailable, match="moved or deleted"):
            await store.swap(record, record)
        move(path.with_suffix(".bak"), path)
        assert await store.swap(record, record) is not None


def move(source: Path, target: Path) -> None:
    source.rename(target)


class TestCorruptedWhileOpen:
    async def test_nothing_is_guessed(self, store: SqliteStore, path: Path) -> None:
        record = await claimed(store, 0)
        await store.close()
        await store.open()
        scribble(path)
        with pytest.raises(StoreUnavailable, match="malformed"):
            await store.read([record.id])
        with pytest.raises(StoreUnavailable, match="malformed"):
            await store.claim(make_record(1), PAYLOAD)
        with pytest.raises(StoreUnavailable, match="malformed"):
            await store.pending(10)


def scribble(path: Path) -> None:
    """Overwrites every page but the first, which names the tables."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


class TestRecovered:
    async def test_after_a_crash_of_the_connection_amid_a_transaction(
        self, store: SqliteStore
    ) -> None:
        record = await claimed(store, 0)
        writer(store).execute("BEGIN")  # as a rollback that failed would leave it
        with pytest.raises(StoreUnavailable, match="transaction"):
            await store.swap(record, record)
        assert await store.swap(record, record) is not None


class TestNotOpen:
    async def test_every_operation_says_so(self, path: Path) -> None:
        store = SqliteStore(path, origin=ORIGIN)
        record = make_record()
        calls = [
            store.claim(record, b""),
            store.read([record.id]),
            store.swap(record, record),
            store.begin(record, record, "w1"),
            store.forget(record),
            store.pending(1),
            store.overdue(NOW, 1),
            store.find(Query()),
            store.depth(),
            store.register(Worker("w1", "h", 1, NOW)),
            store.keep_alive("w1", NOW),
            store.retire("w1"),
            store.workers(),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="is not open"):
                await call
        await store.close()

    async def test_closed_and_opened_again_it_works(self, store: SqliteStore) -> None:
        record = await claimed(store, 0)
        await store.close()
        with pytest.raises(StoreUnavailable, match="is not open"):
            await store.read([record.id])
        await store.open()
        assert list(await store.read([record.id])) == [record.id]


class TestRace:
    async def test_a_claim_that_loses_after_its_look_is_told_who_won(
        self, store: SqliteStore, path: Path
    ) -> None:
        """Both look, find nothing, and gather into one batch."""
        calls = [store.claim(make_record(birth=f"b{n}"), str(n).encode()) for n in range(2)]
        (first, winner), (second, found) = await asyncio.gather(*calls)
        assert (first, second) == (True, False)
        assert found == winner


class TestMany:
    async def test_many_are_read_at_once(self, store: SqliteStore) -> None:
        number = MOST_LOOKS * 3
        records = await asyncio.gather(*(claimed(store, n) for n in range(number)))
        found = await store.read([record.id for record in records])
        assert [each.record for each in found.values()] == records

    @pytest.mark.parametrize(
        ("statement", "index"),
        [
            (statements.READ, "requests_by_id"),
            (statements.PENDING, "requests_pending"),
            (statements.DEPTH, "requests_pending"),
            (statements.OVERDUE, "requests_by_expiry"),
            (statements.SWAP, "requests_by_id"),
            (statements.swap(by_worker=True, of_gone=True), "requests_by_id"),
            (statements.FORGET, "requests_by_id"),
        ],
    )
    async def test_each_statement_goes_by_an_index(
        self, store: SqliteStore, statement: str, index: str
    ) -> None:
        plan = [
            detail
            for *_, detail in writer(store).execute(
                f"EXPLAIN QUERY PLAN {statement}", _values(statement)
            )
        ]
        assert any(index in detail for detail in plan)
        assert not any("SCAN requests" in detail and index not in detail for detail in plan)

    @pytest.mark.parametrize(
        ("query", "step"),
        [
            (Query(), "SCAN requests"),
            (Query(project_id="p1"), "requests_by_project (project_id=?)"),
            (Query(states=frozenset({State.UNKNOWN})), "requests_pending"),
            (Query(project_id="p1", states=frozenset({State.UNKNOWN})), "requests_pending"),
        ],
    )
    async def test_no_list_is_sorted(self, store: SqliteStore, query: Query, step: str) -> None:
        await claimed(store, 0)
        seen: list[str] = []
        connection = writer(store)
        connection.set_trace_callback(seen.append)
        statements.find(connection.cursor(), query)
        connection.set_trace_callback(None)
        plan = [detail for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {seen[-1]}")]
        assert len(plan) == 1
        assert step in plan[0]


def _values(statement: str) -> tuple[object, ...] | dict[str, object]:
    """Something for each of a statement's parameters."""
    if ":" in statement:
        names = "version state birth before_version before_birth expires_at record pending"
        more = "answered tombstone result id worker gone now"
        return dict.fromkeys(f"{names} {more}".split())
    return (None,) * statement.count("?")


class TestLog:
    async def test_only_the_servers_writer_moves_it_into_the_database(
        self, store: SqliteStore, path: Path
    ) -> None:
        tool = SqliteStore(path, origin=ORIGIN, exclusive=False)
        await tool.open()
        found = []
        for opened in (store._opened, tool._opened):
            assert opened is not None
            for connection in (opened.files.writer, opened.files.looker, opened.files.scanner):
                found += connection.execute("PRAGMA wal_autocheckpoint").fetchall()
        await tool.close()
        assert found == [(1000,), (0,), (0,), (0,), (0,), (0,)]

    async def test_each_commit_reaches_the_disk(self, store: SqliteStore) -> None:
        assert writer(store).execute("PRAGMA synchronous").fetchall() == [(2,)]  # FULL
        assert writer(store).execute("PRAGMA journal_mode").fetchall() == [("wal",)]

    async def test_it_does_not_grow_without_end(self, store: SqliteStore, path: Path) -> None:
        for start in range(0, 2000, 100):
            await asyncio.gather(*(claimed(store, start + n) for n in range(100)))
        assert size(path.with_name("records.db-wal")) < size(path)


def size(path: Path) -> int:
    return path.stat().st_size


class TestContents:
    async def test_a_pending_payload_is_deleted_for_good(
        self, store: SqliteStore, path: Path
    ) -> None:
        record = await claimed(store, 0)
        done = request.finish(record, NOW, status=202, resource=None, keep=60)
        assert await store.swap(record, done, result=b"answer") is not None
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT payload, result FROM requests").fetchall() == [
                (None, b"answer")
            ]


class TestUnreadable:
    """What a later dedupd has written, or any other hand."""

    @pytest.fixture
    async def foreign(self, store: SqliteStore) -> Record:
        records = [await claimed(store, number) for number in range(3)]
        cut = "UPDATE requests SET record = substr(record, 1, 20) WHERE id = ?"
        writer(store).execute(cut, (records[1].id,))
        return records[1]

    async def test_it_is_passed_over_by_whoever_reads_many(
        self, store: SqliteStore, foreign: Record, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert len(await store.pending(10)) == 2
        assert len(await store.find(Query())) == 2
        assert f"what is stored of {foreign.id} is not one of dedupd's records" in caplog.text

    async def test_it_is_not_taken_for_one_that_is_not_there(
        self, store: SqliteStore, foreign: Record
    ) -> None:
        with pytest.raises(Unreadable, match=foreign.id):
            await store.read([foreign.id])
        with pytest.raises(Unreadable, match=foreign.id):
            await store.claim(make_record(1), PAYLOAD)
