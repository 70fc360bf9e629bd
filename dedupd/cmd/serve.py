"""Serving an ASGI application until a signal says to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from oslo_config import cfg
from oslo_log import log
from starlette.types import ASGIApp

from dedupd.api.protocol import FrontProtocol
from dedupd.conf.values import Address
from dedupd.errors import ConfigError

BACKLOG = 4096


def set_up_logging(options: cfg.ConfigOpts) -> None:
    """Log as the configuration says; where it names no file, to stderr, never between answers."""
    if not (options.log_file or options.log_dir):
        options.set_default("use_stderr", True)
    log.setup(options, "dedupd")


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


def listen(address: Address, *, share: bool = False) -> socket.socket:
    """A listening socket; with ``share``, other processes may listen on the address too.

    Raises:
        ConfigError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(
            (address.host, address.port), family=family, backlog=BACKLOG, reuse_port=share
        )
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]
        raise ConfigError(
            f"[api] listen: {address} cannot be listened on: {reason}. Stop what is there, or "
            "choose another port (0: any free one)."
        ) from None


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    listener: socket.socket,
    stop_seconds: float,
    protocol: type[asyncio.Protocol] = FrontProtocol,
) -> AsyncIterator[None]:
    """Serve beside the block; at its end accept nothing more and let exchanges end.

    Args:
        app: The application.
        listener: From ``listen``.
        stop_seconds: How long exchanges may go on after the end.
        protocol: How HTTP is spoken.
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
        timeout_graceful_shutdown=max(1, round(stop_seconds)),
    )
    server = Server(config)
    task = asyncio.create_task(server.serve([listener]), name="http")
    try:
        yield
    finally:
        server.should_exit = True
        await task


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
