"""py-amqp's connection, with far fewer system calls.

By itself it makes nine for a message that comes in (each frame is read in three pieces) and one or
more for each that goes out. Every one of them gives the interpreter's lock away, which a thread
beside a busy event loop is slow to win back. Here one reads all that has come, and one writes all
that has gathered.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from amqp import transport
from kombu.transport import pyamqp

CHUNK = 65536
"""How many bytes are read at a time."""


class Wire:
    """A connected socket; for one thread.

    What is written is kept back until ``flush``, or until something must be waited for. ``read``
    waits (as long as the socket's own time-outs say) while ``patient`` is set.
    """

    def __init__(self, connected: Any) -> None:
        self.patient = True
        self._socket = connected
        self._has_tls = isinstance(connected, ssl.SSLSocket)
        self._came: bytes = b""
        self._at = 0
        self._goes = bytearray()

    def write(self, data: Any) -> None:
        """Keep bytes until they are flushed."""
        self._goes += data

    def flush(self) -> None:
        """Send what was kept.

        Raises:
            OSError: it cannot be sent, or not in time.
        """
        if self._goes:
            data, self._goes = self._goes, bytearray()
            self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """One to ``size`` bytes, or none at the end of the stream.

        Raises:
            TimeoutError: nothing has come, or not in time.
            OSError: the connection is broken.
        """
        if self._at == len(self._came):
            self._came, self._at = self._receive(), 0
        piece = self._came[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _receive(self) -> bytes:
        try:
            if self.patient:
                self.flush()
                received: bytes = self._socket.recv(CHUNK)
            elif self._has_tls:
                received = self._receive_at_once()
            else:
                received = self._socket.recv(CHUNK, socket.MSG_DONTWAIT)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise TimeoutError("it does not answer") from None
        return received

    def _receive_at_once(self) -> bytes:
        """With TLS bytes may have come of which nothing can be read yet."""
        seconds = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            received: bytes = self._socket.recv(CHUNK)
        finally:
            self._socket.settimeout(seconds)
        return received


class _Wired:
    """py-amqp's transport on a ``Wire``, once it is connected."""

    sock: Any
    wire: Wire

    def _setup_transport(self) -> None:
        super()._setup_transport()  # type: ignore[misc]
        self.wire = Wire(self.sock)
        self._write = self.wire.write
        self._quick_recv = self.wire.read

    def _shutdown_transport(self) -> None:
        """Nothing: AMQP has its own farewell, and TLS's could wait for a broker that is gone."""


class _TcpTransport(_Wired, transport.TCPTransport):
    pass


class _TlsTransport(_Wired, transport.SSLTransport):
    pass


class MortalChannel(pyamqp.Channel):
    """A channel that ends with the broker's first exception, and so ends its connection too.

    py-amqp would open it again in silence, without its confirms and its consumers.
    """

    def _do_revive(self) -> None:
        """Nothing: the exception is raised next."""


class WiredConnection(pyamqp.Connection):
    """py-amqp's connection on such a transport."""

    Channel = MortalChannel

    def Transport(  # noqa: N802 - py-amqp names it so
        self,
        host: str,
        connect_timeout: float | None,
        tls: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """The transport for an address."""
        kind = _TlsTransport if tls else _TcpTransport
        return kind(
            host,
            connect_timeout,
            ssl=tls,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            **options,
        )


class WiredTransport(pyamqp.Transport):
    """What kombu takes as ``transport``."""

    Connection = WiredConnection
