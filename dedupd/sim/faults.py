"""Faults on demand: rules that decide what befalls a request. Pure, no I/O.

The rules have the form that the launcher of the real Nova takes too, so that a test can torment
either: `{"method": "POST", "path": "/servers$", "fault": "drop-after", "times": 1}`.

| fault | what the caller sees | what happens in Nova |
|---|---|---|
| drop-before | the connection closes without a byte | nothing |
| drop-after | the connection closes without a byte | the request takes effect |
| delay-before | the answer, `seconds` late | the request takes effect `seconds` later |
| delay-after | the answer, `seconds` late | the request takes effect at once |
| NNN-before | status NNN | nothing |
| NNN-after | status NNN | the request takes effect |
| late-commit | `status` (503), or with status 0 a closed connection, at once | the request takes \
effect `seconds` later |

`probability` (1.0) lets a rule strike only so often, drawn from a generator seeded with `seed`.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable
from enum import Enum

import msgspec

SEEN_LIMIT = 10_000
_KNOWN = "drop, delay or a status, -before or -after (drop-after, 503-before); late-commit"


class Effect(Enum):
    """Whether the request takes effect in Nova, and whether the answer waits for that."""

    NEVER = "never"
    IN_TIME = "in time"
    LATE = "late"


class Fate(msgspec.Struct, frozen=True):
    """What befalls one request.

    `status` None leaves Nova's answer, 0 closes the connection without a byte, any other number
    replaces the answer. `before` is how many seconds pass before the effect, `after` how many
    between it and the answer; an answer waits for the effect unless that is LATE.
    """

    effect: Effect = Effect.IN_TIME
    status: int | None = None
    before: float = 0.0
    after: float = 0.0


UNHARMED = Fate()


class BadRule(ValueError):
    """A fault rule that names no known fault, or is malformed."""


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    """One rule: which requests it strikes (`path` is a regex searched for), how, how often."""

    fault: str
    method: str | None = None
    path: str = ""
    times: int = 1
    seconds: float = 1.0
    status: int = 503
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a rule that could never be carried out."""
        self.fate()
        try:
            re.compile(self.path)
        except re.error as error:
            raise BadRule(f"path {self.path!r} is no regular expression: {error}") from None

    def fate(self) -> Fate:
        """Return what befalls a request that this rule strikes."""
        if self.fault == "late-commit":
            return Fate(Effect.LATE, self.status, before=self.seconds)
        if self.fault == "delay-before":
            return Fate(before=self.seconds)
        if self.fault == "delay-after":
            return Fate(after=self.seconds)
        matched = re.fullmatch(r"(drop|[1-5]\d\d)-(before|after)", self.fault)
        if matched is None:
            raise BadRule(f"unknown fault {self.fault!r}; known: {_KNOWN}")
        effect = Effect.IN_TIME if matched[2] == "after" else Effect.NEVER
        return Fate(effect, 0 if matched[1] == "drop" else int(matched[1]))


class Faults:
    """The rules in force and the requests seen since they were set."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.seen: deque[tuple[str, str]] = deque(maxlen=SEEN_LIMIT)
        self._chances: list[Callable[[], float]] = []

    def replace(self, document: bytes) -> None:
        """Set the rules from a JSON list and forget the requests seen; BadRule if malformed."""
        try:
            rules = msgspec.json.decode(document or b"[]", type=list[Rule])
        except msgspec.DecodeError as error:
            raise BadRule(f"fault rules must be a JSON list of rules: {error}") from None
        self.rules = rules
        self.seen.clear()
        self._chances = [random.Random(rule.seed).random for rule in rules]

    def report(self) -> bytes:
        """Return the rules with what is left of their `times`, and the requests seen, as JSON."""
        return msgspec.json.encode({"rules": self.rules, "seen": list(self.seen)})

    def strike(self, method: str, path: str) -> Fate:
        """Return the fate of a request: that of the first rule that matches, used up by one."""
        self.seen.append((method, path))
        for rule, chance in zip(self.rules, self._chances, strict=True):
            if _matches(rule, method, path) and chance() < rule.probability:
                rule.times -= 1
                return rule.fate()
        return UNHARMED


def _matches(rule: Rule, method: str, path: str) -> bool:
    return (
        rule.times > 0 and rule.method in (None, method) and re.search(rule.path, path) is not None
    )
