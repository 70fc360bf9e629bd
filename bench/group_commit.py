"""Compare-and-swaps per second from one Python process, through EtcdStore and its group commit.

So many callers each claim a record and finish it, which is two compare-and-swaps as the product
makes them, with records, payloads and answers of their usual size. Beside it, the same group commit
with the least that a compare-and-swap can be: one key of 200 bytes, created.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from bench.chain import progress
from bench.load import cpu_seconds
from bench.records import keep, records
from dedupd.store import etcd_requests
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import OPERATION_SECONDS, Cluster
from dedupd.store.group_commit import WRITES, GroupCommit
from dedupd.store.origin import Origin
from tests.integration.etcd_server import EtcdServer

CALLERS = 512
VALUE = os.urandom(200)

Work = Callable[[], Coroutine[Any, Any, int]]
"""Makes compare-and-swaps; returns how many."""


async def repeat(work: Work, seconds: float, etcd: int) -> dict[str, float]:
    """Lets all callers work for that long."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def caller() -> int:
        made = 0
        while loop.time() < end:
            made += await work()
        return made

    began, own, theirs = loop.time(), time.process_time(), cpu_seconds(etcd)
    made = sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))
    return {
        "per_second": made / (loop.time() - began),
        "client_us": (time.process_time() - own) / made * 1e6,
        "etcd_us": (cpu_seconds(etcd) - theirs) / made * 1e6,
    }


async def least(endpoint: str, seconds: float, etcd: int) -> dict[str, float]:
    """One key for each."""
    cluster = Cluster((endpoint,))
    await cluster.open()
    group = GroupCommit(cluster, WRITES, OPERATION_SECONDS)
    numbers = itertools.count()
    prefix = os.urandom(4).hex()

    async def create() -> int:
        name = f"/least/{prefix}/{next(numbers)}"
        key = name.encode()
        transaction = etcd_requests.transaction(
            [etcd_requests.is_absent(key)], [etcd_requests.put(key, VALUE)]
        )
        assert (await group.run(name, transaction)).succeeded
        return 1

    try:
        return await repeat(create, seconds, etcd)
    finally:
        await cluster.close()


async def whole(endpoint: str, seconds: float, etcd: int) -> dict[str, float]:
    """A claim and an end for each."""
    origin = Origin("bench", "RegionOne")
    store = EtcdStore(Cluster((endpoint,)), prefix="/dedupd/v1/", origin=origin)
    await store.open()

    async def claim_and_finish() -> int:
        [record] = records(1)
        await keep(store, record)
        return 2

    try:
        return await repeat(claim_and_finish, seconds, etcd)
    finally:
        await store.close()


KINDS = {"one key": least, "claim and finish of a record": whole}


def group_commit(rounds: int, seconds: float, directory: Path, console: Console) -> dict[str, Any]:
    """Measures, prints the table, and returns all there is to keep."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with EtcdServer(directory) as server, progress(console) as shown:
        task = shown.add_task("compare-and-swaps", total=rounds * len(KINDS))
        pid = server.members[0].pid
        for _ in range(rounds):
            for kind, measure in KINDS.items():
                found[kind].append(uvloop.run(measure(server.endpoints[0], seconds, pid)))
                shown.advance(task)
    medians = {
        kind: {key: statistics.median(one[key] for one in rows) for key in rows[0]}
        for kind, rows in found.items()
    }
    console.print(table(medians))
    return {"medians": medians, "raw": found}


def table(medians: dict[str, dict[str, float]]) -> Table:
    """What was found, for people."""
    shown = Table(title=f"compare-and-swaps of one process, {CALLERS} callers (medians)")
    shown.add_column("kind")
    for heading in ("per second", "CPU us: client", "etcd"):
        shown.add_column(heading, justify="right")
    for kind, row in medians.items():
        numbers = (row["per_second"], row["client_us"], row["etcd_us"])
        shown.add_row(kind, *(f"{number:,.0f}" for number in numbers))
    return shown
