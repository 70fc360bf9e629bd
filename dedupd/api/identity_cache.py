"""Identities that Keystone confirmed a moment ago, so that it is not asked for every request."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dedupd.api.auth import Identity

LARGEST = 10_000
"""How many identities are kept: at some 300 bytes each, a few megabytes."""


class IdentityCache:
    """Maps digests of credentials to identities, each for ``seconds`` and never past its expiry.

    Only what was confirmed is ever put in: a refusal is asked about again.
    For one event loop: no method may be called from another thread.
    """

    def __init__(
        self,
        seconds: float,
        *,
        largest: int = LARGEST,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep at most ``largest`` identities; 0 seconds keeps none."""
        self._seconds = seconds
        self._largest = largest
        self._clock = clock
        self._wall_clock = wall_clock
        self._entries: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    def __len__(self) -> int:
        """How many are held, those that have ended since the last ``put`` included."""
        return len(self._entries)

    def get(self, digest: bytes) -> Identity | None:
        """The identity, or None where there is none, or not any more."""
        until, identity = self._entries.get(digest, (0.0, None))
        return identity if identity and self._clock() < until else None

    def put(self, digest: bytes, identity: Identity) -> None:
        """Keep an identity; drop those that have ended, and the oldest beyond the bound."""
        now = self._clock()
        left = self._seconds
        if identity.expires_at is not None:
            left = min(left, identity.expires_at - self._wall_clock())
        self._entries.pop(digest, None)
        self._drop_ended(now)
        if left > 0:
            self._entries[digest] = (now + left, identity)
        while len(self._entries) > self._largest:
            self._entries.popitem(last=False)

    def _drop_ended(self, now: float) -> None:
        """Drop from the oldest on, up to the first that still holds: constant work on average."""
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            self._entries.popitem(last=False)
