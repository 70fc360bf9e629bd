"""`kill -9` at random moments under load: nothing is made twice, lost, or answered differently."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.evidence import told_in_full
from tests.integration.fleet import Fleet
from tests.integration.load import ORDERING, SHORT, mishaps, stocked, working
from tests.integration.simulated import Simulated
from tests.integration.standalone import Standalone
from tests.integration.verdict import Effects, Verdict

KILLS = int(os.environ.get("DEDUPD_KILLS", "100"))
"""In all."""

SEED = os.environ.get("DEDUPD_KILL_SEED") or secrets.token_hex(4)
"""Decides when it is killed, what is ordered, and what goes wrong in Nova."""

SHARDS = 4
"""Tests that share the kills, so that they can run side by side."""

CLIENTS = 40
READY_FOR = 1.0
"""Up to how many seconds it may live after it has come back; longer where it starts slowly."""

DURING_START = 0.15
"""Of how many kills it is hit while it starts."""


@dataclass
class Torment:
    """Kills a dedupd again and again, at moments that a seed decides."""

    victim: Standalone
    fleet: Fleet
    chance: random.Random
    under_load: int = 0
    """Kills while something was under way."""

    async def run(self, kills: int) -> None:
        """Kill it so many times; it is up again at the end."""
        startup = 0.5
        for _ in range(kills):
            if self.chance.random() < DURING_START:
                await asyncio.sleep(self.chance.uniform(0, startup))
            else:
                began = time.monotonic()
                await asyncio.to_thread(self.victim.wait_until_ready)
                startup = time.monotonic() - began
                await asyncio.sleep(self.chance.uniform(0, max(READY_FOR, 2 * startup)))
            self.under_load += bool(self.fleet.open)
            self.victim.kill()
            self.victim.launch()
        await asyncio.to_thread(self.victim.wait_until_ready)


@pytest.mark.timeout(900)  # it starts 25 times, and on a busy machine a start takes ten seconds
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_kills_under_load(shard: int, tmp_path: Path) -> None:
    seed = f"{SEED}-{shard}"
    chance, kills = random.Random(seed), KILLS // SHARDS  # noqa: S311
    with (
        Simulated(chance.getrandbits(32)) as nova,
        Standalone(tmp_path, nova.url, SHORT, measured=False) as victim,
    ):
        catalogue = stocked(nova)
        rules = mishaps(chance)
        nova.faults(rules)
        fleet = Fleet([victim.url], *ORDERING, chance)
        torment = Torment(victim, fleet, chance)
        began = time.monotonic()
        async with working(fleet, catalogue.orders(chance), CLIENTS):
            await torment.run(kills)
        struck = nova.struck(rules)
        nova.faults([])
        await fleet.repeat_all(CLIENTS)
        verdict = Verdict.of(fleet, nova)
        told = "\n".join(told_in_full(verdict, victim, Effects(nova.ledger())))
    print(
        f"DEDUPD_KILL_SEED={SEED}: {kills} kills in {time.monotonic() - began:.0f} s, "
        f"{torment.under_load} of them under load; {verdict}; faults: {dict(struck)}"
    )
    assert not verdict.found, told
    assert torment.under_load >= kills * 0.9, "kills must meet requests under way"
