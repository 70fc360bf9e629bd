"""The simulated Nova as a process of its own, which outlives whatever is killed in front of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any, Self

from tests.nova.call import call

STOP_SECONDS = 15.0

_COMMAND = (
    *(sys.executable, "-m", "dedupd.sim"),
    *("--keypairs-quota", "-1", "--build-seconds", "0"),
)

Rule = dict[str, Any]
Effect = dict[str, Any]


class Simulated:
    """`python -m dedupd.sim`, with its faults and its ledger.

    Args:
        seed: Fixes ids and passwords.
    """

    def __init__(self, seed: int) -> None:
        """Start it; it listens when this returns."""
        self._process = subprocess.Popen(
            [*_COMMAND, "--seed", str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        facts = json.loads(self._process.stdout.readline())
        self.address = f"127.0.0.1:{facts['port']}"
        self.url = f"http://{self.address}"
        self.image: str = facts["image"]
        self.flavor: str = facts["flavor"]
        self.network: str = facts["network"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def faults(self, rules: list[Rule]) -> None:
        """Set the rules in place of all earlier ones."""
        answer = call("PUT", f"{self.url}/__fault__", rules)
        assert answer.status == 200, answer

    def struck(self, rules: list[Rule]) -> Counter[str]:
        """How often each fault befell a request since ``rules`` were set."""
        return struck(rules, call("GET", f"{self.url}/__fault__").json["rules"])

    def ledger(self) -> list[Effect]:
        """Everything that took effect, in order."""
        effects: list[Effect] = call("GET", f"{self.url}/__ledger__").json["effects"]
        return effects

    def keypairs(self, user: str) -> dict[str, str]:
        """The public keys of a user, by name."""
        headers = {"X-Auth-Token": user, "OpenStack-API-Version": "compute 2.35"}
        address = f"{self.url}/v2.1/os-keypairs"
        found: dict[str, str] = {}
        while address:  # at most a thousand at once
            document = call("GET", address, headers=headers).json
            rows = [row["keypair"] for row in document["keypairs"]]
            found |= {row["name"]: row["public_key"] for row in rows}
            links = {link["rel"]: link["href"] for link in document.get("keypairs_links", [])}
            address = links.get("next", "")
        return found


def struck(rules: list[Rule], left: list[Rule]) -> Counter[str]:
    """How often each fault was used: the rules as they were set, and what is left of them."""
    found: Counter[str] = Counter()
    for before, after in zip(rules, left, strict=True):
        found[f"{before['method']} {before['fault']}"] += before["times"] - after["times"]
    return found
