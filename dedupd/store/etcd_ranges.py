"""Reading ranges of keys, a page at a time."""

from __future__ import annotations

import sys
from typing import Any

from dedupd.store.etcd_cluster import LATE, Cluster
from dedupd.store.etcd_keys import end_of
from dedupd.store.etcd_stubs import rpc

PAGE = 1000
"""How many keys one answer holds at most: some hundred kilobytes of heads."""


class Ranges:
    """Ranges of one cluster, in the order of their keys, no older than the call."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def page(
        self, start: bytes, end: bytes, limit: int = PAGE, *, keys_only: bool = False
    ) -> tuple[list[Any], bool]:
        """The first ``limit`` keys from ``start`` on and before ``end``; whether more follow.

        Raises:
            StoreUnavailable: no answer in time.
        """
        request = rpc.RangeRequest(key=start, range_end=end, limit=limit, keys_only=keys_only)
        answer, _ = await self._cluster.ask("KV", "Range", request, late=LATE)
        return list(answer.kvs), answer.more

    async def get(self, key: bytes) -> Any:
        """The key with its value, or None.

        Raises:
            StoreUnavailable: no answer in time.
        """
        request = rpc.RangeRequest(key=key)
        answer, _ = await self._cluster.ask("KV", "Range", request, late=LATE)
        return answer.kvs[0] if answer.kvs else None

    async def first(
        self, start: bytes, end: bytes, limit: int = sys.maxsize, *, keys_only: bool = False
    ) -> list[Any]:
        """As ``page``, with as many pages as that takes.

        A key that stays is there once, whatever changes meanwhile.

        Raises:
            StoreUnavailable: no answer in time.
        """
        found: list[Any] = []
        more = True
        while more and len(found) < limit:
            size = min(PAGE, limit - len(found))
            pairs, more = await self.page(start, end, size, keys_only=keys_only)
            found += pairs
            start = behind(pairs[-1].key) if pairs else end
        return found

    async def below(self, prefix: bytes, *, keys_only: bool = False) -> list[Any]:
        """All keys that begin with ``prefix``; see ``first``."""
        return await self.first(prefix, end_of(prefix), keys_only=keys_only)


def behind(key: bytes) -> bytes:
    """The next key that there can be."""
    return bytes(key) + b"\0"
