"""What an operator does: each deed where it may be done, and nothing where it may not."""

from __future__ import annotations

import pytest

from dedupd import request
from dedupd.cmd.request import deeds
from dedupd.cmd.request.deeds import Desk
from dedupd.errors import Conflict, NotFound
from dedupd.ports import Stored
from dedupd.request import Record, State
from dedupd.seal import Keys
from dedupd.sealed import open_answer
from dedupd.store.memory import MemoryStore
from tests.contract.stores import NOW, make_record
from tests.unit.site import Site

VIRTUAL_TIME = True

KEYS = Keys(b"i" * 32, {1: b"s" * 32})


def desk_at(store: MemoryStore, told: list[str]) -> Desk:
    return Desk(
        keys=KEYS,
        store=store,
        clock=lambda: NOW,
        result_seconds=60.0,
        operator="operator alice",
        written=lambda record, deed: told.append(f"{record.state.label}: {deed}"),
    )


async def claimed(store: MemoryStore) -> Record:
    _, stored = await store.claim(make_record(), b"payload")
    return stored.record


async def sent(store: MemoryStore) -> Record:
    written = await store.swap(
        before := await claimed(store), request.begin_send(before, "w1", NOW, 5.0)
    )
    assert written is not None
    return written


async def unknown(store: MemoryStore) -> Record:
    written = await store.swap(before := await sent(store), request.give_up(before, "lost"))
    assert written is not None
    return written


async def standing(store: MemoryStore, record: Record) -> Stored:
    return (await store.read([record.id]))[record.id]


async def test_what_is_queued_is_cancelled() -> None:
    store, told = MemoryStore(lambda: NOW), list[str]()
    record = await claimed(store)
    assert (await deeds.cancel(desk_at(store, told), record.id)).expires_at == NOW + 60.0
    assert (await standing(store, record)).record.state is State.CANCELLED
    assert told == ["cancelled: cancelled by operator alice"]


async def test_what_was_sent_is_neither_cancelled_nor_forgotten() -> None:
    store, told = MemoryStore(lambda: NOW), list[str]()
    record = await sent(store)
    with pytest.raises(Conflict, match="only what is queued can be cancelled"):
        await deeds.cancel(desk_at(store, told), record.id)
    with pytest.raises(Conflict, match="is being sent"):
        deeds.check_forgettable(record, force=False)
    deeds.check_forgettable(record, force=True)
    assert (await standing(store, record)).record == record
    assert not told


async def test_what_is_forgotten_is_gone_unless_it_has_moved() -> None:
    store, told = MemoryStore(lambda: NOW), list[str]()
    record = await unknown(store)
    desk = desk_at(store, told)
    await deeds.forget(desk, record)
    with pytest.raises(NotFound):
        await desk.find(record.id)
    assert told == ["unknown: forgotten by operator alice, it was unknown"]
    with pytest.raises(Conflict, match="it is gone"):
        await deeds.forget(desk, record)


async def test_what_is_settled_as_failed_answers_so() -> None:
    store, told = MemoryStore(lambda: NOW), list[str]()
    record = await unknown(store)
    done = await deeds.fail(desk_at(store, told), record)
    answer = open_answer(KEYS, await standing(store, record))
    assert (done.state, done.status) == (State.DONE, answer.status) == (State.DONE, 500)
    assert b"an operator has settled it as failed" in answer.body


async def test_what_is_sent_again_is_nobodys_and_new_to_retries() -> None:
    store, told = MemoryStore(lambda: NOW), list[str]()
    queued = await deeds.send_again(desk_at(store, told), await unknown(store))
    assert (queued.state, queued.owner, queued.retry_until) == (State.QUEUED, "", None)


async def test_only_what_is_unknown_is_settled() -> None:
    store = MemoryStore(lambda: NOW)
    record = await claimed(store)
    with pytest.raises(Conflict, match="is queued: only one whose outcome is unknown"):
        await desk_at(store, []).find_unknown(record.id)


async def test_what_is_not_there_is_not_adopted(site: Site) -> None:
    store = MemoryStore(lambda: NOW)
    job = await site.job(await site.claimed(), site.crew())
    with pytest.raises(NotFound, match="Nova shows no nothing to project"):
        await deeds.adopt(desk_at(store, []), job, "nothing")
