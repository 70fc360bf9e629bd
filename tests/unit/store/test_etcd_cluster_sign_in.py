"""Signing in to an etcd that has forgotten its users' tokens, in virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from dedupd.ports import StoreUnavailable
from dedupd.store.etcd_cluster import OPERATION_SECONDS, Cluster, Credentials, Doubtful, Refused
from dedupd.store.etcd_stubs import rpc

VIRTUAL_TIME = True


class Forgetful(Cluster):
    """Knows no token, and signs nobody in (which takes a commit) until its disk goes on."""

    def __init__(self) -> None:
        super().__init__(("etcd:2379",), credentials=Credentials("dedupd", "secret"))
        self.disk_goes_on = asyncio.Event()

    def _stub(self, service: str) -> Any:
        return SimpleNamespace(Authenticate=self._authenticate, Range=self._range)

    async def _call(self, method: Any, request: Any, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await method()
        except TimeoutError:
            raise Doubtful("It does not answer.") from None

    async def _authenticate(self) -> Any:
        await self.disk_goes_on.wait()
        return rpc.AuthenticateResponse(token="new")

    async def _range(self) -> Any:
        if ("token", "new") in self._metadata:
            return rpc.RangeResponse()
        reason = "invalid auth token"
        raise Refused(reason, code=StatusCode.UNAUTHENTICATED, details=reason)


async def look(cluster: Cluster) -> float:
    """How long a caller waits for an answer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cluster.ask("KV", "Range", rpc.RangeRequest(key=b"k"))
    return loop.time() - began


async def look_in_vain(cluster: Cluster) -> float:
    """How long a caller waits to hear that there is none."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StoreUnavailable):
        await look(cluster)
    return loop.time() - began


async def test_nobody_waits_for_longer_because_others_sign_in_first() -> None:
    cluster = Forgetful()
    waited = await asyncio.gather(*(look_in_vain(cluster) for _ in range(6)))
    assert waited == pytest.approx([OPERATION_SECONDS] * 6)


async def test_who_came_late_signs_in_when_the_time_of_who_came_first_is_over() -> None:
    cluster = Forgetful()
    first = asyncio.create_task(look_in_vain(cluster))
    await asyncio.sleep(OPERATION_SECONDS - 1)
    late = [asyncio.create_task(look(cluster)) for _ in range(3)]
    assert await first == pytest.approx(OPERATION_SECONDS)
    cluster.disk_goes_on.set()
    assert max(await asyncio.gather(*late)) < OPERATION_SECONDS
