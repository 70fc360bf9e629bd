"""What no other store's tests show of the one in memory."""

from __future__ import annotations

from dedupd.ports import Stored, Worker
from dedupd.store.memory import MemoryStore
from tests.contract.stores import NOW, Clock, make_record


async def test_without_a_payload_nothing_begins() -> None:
    store = MemoryStore(Clock())
    await store.register(Worker("w1", "host", 1, NOW + 1))
    _, stored = await store.claim(make_record(), b"payload")
    record = stored.record
    store._put(Stored(record))
    assert await store.begin(record, record, "w1") is None
    assert await store.read([record.id]) == {record.id: Stored(record)}
