"""The rows of the simulated cloud, and the indexes over them. Nothing here does any I/O.

Rows are mutable records, changed only by the routes, one request at a time. Times are seconds
since the epoch as the injected clock gives them. What merely takes time (a build) is not an
event but a comparison of the clock with a time in the row, so that no timer is needed.
"""

from __future__ import annotations

import random
import string
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from dedupd import ssh_key
from dedupd.sim.nova.call import Call

IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
NETWORK = "3cb9bc59-5699-4588-a4b1-b87f96708bc6"
PORT = "ce531f90-199f-48c0-816c-13e38010b442"
VOLUME = "6ca404f3-d844-4169-bb96-bc792f37de98"
"""What every cloud starts with: the ids are those of Nova's own functional-test fixtures."""

CELL = "cell1"
"""Where every server goes when it is scheduled."""

HOSTS = {CELL: "compute1", "cell2": "compute2"}
"""The cells, and the one compute host of each; in the second is only what a test puts there."""

METADATA_ITEMS = 128
"""How many items of metadata a server may have: Nova's default quota."""


class Settings(msgspec.Struct, frozen=True):
    """How the simulated cloud is set up. A quota of -1 means no limit.

    A server has a host `schedule_seconds` after its creation and is ACTIVE after `build_seconds`;
    the first is never longer than the second.
    """

    schedule_seconds: float = 0.1
    build_seconds: float = 0.5
    instances_quota: int = -1
    key_pairs_quota: int = 100
    server_groups_quota: int = 10
    page_limit: int = 1000


class Flavor(msgspec.Struct, frozen=True):
    """A size of server: memory in MiB, disk in GiB."""

    id: str
    name: str
    ram: int
    vcpus: int
    disk: int


class Image(msgspec.Struct, frozen=True):
    """An image; `base` is the server's image where it is a snapshot."""

    id: str
    name: str
    project: str | None
    created: float
    metadata: dict[str, str]
    size: int = 25165824


class InstanceAction(msgspec.Struct, frozen=True):
    """One entry of a server's history (os-instance-actions)."""

    action: str
    request_id: str
    user: str
    project: str
    start: float


class Server(msgspec.Struct, eq=False):
    """A server's row. `deleted` is None while it exists.

    Until `scheduled` it has no host, until `launched` it is BUILD.
    """

    id: str
    number: int
    project: str
    user: str
    name: str
    hostname: str
    created: float
    updated: float
    scheduled: float
    launched: float
    flavor: Flavor
    image: str
    reservation_id: str
    launch_index: int
    metadata: dict[str, str]
    cell: str = CELL
    tags: tuple[str, ...] = ()
    key_name: str | None = None
    user_data: str | None = None
    config_drive: str = ""
    description: str | None = None
    pinned_zone: str | None = None
    address: str | None = None
    hardware_address: str = ""
    port: str | None = None
    security_groups: tuple[str, ...] = ("default",)
    volumes: tuple[tuple[str, bool], ...] = ()
    disk_config: str = "MANUAL"
    access_ip_v4: str = ""
    access_ip_v6: str = ""
    group: str | None = None
    hints: dict[str, Any] = {}
    trusted_certificates: list[str] | None = None
    settled_state: str = "active"
    locked_by: str | None = None
    locked_reason: str | None = None
    deleted: float | None = None
    actions: list[InstanceAction] = []

    def is_building(self, now: float) -> bool:
        """Whether the server has not been launched yet at `now`."""
        return now < self.launched

    def is_hosted(self, now: float) -> bool:
        """Whether a compute host has the server at `now`: scheduled, and not deleted."""
        return self.deleted is None and now >= self.scheduled

    @property
    def left_no_trace(self) -> bool:
        """Whether it was deleted before it was scheduled: then Nova has no row of it at all."""
        return self.deleted is not None and self.deleted < self.scheduled

    def vm_state(self, now: float) -> str:
        """Return Nova's vm_state at `now`."""
        if self.deleted is not None:
            return "deleted"
        return "building" if self.is_building(now) else self.settled_state

    def task_state(self, now: float) -> str | None:
        """Return Nova's task_state at `now`: only a build is a task that takes time."""
        if self.deleted is not None or not self.is_building(now):
            return None
        return "spawning" if self.is_hosted(now) else "scheduling"

    def host(self, now: float) -> str | None:
        """Return the name of the compute host, None while the server is not scheduled."""
        return HOSTS[self.cell] if now >= self.scheduled else None

    def visible_address(self, now: float) -> str | None:
        """Return the server's IPv4 address, None while it is being built."""
        return None if self.is_building(now) or self.deleted is not None else self.address

    @property
    def flavor_id(self) -> str:
        """The id of the server's flavor."""
        return self.flavor.id

    @property
    def created_text(self) -> str:
        """The time of creation as the database holds it."""
        return datetime.fromtimestamp(int(self.created), UTC).strftime("%Y-%m-%d %H:%M:%S")

    @property
    def address_v6(self) -> str | None:
        """The server's IPv6 address: the simulated network has none."""
        return None

    def updated_at(self, now: float) -> float:
        """Return when the row was last changed, the end of the build included."""
        return self.updated if self.is_building(now) else max(self.updated, self.launched)


class Keypair(msgspec.Struct, frozen=True):
    """A key pair's row; the private key is not kept, as in Nova."""

    number: int
    user: str
    name: str
    type: str
    public_key: str
    fingerprint: str
    created: float


class ServerGroup(msgspec.Struct):
    """A server group's row."""

    id: str
    project: str
    user: str
    name: str
    policy: str
    rules: dict[str, int]
    members: list[str]


class Effect(msgspec.Struct, frozen=True):
    """One request that changed the cloud: what exactly-once is counted by.

    `time` is when the effect was committed, `resources` the ids (names, for key pairs) that it
    made or changed, `tags` and `metadata` what it was marked with.
    """

    time: float
    method: str
    path: str
    user: str
    project: str
    request_id: str
    kind: str
    resources: tuple[str, ...]
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}


FLAVORS = (
    Flavor("1", "m1.nano", 64, 1, 1),
    Flavor("2", "m1.tiny", 512, 1, 1),
    Flavor("3", "m1.medium", 4096, 2, 40),
    Flavor("42", "m1.micro", 128, 1, 1),
)


class World:
    """The whole cloud: rows, indexes, ledger, and its sources of time and chance."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        chance: random.Random,
        generate_key: Callable[[], ssh_key.GeneratedKey] = ssh_key.generate,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.chance = chance
        self.generate_key = generate_key
        self.servers: dict[str, Server] = {}
        self.projects: dict[str, dict[str, Server]] = {}
        self.alive: Counter[str] = Counter()
        self.tagged: dict[str, dict[str, Server]] = {}
        self.named: dict[str, dict[str, Server]] = {}
        self.keypairs: dict[str, dict[str, Keypair]] = {}
        self.groups: dict[str, ServerGroup] = {}
        self.cells_down: set[str] = set()
        self.flavors = {flavor.id: flavor for flavor in FLAVORS}
        self.images = {IMAGE: _first_image()}
        self.ports_in_use: dict[str, str] = {}
        self.ledger: list[Effect] = []
        self.server_count = 0
        self.keypair_count = 0

    def new_id(self) -> str:
        """Return a fresh random UUID from the seeded source."""
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def word(self, length: int, alphabet: str = string.ascii_lowercase + string.digits) -> str:
        """Return a random word, as in reservation ids and passwords."""
        return "".join(self.chance.choices(alphabet, k=length))

    def add_server(self, server: Server) -> None:
        """Put a new server's row into the indexes."""
        self.server_count += 1
        self.servers[server.id] = server
        self.projects.setdefault(server.project, {})[server.id] = server
        self.alive[server.project] += 1
        self.named.setdefault(server.name, {})[server.id] = server
        self.set_tags(server, server.tags)
        if server.port:
            self.ports_in_use[server.port] = server.id

    def rename(self, server: Server, name: str) -> None:
        """Give a server another name, in the row and in the index."""
        self.named[server.name].pop(server.id)
        server.name = name
        self.named.setdefault(name, {})[server.id] = server

    def set_tags(self, server: Server, tags: Iterable[str]) -> None:
        """Replace a server's tags, in the row and in the index; kept sorted and unique."""
        for tag in server.tags:
            self.tagged.get(tag, {}).pop(server.id, None)
        server.tags = tuple(sorted(set(tags)))
        for tag in server.tags:
            self.tagged.setdefault(tag, {})[server.id] = server

    def delete_server(self, server: Server, now: float) -> None:
        """Mark a server deleted. The row stays, but Nova forgets its tags."""
        self.set_tags(server, ())
        server.deleted = server.updated = now
        self.alive[server.project] -= 1
        if server.port:
            self.ports_in_use.pop(server.port, None)
        for group in self.groups.values():
            if server.id in group.members:
                group.members.remove(server.id)

    def is_out_of_sight(self, server: Server, now: float) -> bool:
        """Whether the server is in a cell that is down; it is in none before it has a host."""
        return server.cell in self.cells_down and now >= server.scheduled

    def record(self, call: Call, kind: str, resources: Iterable[str], **details: Any) -> None:
        """Write an effect into the ledger."""
        caller = call.caller
        identity = (call.now, call.method, call.path, caller.user, caller.project, call.request_id)
        self.ledger.append(Effect(*identity, kind, tuple(resources), **details))


def _first_image() -> Image:
    metadata = {"kernel_id": "nokernel", "ramdisk_id": "nokernel", "architecture": "x86_64"}
    return Image(IMAGE, "fakeimage123456", None, 1293843723.0, metadata)
