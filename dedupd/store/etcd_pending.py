"""What is pending: counted and read by the keys of ``pending/``, never by all records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dedupd.ports import Depth
from dedupd.request import Record
from dedupd.store import etcd_keys
from dedupd.store.etcd_keys import Keys, Place
from dedupd.store.etcd_ranges import Ranges

Heads = Callable[[Sequence[str]], Awaitable[dict[str, Record]]]
"""Reads the records with some ids."""


class Pending:
    """The pending keys of one prefix. One is made by a claim, and stays until the record ends."""

    def __init__(self, keys: Keys, ranges: Ranges, heads: Heads) -> None:
        self._keys = keys
        self._ranges = ranges
        self._heads = heads

    async def oldest(self, limit: int) -> list[Record]:
        """See ``Store.pending``."""
        pairs = await self._ranges.below(self._keys.all_pending)
        oldest = sorted(pairs, key=lambda pair: pair.create_revision)[:limit]
        return [record for _, record in await self._records(oldest)]

    async def depth(self) -> Depth:
        """See ``Store.depth``."""
        pairs = await self._ranges.below(self._keys.all_pending, keys_only=True)
        projects = Counter(self._keys.pending_parts(pair.key)[1] for pair in pairs)
        return Depth(len(pairs), dict(projects))

    async def newest(self) -> list[tuple[Place, Record]]:
        """All of them in the order of listings, each with its place."""
        pairs = await self._ranges.below(self._keys.all_pending)
        places = [
            (etcd_keys.place(record, pair.create_revision), record)
            for pair, record in await self._records(pairs)
        ]
        return sorted(places, key=lambda entry: entry[0])

    async def _records(self, pairs: Sequence[Any]) -> list[tuple[Any, Record]]:
        """The records of pending keys that can be read; that of an unknown one stands elsewhere."""
        ids = {pair.key: self._keys.pending_parts(pair.key)[0] for pair in pairs}
        elsewhere = await self._heads([ids[pair.key] for pair in pairs if not pair.value])
        records: list[tuple[Any, Record]] = []
        for pair in pairs:
            if pair.value:
                head = etcd_keys.readable_at(pair)
                if head is not None:
                    records.append((pair, head.record))
            elif ids[pair.key] in elsewhere:
                records.append((pair, elsewhere[ids[pair.key]]))
        return [(pair, record) for pair, record in records if record.state.pending]
