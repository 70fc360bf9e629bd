"""What a finished server create leaves in etcd, in bytes.

So many new tokens go through the whole chain; then etcd is compacted and defragmented, and what it
has on its disk by then is divided by their number. Nothing else is in it but a worker's lease.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from bench.cell import Cell
from bench.chain import progress
from bench.processes import Services
from bench.site import PREFIX, Site
from dedupd.store.etcd_stubs import rpc

MANY = Cell("new-token", 64)
KINDS = ("requests", "listing", "expiry", "pending", "payloads")
DEFRAGMENTING_SECONDS = 120.0


class Member:
    """One etcd, asked about its files."""

    def __init__(self, endpoint: str) -> None:
        channel = grpc.insecure_channel(endpoint, options=[("grpc.max_receive_message_length", -1)])
        self._keys = rpc.KVStub(channel)
        self._maintenance = rpc.MaintenanceStub(channel)

    def settled(self) -> int:
        """The size of its database when all that is superseded has gone."""
        now = self._keys.Range(rpc.RangeRequest(key=PREFIX.encode())).header.revision
        self._keys.Compact(rpc.CompactionRequest(revision=now, physical=True))
        self._maintenance.Defragment(rpc.DefragmentRequest(), timeout=DEFRAGMENTING_SECONDS)
        size: int = self._maintenance.Status(rpc.StatusRequest()).dbSize
        return size

    def count(self, kind: str) -> int:
        """How many keys there are of a kind."""
        start = f"{PREFIX}{kind}/".encode()
        below = rpc.RangeRequest(key=start, range_end=start[:-1] + b"0", count_only=True)
        count: int = self._keys.Range(below).count
        return count

    def example(self, kind: str) -> tuple[int, int]:
        """The bytes of the key, and of the value, of one of a kind."""
        start = f"{PREFIX}{kind}/".encode()
        below = rpc.RangeRequest(key=start, range_end=start[:-1] + b"0", limit=1)
        pairs = self._keys.Range(below).kvs
        return (len(pairs[0].key), len(pairs[0].value)) if pairs else (0, 0)


def room(seconds: float, directory: Path, console: Console) -> dict[str, Any]:
    """Measures, prints the table, and returns all there is to keep."""
    with Services(directory) as services, progress(console) as shown:
        shown.add_task("server creates leave their records", total=None)
        site = Site(services, directory / "room", services.stub().url)
        member = Member(site.etcd.endpoints[0])
        before = member.settled()
        MANY.load(site.urls, [], seconds)
        after = member.settled()
        found: dict[str, Any] = {
            "kinds": {kind: (member.count(kind), *member.example(kind)) for kind in KINDS},
            "bytes": after - before,
        }
    found["each"] = found["bytes"] / found["kinds"]["requests"][0]
    console.print(table(found))
    return found


def table(found: dict[str, Any]) -> Table:
    """What was found, for people."""
    shown = Table(title=f"{found['each']:.0f} bytes in etcd for each finished server create")
    for heading in ("key", "how many", "bytes of a key", "of its value"):
        shown.add_column(heading, justify="right")
    for kind, numbers in found["kinds"].items():
        shown.add_row(kind, *(f"{number:,}" for number in numbers))
    return shown
