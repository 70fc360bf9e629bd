"""What really happened, read from the simulated Nova itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from dedupd.sim.nova.world import Effect

UNLIMITED = 10**9
"""How often a rule may strike: its probability is its only limit."""

KEEPS_ANSWER = "delay-after"


class _Ledger(msgspec.Struct):
    effects: list[Effect]


class _Rule(msgspec.Struct):
    fault: str
    times: int


class _Report(msgspec.Struct):
    rules: list[_Rule]


class Observer:
    """Sets the simulated Nova's faults, and reads what it did; ``nova`` is its URL."""

    def __init__(self, session: aiohttp.ClientSession, nova: str) -> None:
        self._session = session
        self.nova = nova
        self._effects: list[Effect] = []

    async def torment(self, faults: Sequence[dict[str, Any]], seed: int) -> None:
        """Put these faults in force for POST /servers, and begin to count what they strike."""
        common = {"method": "POST", "path": "/servers$", "times": UNLIMITED}
        rules = [{**fault, **common, "seed": seed + number} for number, fault in enumerate(faults)]
        async with self._session.put(f"{self.nova}/__fault__", json=rules) as response:
            response.raise_for_status()

    async def lost_answers(self) -> dict[str, int]:
        """How many answers Nova lost since then, by fault."""
        async with self._session.get(f"{self.nova}/__fault__") as response:
            report = msgspec.json.decode(await response.read(), type=_Report)
        return {
            rule.fault: UNLIMITED - rule.times
            for rule in report.rules
            if rule.fault != KEEPS_ANSWER
        }

    async def servers(self, project: str) -> dict[str, list[str]]:
        """The ids of the project's servers that exist, by name."""
        address = f"{self.nova}/__ledger__?after={len(self._effects)}"
        async with self._session.get(address) as response:
            ledger = msgspec.json.decode(await response.read(), type=_Ledger)
        self._effects += ledger.effects
        return living(self._effects, project)


def living(effects: Sequence[Effect], project: str) -> dict[str, list[str]]:
    """The ids of a project's servers that were made and not deleted, by name."""
    ours = [effect for effect in effects if effect.kind == "server" and effect.project == project]
    deleted = {id_ for effect in ours if effect.method == "DELETE" for id_ in effect.resources}
    found: dict[str, list[str]] = {}
    for effect in ours:
        if effect.method == "POST" and effect.path.endswith("/servers"):
            for name, id_ in zip(effect.names, effect.resources, strict=True):
                if id_ not in deleted:
                    found.setdefault(name, []).append(id_)
    return found


def surplus(servers: dict[str, list[str]]) -> Counter[str]:
    """How many servers more than one there are, by name."""
    return +Counter({name: len(ids) - 1 for name, ids in servers.items()})
