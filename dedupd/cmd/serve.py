"""Serving an ASGI application until a signal says to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import uvicorn
from oslo_log import log
from starlette.types import ASGIApp

from dedupd.api.protocol import FrontProtocol
from dedupd.conf import Settings
from dedupd.conf.values import Address
from dedupd.errors import ConfigError

LOG = log.getLogger(__name__)

BACKLOG = 4096

ACCEPTED_AT_ONCE = 8
"""uvloop accepts one connection in each turn of its loop (libuv since 1.45), and serves everybody
who has one already in the same turn: with 256 of those a newcomer, say a health check, waited for
seconds (docs/performance.md). So many copies of the listener are served."""

LAST_CALL_SECONDS = 2.0
"""How long exchanges have to end after the last call."""


GARBAGE_THRESHOLDS = (20_000, 20, 100)
"""How many new objects make the collector look (Python's own: 700, 10, 10)."""


def settle() -> None:
    """What has been loaded by now lives as long as the process: keep the collector off it.

    Measured: a sixth less CPU for each request (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever runs it decides when it stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def listen(address: Address, *, share: bool = False, option: str = "[api] listen") -> socket.socket:
    """A listening socket; with ``share``, other processes may listen on the address too.

    ``option`` is where the address comes from.

    Raises:
        ConfigError: the address is taken, or not this machine's.
    """
    try:
        return socket.create_server(
            (address.host, address.port),
            family=_family(address),
            backlog=BACKLOG,
            reuse_port=share,
        )
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise ConfigError(
            f"{option}: {address} cannot be listened on: {reason}. Stop what is there, or "
            "choose another port (0: any free one)."
        ) from None


@contextlib.contextmanager
def reserved(address: Address) -> Iterator[Address]:
    """The address, its port chosen where it is 0, for processes that then share it by ``listen``.

    While the block runs it is nobody else's, even if none of them listens for a moment.

    Raises:
        ConfigError: somebody else has it, or it is not this machine's.
    """
    with listen(address) as alone:
        port = alone.getsockname()[1]
    with socket.socket(_family(address), socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((address.host, port))
        yield Address(address.host, port)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    listener: socket.socket,
    stop_seconds: float,
    protocol: type[asyncio.Protocol] = FrontProtocol,
    last_call: Callable[[], None] = lambda: None,
    name: str = "http",
) -> AsyncIterator[None]:
    """Serve beside the block; at its end accept nothing more and let exchanges end.

    Args:
        app: The application.
        listener: From ``listen``.
        stop_seconds: How long exchanges may go on after the end.
        protocol: How HTTP is spoken.
        last_call: What is then called; exchanges that have not ended ``LAST_CALL_SECONDS`` later
            are cancelled.
        name: The name of the task that serves it.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=round(stop_seconds + LAST_CALL_SECONDS),
    )
    server = Server(config)
    listeners = [listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))]
    task = asyncio.create_task(server.serve(listeners), name=name)
    try:
        yield
    finally:
        calling = asyncio.get_running_loop().call_later(stop_seconds, last_call)
        server.should_exit = True
        await task
        calling.cancel()


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets; a second one kills the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def reread_on_hangup(settings: Settings) -> None:
    """On SIGHUP, read again what oslo calls mutable: today the logging options."""

    def reread() -> None:
        settings.options.mutate_config_files()
        LOG.info("The configuration files were read again")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reread)
