"""What is written to a caller, and in how many pieces."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from dedupd.api.outgoing import Outgoing


class Recorder:
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        self.deeds: list[Any] = []
        self.closing = False
        self.unsent = 0
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted.set()

    def write(self, data: bytes) -> None:
        self.deeds.append(data)

    def close(self) -> None:
        self.deeds.append("close")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.deeds.append("pause")


def opened() -> tuple[Recorder, Outgoing]:
    recorder = Recorder()
    transport = cast(asyncio.Transport, recorder)
    return recorder, Outgoing(transport, asyncio.get_running_loop())


async def test_what_comes_in_one_round_is_one_piece() -> None:
    recorder, outgoing = opened()
    outgoing.write(b"head")
    outgoing.write(b"body")
    assert recorder.deeds == []
    await asyncio.sleep(0)
    assert recorder.deeds == [b"headbody"]
    outgoing.write(b"more")
    await asyncio.sleep(0)
    assert recorder.deeds == [b"headbody", b"more"]


async def test_what_is_left_goes_out_before_the_end() -> None:
    recorder, outgoing = opened()
    outgoing.write(b"last")
    outgoing.close()
    await asyncio.sleep(0)
    assert recorder.deeds == [b"last", "close"]


async def test_who_does_not_read_what_is_left_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dedupd.api.outgoing.LINGER_SECONDS", 0.0)
    recorder, outgoing = opened()
    recorder.unsent = 1
    outgoing.close()
    assert recorder.deeds == ["close"]
    await asyncio.wait_for(recorder.aborted.wait(), 30)


async def test_nothing_is_written_to_what_has_closed() -> None:
    recorder, outgoing = opened()
    outgoing.write(b"lost")
    recorder.closing = True
    await asyncio.sleep(0)
    assert recorder.deeds == []


async def test_all_else_is_the_transport_s_own() -> None:
    recorder, outgoing = opened()
    cast(asyncio.Transport, outgoing).pause_reading()
    assert recorder.deeds == ["pause"]
