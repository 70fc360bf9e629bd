"""Newcomers are let in beside those who are served already."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import uvloop
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from dedupd.cmd.serve import listen, serving
from dedupd.conf.values import Address

NEWCOMERS = 128
ASKED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_many_are_accepted_in_one_turn_of_the_loop() -> None:
    """Whoever has a connection is served in each turn: with one newcomer a turn, a hundred wait
    for a hundred rounds of everybody else."""
    assert uvloop.run(_turns_until_all_are_served()) < NEWCOMERS / 2


async def _turns_until_all_are_served() -> int:
    loop = asyncio.get_running_loop()
    served, turns, all_served = 0, 0, asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        await PlainTextResponse("ok")(scope, receive, send)
        if served == NEWCOMERS:
            all_served.set()

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not all_served.is_set():
            loop.call_soon(turn)

    listener = listen(Address("127.0.0.1", 0))
    address = listener.getsockname()
    with ExitStack() as stack:
        for _ in range(NEWCOMERS):
            newcomer = stack.enter_context(socket.create_connection(address))
            newcomer.sendall(ASKED)
        async with serving(application, listener, 1.0):
            turn()
            await all_served.wait()
    return turns
