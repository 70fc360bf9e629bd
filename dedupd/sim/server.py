"""The HTTP server under the simulated Nova: uvicorn, with a way to abort a connection."""

from __future__ import annotations

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dedupd.sim.app import ABORT, SimulatedNovaApp

BACKLOG = 2048


class AbortableProtocol(HttpToolsProtocol):
    """Offers `transport.abort` to the application as an ASGI extension of each request."""

    def on_message_begin(self) -> None:
        """Begin a request as uvicorn does, and add the extension to its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


def server_for(application: SimulatedNovaApp) -> uvicorn.Server:
    """Return the server, to be run on sockets that listen already: `run` or `serve(sockets)`."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=AbortableProtocol,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
