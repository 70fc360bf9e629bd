"""kill -9 at random moments: what was acknowledged is there, and the database is whole."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dedupd.request import State
from dedupd.store.sqlite import SqliteStore
from tests.contract.stores import ORIGIN, request_id

CHILD = """
import asyncio, os, sys
from dedupd import request
from dedupd.ports import Worker
from dedupd.store.sqlite import SqliteStore
from tests.contract.stores import ORIGIN, NOW, make_record

def say(*words: object) -> None:
    os.write(1, " ".join(map(str, words)).encode() + b"\\n")

async def chain(store: SqliteStore, number: int) -> None:
    while True:
        new, stored = await store.claim(make_record(number), b"payload of %d" % number)
        assert new
        say(number, 0, stored.record.version)
        sending = request.begin_send(stored.record, "w1", NOW, 120)
        sending = await store.swap(stored.record, sending, worker="w1")
        say(number, 1, sending.version)
        done = request.finish(sending, NOW, status=202, resource=None, keep=60)
        done = await store.swap(sending, done, result=b"answer to %d" % number, worker="w1")
        say(number, 3, done.version)
        number += 16

async def main() -> None:
    store = SqliteStore(sys.argv[1], origin=ORIGIN)
    await store.open()
    await store.register(Worker("w1", "host", 1, 1e12))
    await asyncio.gather(*(chain(store, int(sys.argv[2]) + n) for n in range(16)))

asyncio.run(main())
"""

Acknowledged = dict[int, tuple[State, int]]


def killed_at(path: Path, first: int, acknowledgements: int) -> Acknowledged:
    """Run the child from request ``first`` on, kill it after so many lines; all that it said."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(first)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledgements)]
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9
    return {
        int(number): (State(int(state)), int(version))
        for number, state, version in (line.split() for line in lines if line.endswith(b"\n"))
    }


async def missing(path: Path, acknowledged: Acknowledged) -> list[str]:
    """What was acknowledged and is not there, or not as it was."""
    store = SqliteStore(path, origin=ORIGIN)
    await store.open()
    wrong: list[str] = []
    for number, (state, version) in acknowledged.items():
        found = (await store.read([request_id(number)])).get(request_id(number))
        if found is None or found.record.version < version or found.record.state < state:
            wrong.append(f"{number}: {state.label} {version}, found {found}")
            continue
        done = found.record.state is State.DONE
        payload = None if done else b"payload of %d" % number
        result = b"answer to %d" % number if done else None
        if (found.payload, found.result) != (payload, result):
            wrong.append(f"{number}: half done: {found}")
    await store.close()
    return wrong


@pytest.mark.parametrize("seed", range(2))
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    path = tmp_path / "records.db"
    acknowledged: Acknowledged = {}
    for _ in range(5):
        first = 16 * (max(acknowledged, default=-16) // 16 + 2)
        acknowledged |= killed_at(path, first, chance.randrange(1, 1000))
        assert asyncio.run(missing(path, acknowledged)) == []
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(acknowledged) > 16
