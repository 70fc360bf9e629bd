"""WSGI applications over HTTP, by cheroot, on ports that are known before anything is served."""

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from cheroot import wsgi

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

SOCKET = "realnova.socket"
"""Key of a request's environment under which its connection's socket is found."""


def bind(host: str, port: int) -> socket.socket:
    """Take a port (0: any free one) without listening yet."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken.bind((host, port))
    return taken


def port_of(taken: socket.socket) -> int:
    """The port that a socket is bound to."""
    port: int = taken.getsockname()[1]
    return port


class _Gateway(wsgi.Gateway_10):
    """Shows an application the socket of its connection."""

    def get_environ(self) -> Environ:
        environ: Environ = super().get_environ()
        environ[SOCKET] = self.req.conn.socket
        return environ


class _Server(wsgi.Server):
    """A server on a port that is taken already."""

    def __init__(self, taken: socket.socket, application: Application, threads: int) -> None:
        self._taken = taken
        super().__init__(
            taken.getsockname(),
            application,
            numthreads=threads,
            request_queue_size=128,
            timeout=60,
        )
        self.gateway = _Gateway

    def bind(self, *_: object) -> socket.socket:
        """Where cheroot would take a port."""
        self.socket = self._taken
        return self._taken


def serve(taken: socket.socket, application: Application, threads: int) -> None:
    """Listen on `taken` and serve in background threads until the process ends."""
    server = _Server(taken, application, threads)
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
