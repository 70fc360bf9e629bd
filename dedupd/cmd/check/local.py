"""Checks of what is on this machine: keys, records, queue."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from pathlib import Path

from dedupd import queue as queues
from dedupd import seal
from dedupd.cmd import state
from dedupd.cmd.check.line import Finding, failed, ok, warning
from dedupd.conf import Settings
from dedupd.errors import ConfigError
from dedupd.ports import Delivery, Queue, QueueUnavailable
from dedupd.store import database
from dedupd.store.origin import Origin

INSPECTION_SECONDS = 10.0
COUNTS = "SELECT count(*), count(*) FILTER (WHERE state <= 2) FROM requests"
_STEPS = 100_000
"""SQLite's virtual machine instructions between two looks at the clock."""


async def keys(settings: Settings) -> Finding:
    """They are there, private and well-formed."""
    path = settings.seal.key_file
    if path.exists():
        seal.load(path)
        return ok(str(path))
    state.refuse_new_keys(settings)
    if settings.store.url.scheme.is_etcd:
        return warning(f"{path} is not there yet. {seal.SAME_EVERYWHERE}")
    return warning(
        f"{path} is not there yet: `dedupd standalone` makes it when it first starts, and so does "
        f"`dedupd key generate {path}`",
    )


async def store(settings: Settings) -> Finding:
    """It can be opened, is whole, of this version, and was made for this origin."""
    if settings.store.url.scheme.is_etcd:
        from dedupd.cmd.check import etcd

        return await etcd.store(settings)
    path = settings.store.url.path
    if path is None:
        return warning("memory://: all records are gone when the process ends")
    if path.exists():
        origin = Origin(seal.load(settings.seal.key_file).check, settings.region_name)
        return await asyncio.to_thread(_inspect, path, origin)
    if not state.has_place(settings, path.parent):
        return failed(
            f"[store] url: {path} is not there and cannot be made: make the directory "
            f"{path.parent}, or name a path in one that is there"
        )
    above = next(parent for parent in path.parents if parent.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"{path} is not there and cannot be made: {above} is not writable")
    return ok(f"{path} is not there yet; it is made at the first start")


async def queue(settings: Settings) -> Finding:
    """It can be opened, and gives its messages out: RabbitMQ may tell of one that does not."""
    opened = queues.open_once(settings.queue)
    await opened.open()
    try:
        waiting = await opened.depth()
        gives = await _gives(opened)
    finally:
        await opened.close()
    if not gives:
        return failed(_mute(settings))
    found = f"{settings.queue.url}, {waiting} waiting"
    try:
        await asyncio.to_thread(queues.check_heal, settings.queue)
    except ConfigError as error:
        return warning(f"{found}. Should it ever serve nobody, it is not mended: {error}")
    return ok(found)


async def _gives(opened: Queue) -> bool:
    """Whether it takes a consumer."""
    try:
        await opened.consume(_leave, 1)
    except QueueUnavailable:
        return False
    return True


def _leave(_delivery: Delivery) -> None:
    """It goes back, as if it had never been given out, when the queue is closed."""


def _mute(settings: Settings) -> str:
    """What it means that a queue which is there takes no consumer, and what to do."""
    url, name = settings.queue.url, settings.queue.name
    return (
        f"{url}: the queue {name} is there, but takes no consumer. Unless that passes by itself, "
        "only its name is left, as after a hard kill of RabbitMQ, and new requests are refused "
        "(503). A worker that runs deletes it and declares it anew, within 30 s; where none runs: "
        f"rabbitmqctl delete_queue --vhost {url.virtual_host} {name}. What it held is published "
        "again"
    )


def _inspect(path: Path, origin: Origin) -> Finding:
    """Look at the database, in a thread; SQLite itself breaks off when the time is over."""
    ends = time.monotonic() + INSPECTION_SECONDS
    try:
        with contextlib.closing(database.open_beside(path, origin)) as files:
            files.scanner.set_progress_handler(lambda: time.monotonic() > ends, _STEPS)
            [(whole,)] = files.scanner.execute("PRAGMA quick_check(1)").fetchall()
            [(records, pending)] = files.scanner.execute(COUNTS).fetchall()
    except sqlite3.OperationalError as error:
        return warning(f"{path} was not checked whole: {error}")
    except sqlite3.DatabaseError as error:
        whole, records, pending = str(error), 0, 0
    if whole != "ok":
        return failed(f"{path} is corrupt ({whole}): put a copy that is whole there")
    return ok(f"{path}, records: {records}, pending: {pending}")
