"""Long reads: apart from everything else, and never without end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from dedupd.errors import Engine, NotFound
from dedupd.ports import StoreUnavailable
from dedupd.store.scan import Scans

ENGINE = Engine("The database", "/srv/records.db")
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.fixture
async def scans() -> AsyncIterator[Scans]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        scans = Scans(connection, ENGINE, patience=0.2)
        yield scans
        await scans.close()


def count(cursor: sqlite3.Cursor) -> int:
    [(number,)] = cursor.execute("SELECT 42")
    return int(number)


def endless(cursor: sqlite3.Cursor) -> list[tuple[int]]:
    return cursor.execute(ENDLESS).fetchall()


async def test_gives_what_it_finds(scans: Scans) -> None:
    assert await asyncio.gather(*(scans.run(count) for _ in range(5))) == [42] * 5


async def test_a_fault_of_the_database_is_named(scans: Scans) -> None:
    named = "The database /srv/records.db: no such table: missing"
    with pytest.raises(StoreUnavailable, match=named) as caught:
        await scans.run(lambda cursor: cursor.execute("SELECT 1 FROM missing"))
    assert caught.value.message == "The database: no such table: missing."


async def test_other_errors_pass(scans: Scans) -> None:
    def fail(_cursor: sqlite3.Cursor) -> None:
        raise NotFound("not there")

    with pytest.raises(NotFound, match="not there"):
        await scans.run(fail)


async def test_one_without_end_is_ended(scans: Scans) -> None:
    with pytest.raises(StoreUnavailable, match=r"nothing found within 0\.2 s"):
        await scans.run(endless)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await scans.run(count) == 42
            except StoreUnavailable:  # the one before may still be on its way out
                await asyncio.sleep(0.01)
            else:
                break


async def test_closing_ends_what_is_under_way() -> None:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        scans = Scans(connection, ENGINE, patience=60)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read(cursor: sqlite3.Cursor) -> list[tuple[int]]:
            cursor.execute("SELECT 1")
            loop.call_soon_threadsafe(begun.set)
            return endless(cursor)

        call = asyncio.create_task(scans.run(read))
        await begun.wait()
        await scans.close()
        with pytest.raises(StoreUnavailable, match="interrupted"):
            await call
