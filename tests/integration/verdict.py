"""Whether a fleet got what it ordered: nothing made twice, lost, or answered differently."""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.integration.fleet import Answer, Fleet, Order
from tests.integration.load import USER
from tests.integration.simulated import Effect


class Wrong(enum.Enum):
    """What must never be."""

    DUPLICATES = "duplicates"
    LOST = "lost"
    DIFFERING = "differing answers"
    OTHER = "other failures"


class Ledger(Protocol):
    """What can be counted in a Nova."""

    def ledger(self) -> list[Effect]:
        """Everything that took effect."""

    def keypairs(self, user: str) -> dict[str, str]:
        """The public keys of a user, by name."""


@dataclass(frozen=True)
class Violation:
    """One thing that must never be; of an order, or of the fleet (None)."""

    wrong: Wrong
    order: Order | None
    told: str

    def __str__(self) -> str:
        if self.order is None:
            return f"{self.wrong.value}: {self.told}"
        kind = f"{self.order.kind} {self.order.microversion}"
        return f"{self.wrong.value}: {self.order.client_token} ({kind}): {self.told}"


@dataclass(frozen=True)
class Verdict:
    """What became of a fleet's orders."""

    tokens: int
    tries: int
    """POSTs of clients."""
    undone: int
    """Of how many tokens something was made once more, and deleted again."""
    found: tuple[Violation, ...]

    @classmethod
    def of(cls, fleet: Fleet, nova: Ledger, *, may_undo: bool = False) -> Verdict:
        """From what the clients were told, and what Nova says that took effect.

        With ``may_undo``, what was made once more may have been deleted again: by a worker that
        was paused just when it sent, for so long that another one had to take its place.
        """
        effects = Effects(nova.ledger())
        undone = [order for order in fleet.answers if effects.undone(order)]
        found = list(wrong(fleet, effects, nova.keypairs(USER)))
        if not may_undo:
            told = "made once more, and deleted"
            found += [Violation(Wrong.DUPLICATES, order, told) for order in undone]
        return cls(len(fleet.answers), fleet.tries, len(undone), tuple(found))

    def __str__(self) -> str:
        """The figures in one line."""
        counts = ", ".join(f"{wrong.value}: {count}" for wrong, count in self.counts.items())
        return f"{self.tokens} tokens, {self.tries} POSTs of clients; {counts}"

    @property
    def counts(self) -> dict[Wrong, int]:
        """How much of each must never be."""
        counts = Counter(violation.wrong for violation in self.found)
        return {wrong: counts[wrong] for wrong in Wrong}


def wrong(fleet: Fleet, effects: Effects, keypairs: dict[str, str]) -> Iterator[Violation]:
    """Everything that is: of the whole fleet, then order by order."""
    for told in fleet.unexpected:
        yield Violation(Wrong.OTHER, None, told)
    for order, told in fleet.open.items():
        yield Violation(Wrong.LOST, order, f"not answered; the last try: {told}")
    for order, answers in fleet.answers.items():
        for kind, told in wrong_of(order, answers, effects, keypairs):
            yield Violation(kind, order, told)


def wrong_of(
    order: Order, answers: list[Answer], effects: Effects, keypairs: dict[str, str]
) -> Iterator[tuple[Wrong, str]]:
    """What is wrong with one order.

    That nobody can tell is no answer yet: Nova's own may still come to a worker that others took
    for dead, and counts then. Once it was told, it is what everybody is told.
    """
    for name in order.names:
        made, left = effects.made(order.kind, name), effects.left(order.kind, name)
        if left > 1:
            yield Wrong.DUPLICATES, f"{name} was made {made} times, {left} are left"
    told = [answer for answer in answers if not answer.unknown]
    if len(set(told)) > 1 or (told and answers[-1].unknown):
        yield Wrong.DIFFERING, f"{answers}"
    answer = told[0] if told else answers[0]
    if len(told) < len(answers) and order.probed:
        yield Wrong.LOST, "unknown, though there is a probe for it"
    missing = [name for name in order.names if not effects.left(order.kind, name)]
    if missing and not answer.unknown:
        yield Wrong.LOST, f"answered {answer.status}, but {', '.join(missing)} is not there"
    if not answer.unknown and not names_what_is_there(order, answer, effects, keypairs):
        yield Wrong.DIFFERING, f"the answer names something else: {answer.body!r}"


class Effects:
    """The ledger by kind and name: what was made, and what of it is left."""

    def __init__(self, ledger: list[Effect]) -> None:
        self._made: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._gone: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._rows: defaultdict[str, list[Effect]] = defaultdict(list)
        for effect in ledger:
            counted = self._gone if effect["method"] == "DELETE" else self._made
            for name, resource in zip(effect["names"], effect["resources"], strict=True):
                counted[effect["kind"], name].append(resource)
                self._rows[name].append(effect)

    def made(self, kind: str, name: str) -> int:
        """How often it was made."""
        return len(self._made[kind, name])

    def left(self, kind: str, name: str) -> int:
        """How many of it are left."""
        return self.made(kind, name) - len(self._gone[kind, name])

    def undone(self, order: Order) -> bool:
        """Whether something was made for an order and then deleted."""
        return any(self._gone[order.kind, name] for name in order.names)

    def resource(self, kind: str, name: str) -> str:
        """The id of the last that was made and is there; empty where there is none."""
        gone = self._gone[kind, name]
        return next((made for made in self._made[kind, name][::-1] if made not in gone), "")

    def rows(self, order: Order) -> list[Effect]:
        """Everything in the ledger that bears an order's names."""
        return [row for name in order.names for row in self._rows[name]]


def names_what_is_there(
    order: Order, answer: Answer, effects: Effects, keypairs: dict[str, str]
) -> bool:
    """Whether an answer fits what is in Nova."""
    body = answer.json
    resource = effects.resource(order.kind, order.names[0])
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
