"""The POSTs whose answers get lost, and how two answers to the same kind of POST are compared."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from tests.integration.front import Front
from tests.nova.call import SECONDS, Answer
from tests.nova.cloud import RealNova, Row

SERVERS = "/v2.1/servers"
KEYPAIRS = "/v2.1/os-keypairs"

VOLUME = "{volume}"
PROJECT = "{project}"
"""What stands for a Nova's own volume, and for the caller's project, in the tables below."""

VARYING = ("adminPass", "fingerprint", "id", "name", "private_key", "public_key", "reservation_id")
"""Members of an answer that no two POSTs have in common."""

REPLAYED = (
    "location",
    "content-type",
    "vary",
    "openstack-api-version",
    "x-openstack-nova-api-version",
    "x-openstack-original-request-id",
    "idempotent-replayed",
    "idempotency-status",
    "idempotency-first-request",
    "idempotency-expires",
    "link",
    "content-length",
)
"""The headers that every repeat has alike; all but the dates of sending."""

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RECORD = re.compile("(?<=/requests/)[0-9a-f]{32}")
_POLL_SECONDS = 0.05
_NOT_COMPARED = ("content-length", "date")

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Kind:
    """One kind of POST."""

    microversion: str | None = None
    path: str = SERVERS
    more: Mapping[str, Any] = field(default_factory=dict)
    """What its body has besides."""
    effects: int = 1
    """How many servers or keypairs it makes."""

    @property
    def makes_keypair(self) -> bool:
        """Whether it makes a keypair, not a server."""
        return self.path.endswith("/os-keypairs")

    @property
    def generates_key(self) -> bool:
        """Whether only its answer holds the private key."""
        return self.makes_keypair and "public_key" not in self.more

    def path_in(self, project: str) -> str:
        """Its path, for a caller of this project."""
        return self.path.replace(PROJECT, project)

    def body(self, nova: RealNova, name: str) -> Row:
        """Its body."""
        if self.makes_keypair:
            return {"keypair": {"name": name, **self.more}}
        text = json.dumps(nova.server_body(name, **self.more))
        body: Row = json.loads(text.replace(VOLUME, nova.volume))
        return body


BOOT_VOLUME = {
    "uuid": VOLUME,
    "source_type": "volume",
    "destination_type": "volume",
    "boot_index": 0,
}

SERVER_KINDS: Mapping[str, Kind] = {
    "no microversion": Kind(),
    "2.1": Kind("2.1"),
    "2.96": Kind("2.96"),
    "latest": Kind("latest"),
    "/v2": Kind(path="/v2/servers"),
    "project in the path": Kind("2.96", f"/v2.1/{PROJECT}/servers"),
    "three, 2.1": Kind("2.1", more={"min_count": 3}, effects=3),
    "three, 2.96": Kind("2.96", more={"min_count": 3}, effects=3),
    "reservation, 2.1": Kind("2.1", more={"return_reservation_id": True}),
    "reservation, 2.96": Kind("2.96", more={"return_reservation_id": True}),
    "reservation of two": Kind(
        "2.96", more={"return_reservation_id": True, "min_count": 2}, effects=2
    ),
    "much given": Kind(
        "2.96",
        more={
            "adminPass": 'gi"ven \u00fc',
            "security_groups": [{"name": "default"}, {"name": "default"}],
            "tags": ["mine"],
            "metadata": {"mine": "too"},
            "OS-DCF:diskConfig": "AUTO",
        },
    ),
    "from volume": Kind("2.96", more={"imageRef": "", "block_device_mapping_v2": [BOOT_VOLUME]}),
}


def public_key() -> str:
    """A new one, as it stands in an authorized_keys file."""
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " mine\n"


IMPORTED = {"public_key": public_key()}

KEYPAIR_KINDS: Mapping[str, Kind] = {
    "generated, no microversion": Kind(None, KEYPAIRS),
    "generated, 2.1": Kind("2.1", KEYPAIRS),
    "generated, 2.2": Kind("2.2", KEYPAIRS),
    "generated, /v2": Kind(path="/v2/os-keypairs"),
    "imported, 2.1": Kind("2.1", KEYPAIRS, IMPORTED),
    "imported, 2.2": Kind("2.2", KEYPAIRS, IMPORTED),
    "imported, 2.92": Kind("2.92", KEYPAIRS, IMPORTED),
    "imported, /v2": Kind(path="/v2/os-keypairs", more=IMPORTED),
}

KINDS = {**SERVER_KINDS, **KEYPAIR_KINDS}


@dataclass(frozen=True)
class Sender:
    """A caller with a project and a user of its own, so that nobody else's effects are counted."""

    front: Front
    nova: RealNova
    project: str = field(default_factory=lambda: uuid.uuid4().hex)
    user: str = field(default_factory=lambda: f"user-{uuid.uuid4().hex[:12]}")
    seconds: float = SECONDS
    """How long it waits for an answer."""

    @property
    def token(self) -> str:
        """What it shows, to a Nova without Keystone."""
        return f"{self.user}:{self.project}"

    def post(
        self,
        kind: Kind,
        name: str,
        client_token: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one, through dedupd."""
        return self.front.call(
            "POST",
            kind.path_in(self.project),
            kind.body(self.nova, name),
            token=self.token,
            client_token=client_token,
            microversion=kind.microversion,
            headers=headers,
            seconds=self.seconds,
        )

    def post_all(
        self, kinds: Mapping[str, Kind], prefix: str, headers: Mapping[str, str] | None = None
    ) -> dict[str, Answer]:
        """Send one of each kind, all at once; name and client token follow from the prefix."""
        names = [f"{prefix}{number}" for number in range(len(kinds))]

        def post(named: tuple[str, Kind]) -> Answer:
            name, kind = named
            return self.post(kind, name, name, headers)

        answers = at_once(post, zip(names, kinds.values(), strict=True))
        return dict(zip(kinds, answers, strict=True))

    def deleted(self) -> list[str]:
        """The names of the servers that the project had and has no more."""
        rows = self.nova.servers(project_id=self.project, deleted=True)
        return [str(row["name"]) for row in rows if row["status"] == "DELETED"]

    def names(self) -> list[str]:
        """The names of all that it has in Nova, as Nova tells its administrator."""
        servers = [str(row["name"]) for row in self.nova.servers(project_id=self.project)]
        return sorted(servers + [str(row["name"]) for row in self.nova.keypairs(self.user)])

    def form(self, answer: Answer) -> Form:
        """What the answer has in common with that to another POST of its kind."""
        mine = {self.project: "<project>", self.user: "<user>", self.front.address: "<front>"}
        return Form.of(answer, mine)

    def clean_up(self) -> None:
        """Have its servers deleted; they go in Nova's own time."""
        rows = self.nova.servers(project_id=self.project)
        at_once(self._delete, [str(row["id"]) for row in rows])

    def _delete(self, identifier: str) -> None:
        self.nova.call("DELETE", f"{SERVERS}/{identifier}", token=self.nova.admin)


@dataclass(frozen=True)
class Form:
    """An answer without what varies: a lost and a usual answer of one kind have the same."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    def without(self, names: Collection[str]) -> Form:
        """The form without these headers."""
        kept = tuple(header for header in self.headers if header[0] not in names)
        return replace(self, headers=kept)

    @classmethod
    def of(cls, answer: Answer, known: Mapping[str, str]) -> Form:
        """The form of an answer; the keys' order, and each blank of the JSON, are part of it.

        ``known``: what the caller brought with it, and the word for it.
        """
        body = answer.body.decode()
        for name, value in _members(answer.json):
            if name in VARYING and isinstance(value, str):
                body = body.replace(json.dumps(value), f'"<{name}>"')
        headers = sorted(
            (name.lower(), _plain(value, known))
            for name, value in answer.headers
            if name.lower() not in _NOT_COMPARED
        )
        return cls(answer.status, tuple(headers), _plain(body, known))


def fits(private_key: str, public_key: str) -> bool:
    """Whether a private key, as Nova or a client made it, is that of a key as Nova keeps it."""
    load = load_ssh_private_key if "OPENSSH" in private_key else load_pem_private_key
    own = load(private_key.encode(), None).public_key()
    text = own.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return text.split()[:2] == public_key.split()[:2]


def replayed(answer: Answer) -> tuple[int, bytes, dict[str, list[str]]]:
    """What all repeats have alike."""
    headers = {name: list(answer.all_headers(name)) for name in REPLAYED}
    return answer.status, answer.body, headers


def at_once(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do it with every item at the same time; the results in order."""
    each = list(items)
    with ThreadPoolExecutor(max(1, len(each))) as pool:
        return list(pool.map(work, each))


def wait_until(happened: Callable[[], object], seconds: float = 40.0) -> None:
    """Return as soon as it has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(_POLL_SECONDS)


def _members(value: object) -> list[tuple[str, object]]:
    """Every member of every object in it."""
    if isinstance(value, list):
        return [member for item in value for member in _members(item)]
    if not isinstance(value, dict):
        return []
    return [*value.items(), *(member for item in value.values() for member in _members(item))]


def _plain(text: str, known: Mapping[str, str]) -> str:
    for value, word in known.items():
        text = text.replace(value, word)
    return _RECORD.sub("<record>", _UUID.sub("<uuid>", text))
