"""One way to serve what is measured: uvicorn as dedupd runs it, on loopback."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp


def listen(application: ASGIApp, port: int) -> None:
    """Serve it until the process is told to stop."""
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
        backlog=8192,
    )
