"""Store and queue at the start: in turn, and each with its reason while it is not open."""

from __future__ import annotations

import pytest

from dedupd.cmd.opening import Opening
from dedupd.errors import Engine, Unavailable
from dedupd.queue.memory import MemoryQueue
from dedupd.store.memory import MemoryStore

ETCD = Engine("The etcd cluster", "h1:2379,h2:2379")
BROKER = Engine("The broker", "h1:5672")


class Engines:
    """A store and a queue that cannot be opened while there is a reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reasons = {
            "store": Unavailable.of(ETCD, " does not answer"),
            "queue": Unavailable.of(BROKER, " is away", "Connection refused"),
        }
        store, queue = MemoryStore(), MemoryQueue()
        monkeypatch.setattr(store, "open", lambda: self._open("store"))
        monkeypatch.setattr(queue, "open", lambda: self._open("queue"))
        self.opening = Opening(store, queue)

    async def _open(self, name: str) -> None:
        if name in self.reasons:
            raise self.reasons[name]

    async def attempt(self) -> None:
        with pytest.raises(Unavailable):
            await self.opening.once()

    def told(self, name: str) -> str:
        with pytest.raises(Unavailable) as caught:
            self.opening.check_part(name)
        return caught.value.message


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    return Engines(monkeypatch)


def test_before_the_first_try_they_are_being_opened(engines: Engines) -> None:
    assert engines.told("store") == "The store is being opened."


async def test_who_asks_is_told_what_is_missing_and_callers_are_not(engines: Engines) -> None:
    await engines.attempt()
    assert engines.told("store") == "The etcd cluster does not answer."
    assert engines.told("queue") == "The queue is opened when the store is open."
    with pytest.raises(Unavailable, match="has not reached its store") as caught:
        engines.opening.check()
    assert "etcd" not in caught.value.message


async def test_the_latest_reason_counts(engines: Engines) -> None:
    await engines.attempt()
    engines.reasons["store"] = Unavailable.of(ETCD, " is full")
    await engines.attempt()
    assert engines.told("store") == "The etcd cluster is full."


async def test_the_queue_has_its_own_reason_once_the_store_is_open(engines: Engines) -> None:
    await engines.attempt()
    del engines.reasons["store"]
    await engines.attempt()
    engines.opening.check_part("store")
    assert engines.told("queue") == "The broker is away."


async def test_when_both_are_open_nothing_is_missing(engines: Engines) -> None:
    engines.reasons.clear()
    await engines.opening.once()
    for name in ("store", "queue"):
        engines.opening.check_part(name)
    engines.opening.check()
