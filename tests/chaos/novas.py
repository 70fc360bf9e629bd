"""The two Novas, alike to those who torment them and to those who count in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self

from tests.chaos.schedule import LEASE_SECONDS
from tests.integration.load import SERVICE_USER, SHORT, USER, Stock
from tests.integration.simulated import Effect, Rule, Simulated, struck
from tests.integration.verdict import Ledger
from tests.nova.cloud import Fault, RealNova


class Nova(Stock, Ledger, Protocol):
    """What a run needs of either."""

    def faults(self, rules: list[Rule]) -> None:
        """Set the rules in place of all earlier ones."""

    def struck(self, rules: list[Rule]) -> Counter[str]:
        """How often each fault befell a request since ``rules`` were set."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class Real:
    """The real Nova with what the simulated one has: faults as rules, and a ledger."""

    def __init__(self) -> None:
        """Start it; it listens when this returns."""
        self._nova = RealNova()
        self.url = self._nova.url
        self.image = self._nova.image
        self.flavor = self._nova.flavor
        self.network = self._nova.network

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._nova.stop()

    def faults(self, rules: list[Rule]) -> None:
        """See Simulated."""
        self._nova.faults(*(Fault(**rule) for rule in rules))

    def struck(self, rules: list[Rule]) -> Counter[str]:
        """See Simulated."""
        return struck(rules, self._nova.call("GET", "/__fault__").json["rules"])

    def ledger(self) -> list[Effect]:
        """Every server that was made, and every one that was deleted; no keypair that is gone."""
        made = self._nova.all_servers()
        gone = [row for row in made if row["status"] == "DELETED"]
        return [
            *(_effect("POST", "server", row["name"], row["id"]) for row in made),
            *(_effect("DELETE", "server", row["name"], row["id"]) for row in gone),
            *(_effect("POST", "keypair", name, name) for name in self.keypairs(USER)),
        ]

    def keypairs(self, user: str) -> dict[str, str]:
        """The public keys of a user, by name."""
        rows = self._nova.keypairs(user.partition(":")[0])
        return {row["name"]: row["public_key"] for row in rows}


def _effect(method: str, kind: str, name: str, resource: str) -> Effect:
    return {"method": method, "kind": kind, "names": [name], "resources": [resource]}


@dataclass(frozen=True)
class Behind:
    """How a run with one of the Novas is set up."""

    start: Callable[[], AbstractContextManager[Nova]]
    settings: Mapping[str, str]
    """dedupd's, where they differ from QUICK."""
    clients: int
    snapshots: bool = True
    """Whether images of a server are ordered; the real Nova makes one at a time."""


_WORKER = {"worker.lease_seconds": f"{LEASE_SECONDS:g}", "worker.sweep_seconds": "0.5"}

NOVAS = {
    "simulated": Behind(lambda: Simulated(7), {**SHORT, **_WORKER}, clients=40),
    "real": Behind(
        Real,
        {"nova.max_in_flight": "4", "nova.retry_seconds": "60", **SERVICE_USER, **_WORKER},
        clients=12,
        snapshots=False,
    ),
}
"""By the name that the command takes. In the real one, about nine servers are made in a second.

The simulated one handles a request at a time, and may keep a POST waiting for seconds on a busy
machine: it is given time to settle."""
