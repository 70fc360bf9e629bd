"""A TCP proxy that can lose what goes through it, in one direction or all, or hold it up."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Mode(enum.Enum):
    """What becomes of the bytes that arrive."""

    PASS = enum.auto()
    LOSE_ANSWERS = enum.auto()
    LOSE_REQUESTS = enum.auto()
    HOLD_REQUESTS = enum.auto()


class Proxy:
    """Stands before one server; nothing is lost until it is told to."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.mode = Mode.PASS
        self.lost = asyncio.Event()
        """Something has been lost, or is held, since the mode was set."""
        self._released = asyncio.Event()

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def lose(self, mode: Mode) -> None:
        self.lost.clear()
        self.mode = mode

    def hold(self) -> None:
        """Keep what comes for the server until ``release``."""
        self._released.clear()
        self.lose(Mode.HOLD_REQUESTS)

    def release(self) -> None:
        """Let what was held, and what comes next, pass."""
        self.mode = Mode.PASS
        self._released.set()

    def cut(self) -> None:
        """Break all connections off, and let what comes next pass."""
        self.mode = Mode.PASS
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pump(reader, back, Mode.LOSE_REQUESTS))
                directions.create_task(self._pump(there, writer, Mode.LOSE_ANSWERS))
        finally:
            self._writers -= {writer, back}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: Mode
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.mode is losing:
                    self.lost.set()
                    continue
                if self.mode is Mode.HOLD_REQUESTS and losing is Mode.LOSE_REQUESTS:
                    self.lost.set()
                    await self._released.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def proxy_before(target: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
