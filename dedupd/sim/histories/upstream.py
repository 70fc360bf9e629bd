"""What the real pass-through takes for its session with Nova.

It carries one exchange at a time, whole. So what is seen is dedupd's own part: what aiohttp does on
a connection that turned out to be closed, and how a stream is held back, needs sockets.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from yarl import URL

from dedupd.exchange import Answer, Call
from dedupd.ports import Lost
from dedupd.sim.histories.cloud import SUBJECT, Carried, course
from dedupd.sim.histories.faults import Fault, Operation
from dedupd.sim.histories.stage import Node


class Upstream:
    """What ``PassThrough`` takes for its session with Nova."""

    def __init__(self, node: Node, seconds: float) -> None:
        self._node = node
        self._seconds = seconds

    async def request(
        self, method: str, url: URL, *, headers: Any, data: bytes | None, **_options: Any
    ) -> UpstreamAnswer:
        """One exchange; raises as aiohttp does."""
        stage = self._node.stage
        draw = stage.torment.draw(self._node.stream, Operation.FRONT_PASSING, "")
        if not self._node.befall(draw.fault, draw.size) and draw.size < 0.5:
            await stage.loop.create_future()  # for ever: the process is gone
        if draw.fault is Fault.CONNECT_REFUSED:
            raise aiohttp.ConnectionTimeoutError("no connection in time")
        fields = tuple((name.lower().encode(), text.encode()) for name, text in headers.items())
        call = Call(method, url.raw_path_qs, fields, data or b"")
        answer: asyncio.Future[Answer] = stage.loop.create_future()
        name = headers[SUBJECT.decode()]
        carried = Carried(stage, call, name, None, answer, stage.ledger.made[name])
        carried.begin(course(draw, self._seconds), self._seconds)
        try:
            return UpstreamAnswer(await answer)
        except Lost as error:
            raise aiohttp.ServerDisconnectedError(str(error)) from None


class UpstreamAnswer:
    """What ``PassThrough`` takes for aiohttp's answer."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.raw_headers = answer.headers
        self.content = self
        self._body = answer.body

    async def readany(self) -> bytes:
        """The whole body."""
        return self._body

    def at_eof(self) -> bool:
        """Whether it was read."""
        return True

    def close(self) -> None:
        """There is nothing to close."""
