"""What happened in a history, in order: printed where it fails, digested to compare two runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One thing that happened: when, to whom, and what."""

    when: float
    who: str
    what: str
    details: tuple[Any, ...]

    def __str__(self) -> str:
        told = " ".join(str(detail) for detail in self.details)
        return f"{self.when:9.4f}  {self.who:<10} {self.what} {told}".rstrip()


class Chronicle:
    """Everything that is noted of one history; ``clock`` is its time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.events: list[Event] = []

    def note(self, who: str, what: str, *details: Any) -> None:
        """Something happened now."""
        self.events.append(Event(self._clock(), who, what, details))


def digest(events: Iterable[Event]) -> str:
    """The same for the same events at the same times."""
    whole = hashlib.sha256()
    for event in events:
        whole.update(f"{event.when!r} {event.who} {event.what} {event.details}\n".encode())
    return whole.hexdigest()
