"""What the clients of a history want: requests, each under a token of its own."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dedupd import token
from dedupd.sim.histories.programs import REGION
from dedupd.sim.nova.world import IMAGE
from dedupd.ssh_key import GeneratedKey

PROJECTS = ("a" * 32, "b" * 32)
SERVERS, KEYPAIRS, GROUPS = "/v2.1/servers", "/v2.1/os-keypairs", "/v2.1/os-server-groups"
SHARED_NAME = "vm"


@dataclass(frozen=True)
class Intent:
    """One request under one token; ``wanted`` is how many resources it makes."""

    kind: str
    token: str
    project: str
    user: str
    identity_key: bytes
    path: str
    version: str
    document: Any
    name: str
    wanted: int = 1

    @cached_property
    def id(self) -> str:
        """The request's id."""
        return token.identify(self.identity_key, REGION, self.project, self.token)

    @cached_property
    def body(self) -> bytes:
        """What is sent."""
        return msgspec.json.encode(self.document)

    @property
    def mark(self) -> dict[str, Any]:
        """The member of a server's body that marks it as this request's."""
        if self.version == "2.96":
            return {"tags": [f"dedupd.{self.id}"]}
        return {"metadata": {"dedupd:id": self.id}}

    @property
    def generates(self) -> bool:
        """Whether Nova would generate a key for it."""
        return self.path == KEYPAIRS and "public_key" not in self.document["keypair"]

    @cached_property
    def altered(self) -> bytes:
        """Another request, sent by mistake under the same token."""
        [(kind, members)] = self.document.items()
        return msgspec.json.encode({kind: members | {"name": f"{self.name}-altered"}})


@lru_cache(maxsize=64)
def key(number: int) -> GeneratedKey:
    """The same key for the same number, without chance."""
    private = Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return GeneratedKey(half_of(public.decode()), public.decode())


def half_of(public_key: str) -> str:
    """What stands for the private half of a key."""
    return f"the private half of {public_key}"


def _server(name: str, **more: Any) -> Any:
    server = {"name": name, "flavorRef": "1", "imageRef": IMAGE, "networks": "none"}
    return {"server": server | more}


def _untagged_server(name: str, **more: Any) -> Any:
    return {"server": {"name": name, "flavorRef": "1", "imageRef": IMAGE} | more}


IMPORTED = key(1).public_key
KINDS: dict[str, tuple[str, str, float]] = {
    "server by tag": (SERVERS, "2.96", 6.0),
    "server by metadata": (SERVERS, "2.1", 5.0),
    "servers by tag": (SERVERS, "2.96", 1.0),
    "reserved server": (SERVERS, "2.1", 1.0),
    "reserved servers": (SERVERS, "2.96", 1.0),
    "refused server": (SERVERS, "2.96", 1.0),
    "imported keypair": (KEYPAIRS, "2.96", 2.0),
    "generated keypair": (KEYPAIRS, "2.50", 3.0),
    "server group": (GROUPS, "2.64", 2.0),
}
"""Each kind of request: where it goes, with which microversion, and how often it is drawn."""


def document(kind: str, name: str) -> Any:
    """The body of a request of that kind."""
    match kind:
        case "server by tag":
            return _server(name)
        case "server by metadata":
            return _untagged_server(name)
        case "servers by tag":
            return _server(name, min_count=2)
        case "reserved server":
            return _untagged_server(name, return_reservation_id=True)
        case "reserved servers":
            return _server(name, min_count=2, return_reservation_id=True)
        case "refused server":
            return _server(name, flavorRef="999")
        case "imported keypair":
            return {"keypair": {"name": name, "type": "ssh", "public_key": IMPORTED}}
        case "generated keypair":
            return {"keypair": {"name": name}}
        case _:
            return {"server_group": {"name": name, "policy": "affinity"}}


OFTEN: Mapping[str, float] = {kind: weight for kind, (_, _, weight) in KINDS.items()}


def draw(
    chance: random.Random, number: int, identity_key: bytes, often: Mapping[str, float] | None
) -> Intent:
    """One more request; servers often share a name, and tokens are shared between projects.

    ``often`` says how often which kinds are drawn, if not as usual.
    """
    kinds = OFTEN if often is None else often
    [kind] = chance.choices(list(kinds), list(kinds.values()))
    path, version, _ = KINDS[kind]
    shared = path == SERVERS and chance.random() < 0.6
    name = SHARED_NAME if shared else f"{kind.split()[-1]}-{number}"
    return Intent(
        kind=kind,
        token=f"token-{number}",
        project=PROJECTS[0],
        user="alice",
        identity_key=identity_key,
        path=path,
        version=version,
        document=document(kind, name),
        name=name,
        wanted=2 if kind in ("servers by tag", "reserved servers") else 1,
    )
