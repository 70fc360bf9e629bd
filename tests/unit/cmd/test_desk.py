"""An operator's action is one compare-and-swap, beside whoever else changes records."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dedupd import conf, request
from dedupd.cmd.request.cells import Cell, row, whole
from dedupd.cmd.request.deeds import Desk
from dedupd.cmd.request.desk import operator, write_down
from dedupd.errors import BadRequest, Conflict, NotFound
from dedupd.request import Record, State
from dedupd.seal import Keys
from dedupd.store.memory import MemoryStore

ID = "0123456789abcdef" * 2
RECORD = Record(
    id=ID,
    birth="b1",
    project_id="p1",
    user_id="u1",
    route="server create",
    path="/v2.1/servers",
    fingerprint=b"",
    parts={},
    created_at=1_800_000_000.0,
)


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    overrides = {"state_path": str(tmp_path), "auth.strategy": "noauth"}
    settings = conf.load([], overrides=overrides)
    store = MemoryStore(time.time)
    await store.open()
    await store.claim(RECORD, b"payload")
    return Desk(
        keys=Keys(b"i" * 32, {1: b"s" * 32}),
        store=store,
        clock=time.time,
        result_seconds=60.0,
        operator=operator(),
        written=partial(write_down, settings),
    )


async def test_a_move_is_written_and_logged(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oslo_log.log.setup", lambda *_: None)
    found = (await desk.find(ID)).record
    caplog.set_level(logging.INFO)
    detail = f"cancelled by {operator()}"
    await desk.move(found, request.cancel(found, desk.clock(), detail=detail, keep=60))
    assert (await desk.find(ID)).record.state is State.CANCELLED
    assert f"{ID}: {detail} (project p1)" in caplog.text


@pytest.fixture
def commands_logging() -> Iterator[None]:
    """Commands let warnings through, until they set up more."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.WARNING)
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("commands_logging")
async def test_a_move_is_told_here_where_the_log_cannot_be_written(
    desk: Desk, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    overrides = {"auth.strategy": "noauth", "log_dir": str(tmp_path / "none")}
    written = partial(write_down, conf.load([], overrides=overrides))
    found = (await desk.find(ID)).record
    after = request.cancel(found, desk.clock(), detail="cancelled", keep=60)
    await replace(desk, written=written).move(found, after)
    assert "none/dedupd.log cannot be written" in caplog.text
    assert f"{ID}: cancelled (project p1)" in caplog.text


async def test_a_move_that_comes_too_late_changes_nothing(desk: Desk) -> None:
    before = (await desk.find(ID)).record
    sending = request.begin_send(before, "w1", desk.clock(), 30)
    await desk.store.swap(before, sending)
    with pytest.raises(Conflict, match="was queued and has moved meanwhile: it is sending now"):
        await desk.move(before, request.cancel(before, desk.clock(), detail="", keep=60))
    assert (await desk.find(ID)).record.state is State.SENDING


async def test_a_move_of_what_is_gone(desk: Desk) -> None:
    before = (await desk.find(ID)).record
    await desk.store.forget(before)
    with pytest.raises(Conflict, match="it is gone"):
        await desk.move(before, request.send_again(before, "again"))


@pytest.mark.parametrize("text", ["", "x", ID.upper(), ID + "0", f" {ID}"])
async def test_what_is_no_id(desk: Desk, text: str) -> None:
    with pytest.raises(BadRequest, match="is no request's id"):
        await desk.find(text)


async def test_an_id_without_a_record(desk: Desk) -> None:
    with pytest.raises(NotFound, match="There is no request ffff"):
        await desk.find("f" * 32)


def test_the_operator_is_this_processs_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert "somebody-else" not in operator()
    monkeypatch.setenv("SUDO_USER", "alice")
    assert operator().endswith(" (alice by sudo)")


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert operator() == "operator 4000000"


def test_cells_are_readable_and_plain() -> None:
    attempt = {"started_at": "t1", "outcome": "answered", "status": 202, "detail": ""}
    assert str(Cell(None)) == ""
    assert str(Cell([attempt, attempt])) == "t1 answered 202\nt1 answered 202"
    assert str(Cell({"type": "server", "id": "s1"})) == "server s1"
    assert Cell([attempt]).machine_readable() == [attempt]


def test_a_row_and_the_whole_record() -> None:
    assert row(RECORD)[:4] == (ID, "queued", "p1", "server create")
    names, values = whole(RECORD)
    assert len(names) == len(values)
    assert "links" not in names
