"""`kill -9` at random moments under load: nothing is made twice, lost, or answered differently."""

from __future__ import annotations

import asyncio
import enum
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.integration.fleet import Answer, Catalogue, Fleet, Order
from tests.integration.simulated import Effect, Rule, Simulated
from tests.integration.standalone import Standalone
from tests.nova.call import call

KILLS = int(os.environ.get("DEDUPD_KILLS", "100"))
"""In all."""

SEED = os.environ.get("DEDUPD_KILL_SEED") or secrets.token_hex(4)
"""Decides when it is killed, what is ordered, and what goes wrong in Nova."""

SHARDS = 4
"""Tests that share the kills, so that they can run side by side."""

CLIENTS = 40
READY_FOR = 1.0
"""Up to how many seconds it may live after it has come back; longer where it starts slowly."""

ANSWER_SECONDS = 60.0
"""How long an order may stay without an answer when nothing is killed any more."""

DURING_START = 0.15
"""Of how many kills it is hit while it starts."""

USER = "demo:demo"

SETTINGS = {
    "nova.connect_timeout": "1",
    "nova.send_timeout": "1",
    "nova.settle_seconds": "3",
    "nova.retry_seconds": "60",
    "worker.lease_seconds": "1",
    "worker.sweep_seconds": "0.1",
}
"""Seconds; what commits late does so within LATE of them."""

LATE = 0.5

MISHAPS: list[Rule] = [
    {"method": "POST", "fault": "drop-after", "probability": 0.05},
    {"method": "POST", "fault": "503-after", "probability": 0.05},
    {"method": "POST", "fault": "500-after", "probability": 0.02},
    {"method": "POST", "fault": "drop-before", "probability": 0.01},
    {"method": "POST", "fault": "503-before", "probability": 0.01},
    {"method": "POST", "fault": "delay-after", "probability": 0.02, "seconds": 1.5},
    {"method": "POST", "fault": "delay-after", "probability": 0.1, "seconds": 0.2},
    {"method": "POST", "fault": "late-commit", "probability": 0.02, "seconds": LATE},
    {"method": "POST", "fault": "late-commit", "probability": 0.02, "seconds": LATE, "status": 0},
    {"method": "GET", "fault": "503-before", "probability": 0.05},
    {"method": "DELETE", "fault": "drop-after", "probability": 0.2},
]


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


@pytest.mark.timeout(450)
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_kills_under_load(shard: int, tmp_path: Path) -> None:
    seed = f"{SEED}-{shard}"
    chance, kills = random.Random(seed), KILLS // SHARDS  # noqa: S311
    with (
        Simulated(chance.getrandbits(32)) as nova,
        Standalone(tmp_path, nova.url, SETTINGS, measured=False) as victim,
    ):
        catalogue = stocked(nova)
        rules = [{**rule, "times": 10**9, "seed": chance.getrandbits(32)} for rule in MISHAPS]
        nova.faults(rules)
        fleet = Fleet(victim.url, {"X-Auth-Token": USER}, chance)
        torment = Torment(victim, fleet, chance)
        stop = asyncio.Event()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            working = group.create_task(fleet.work(catalogue.orders(chance), CLIENTS, stop))
            await torment.run(kills)
            stop.set()
            if not (await asyncio.wait([working], timeout=ANSWER_SECONDS))[0]:
                working.cancel()
        struck = nova.struck(rules)
        nova.faults([])
        await fleet.repeat_all(CLIENTS)
        found = list(wrong(fleet, nova.ledger(), nova.keypairs(USER)))
    counts = Counter(kind for kind, _ in found)
    print(
        f"DEDUPD_KILL_SEED={SEED}: {kills} kills in {time.monotonic() - began:.0f} s, "
        f"{torment.under_load} of them under load; {len(fleet.answers)} tokens, "
        f"{fleet.tries} POSTs of clients; faults: {dict(struck)}; "
        f"{', '.join(f'{kind.value}: {counts[kind]}' for kind in Wrong)}"
    )
    assert not found, "\n".join(f"{kind.value}: {told}" for kind, told in found)
    assert torment.under_load >= kills * 0.9, "kills must meet requests under way"


def stocked(nova: Simulated) -> Catalogue:
    """A server to make images of, and a key to import."""
    server = {"name": "model", "imageRef": nova.image, "flavorRef": nova.flavor}
    headers = {"X-Auth-Token": USER}
    made = call("POST", f"{nova.url}/v2.1/servers", {"server": server}, headers)
    key = Ed25519PrivateKey.generate().public_key()
    text = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Catalogue(nova.image, nova.flavor, nova.network, made.json["server"]["id"], text)


class Wrong(enum.Enum):
    """What must never be."""

    DUPLICATES = "duplicates"
    LOST = "lost"
    DIFFERING = "differing answers"
    OTHER = "other failures"


def wrong(
    fleet: Fleet, ledger: list[Effect], keypairs: dict[str, str]
) -> Iterator[tuple[Wrong, str]]:
    """Everything that is: of the whole fleet, then order by order."""
    for told in fleet.unexpected:
        yield Wrong.OTHER, told
    for order, told in fleet.open.items():
        yield Wrong.LOST, f"{order.client_token}: not answered; the last try: {told}"
    effects = Effects(ledger)
    for order, answers in fleet.answers.items():
        for kind, told in wrong_of(order, answers, effects, keypairs):
            yield kind, f"{order.client_token} ({order.kind} {order.microversion}): {told}"


def wrong_of(
    order: Order, answers: list[Answer], effects: Effects, keypairs: dict[str, str]
) -> Iterator[tuple[Wrong, str]]:
    """What is wrong with one order."""
    made, surviving = effects.of(order)
    if surviving > 1 or (made > 1 and not order.regenerated):
        yield Wrong.DUPLICATES, f"made {made} times, {surviving} are left"
    if len(set(answers)) > 1:
        yield Wrong.DIFFERING, f"{set(answers)}"
    answer = answers[0]
    if answer.unknown and order.probed:
        yield Wrong.LOST, "unknown, though there is a probe for it"
    if surviving < 1 and not answer.unknown:
        yield Wrong.LOST, f"answered {answer.status}, but nothing is there"
    if not answer.unknown and not names_what_is_there(order, answer, effects, keypairs):
        yield Wrong.DIFFERING, f"the answer names something else: {answer.body!r}"


class Effects:
    """The ledger by name: what was made, and what of it is left."""

    def __init__(self, ledger: list[Effect]) -> None:
        self._made: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._deleted: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.resources: dict[tuple[str, ...], list[str]] = {}
        for effect in ledger:
            names = tuple(effect["names"])
            counted = self._deleted if effect["method"] == "DELETE" else self._made
            counted[(effect["kind"], names)] += 1
            self.resources[names] = effect["resources"]

    def of(self, order: Order) -> tuple[int, int]:
        """How often an order's effect was made, and how many are left."""
        key = (order.kind, order.names)
        return self._made[key], self._made[key] - self._deleted[key]


def names_what_is_there(
    order: Order, answer: Answer, effects: Effects, keypairs: dict[str, str]
) -> bool:
    """Whether an answer fits what is in Nova."""
    body = answer.json
    resource = effects.resources.get(order.names, [""])[0]
    if order.kind == "image":
        return bool(body.get("image_id") == resource)
    if "reservation_id" in body:
        return True
    if order.kind == "server":
        named = body.get("server", {}).get("id") == resource
        return named and str(answer.location).endswith(f"/servers/{resource}")
    keypair = body.get("keypair", {})
    same = keypair.get("public_key") == keypairs.get(order.names[0], "")
    return same and private_key_fits(keypair)


def private_key_fits(keypair: dict[str, str]) -> bool:
    """Whether a keypair's private key, if it has one, is that of its public key."""
    if "private_key" not in keypair:
        return True
    own = load_pem_private_key(keypair["private_key"].encode(), None).public_key()
    text = own.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return text.split()[:2] == keypair["public_key"].split()[:2]
