"""Whether a fleet got what it ordered: nothing made twice, lost, or answered differently."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.integration.fleet import Answer, Fleet, Order
from tests.integration.load import USER
from tests.integration.simulated import Effect, Simulated


class Wrong(enum.Enum):
    """What must never be."""

    DUPLICATES = "duplicates"
    LOST = "lost"
    DIFFERING = "differing answers"
    OTHER = "other failures"


@dataclass(frozen=True)
class Verdict:
    """What became of a fleet's orders."""

    tokens: int
    tries: int
    """POSTs of clients."""
    found: tuple[tuple[Wrong, str], ...]

    @classmethod
    def of(cls, fleet: Fleet, nova: Simulated) -> Verdict:
        """From what the clients were told, and what Nova says that took effect."""
        found = wrong(fleet, nova.ledger(), nova.keypairs(USER))
        return cls(len(fleet.answers), fleet.tries, tuple(found))

    def __str__(self) -> str:
        """The figures in one line."""
        counts = Counter(kind for kind, _ in self.found)
        return (
            f"{self.tokens} tokens, {self.tries} POSTs of clients; "
            f"{', '.join(f'{kind.value}: {counts[kind]}' for kind in Wrong)}"
        )

    @property
    def told(self) -> str:
        """All that is wrong, one a line."""
        return "\n".join(f"{kind.value}: {told}" for kind, told in self.found)


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
