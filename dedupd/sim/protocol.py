"""Uvicorn's HTTP protocol, with a way to abort the connection under a request."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dedupd.sim.app import ABORT


class AbortableProtocol(HttpToolsProtocol):
    """Offers `transport.abort` to the application as an ASGI extension of each request."""

    def on_message_begin(self) -> None:
        """Begin a request as uvicorn does, and add the extension to its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
