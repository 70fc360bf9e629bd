"""The simulated Nova beside the front: uvicorn speaks of its server only where that matters."""

from __future__ import annotations

import asyncio
import logging

import pytest
from starlette.responses import PlainTextResponse

from dedupd.cmd.serve import listen, serving
from dedupd.cmd.standalone import SimulatedCloud
from dedupd.conf.values import Address


async def test_the_start_of_one_server_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")
    async with SimulatedCloud().serving():
        pass
    assert caplog.messages == []
    async with serving(PlainTextResponse("ok"), listen(Address("127.0.0.1", 0)), 1.0):
        pass
    assert [message.split(" [")[0] for message in caplog.messages] == [
        "Started server process",
        "Shutting down",
        "Finished server process",
    ]


async def test_what_goes_wrong_in_the_simulated_one_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with SimulatedCloud().serving():
        said = asyncio.create_task(_warn(), name=SimulatedCloud.NAME)
        await said
    assert caplog.messages == ["something"]


async def _warn() -> None:
    logging.getLogger("uvicorn.error").warning("something")
