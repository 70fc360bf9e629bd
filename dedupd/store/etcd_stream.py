"""gRPC's streams on asyncio, with errors of their own kind and no cancellation by others."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc import aio


class Broken(Exception):
    """The stream has ended: by an error, by the server, or because the call was cancelled."""


async def exchange(call: Any, request: Any) -> Any:
    """Send a request, and give the next response.

    Raises:
        Broken: there is none.
        grpc.aio.AioRpcError: the server, or gRPC, says why.
    """
    try:
        await call.write(request)
    except asyncio.InvalidStateError:
        raise Broken("the stream had ended before") from None
    except asyncio.CancelledError:
        _raise_if_ours()
        raise Broken("the call was cancelled") from None
    return await read(call)


async def read(call: Any) -> Any:
    """Give the next response.

    Raises:
        Broken: there is none.
        grpc.aio.AioRpcError: the server, or gRPC, says why.
    """
    try:
        response = await call.read()
    except asyncio.CancelledError:
        _raise_if_ours()
        raise Broken("the call was cancelled") from None
    if response is aio.EOF:
        raise Broken("the server has ended the stream")
    return response


def _raise_if_ours() -> None:
    """Within ``except``: go on with a cancellation of this task, not of the call alone."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise  # noqa: PLE0704 # called where an exception is being handled
