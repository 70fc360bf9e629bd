"""Writing to a caller with fewer system calls: uvicorn writes an answer's head, then its body."""

from __future__ import annotations

import asyncio
from typing import Any

LINGER_SECONDS = 30.0
"""How long a connection that is closed may still take for what was written before."""


class Outgoing:
    """A connection's transport that writes what comes within one round of the loop together.

    Two writes are two system calls, two TCP segments, and wake the caller twice. Everything but
    ``write`` and ``close`` is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write in the loop's next round; nothing is said of what reaches the other side."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def close(self) -> None:
        """Write what is left, and close; whoever does not read it is not waited for for ever."""
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered and not self._transport.is_closing():
            self._transport.write(b"".join(gathered))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
