"""Servers that tell of themselves what an etcd would which cannot be had here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from dedupd.store.etcd_stubs import rpc


class Lossy(rpc.MaintenanceServicer):  # type: ignore[misc] # it has no types
    """An etcd that loses writes: it says so, has no alarms, and knows nothing else."""

    async def Status(self, request: Any, context: Any) -> Any:  # noqa: N802 # etcd's name
        """Its version."""
        return rpc.StatusResponse(version="3.5.1")

    async def Alarm(self, request: Any, context: Any) -> Any:  # noqa: N802 # etcd's name
        """None."""
        return rpc.AlarmResponse()


@asynccontextmanager
async def served(maintenance: Any) -> AsyncIterator[str]:
    """The endpoint of a server that knows nothing but these calls."""
    server = aio.server()
    rpc.add_MaintenanceServicer_to_server(maintenance, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)
