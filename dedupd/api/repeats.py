"""Answers that a front has read a moment ago: a storm of repeats asks the store once a second."""

from __future__ import annotations

from typing import NamedTuple

from dedupd.ports import Stored
from dedupd.request import State

FRESH_SECONDS = 1.0
"""How long after it was read an answer may be given again without asking the store. So long does
``dedupd request forget`` wait until it says that a token counts as never used."""

MAX_BYTES = 16 * 1024 * 1024
"""What is kept at most, as counted by ``_size``; the oldest is dropped first."""

_OVERHEAD = 2048
"""Bytes that a record takes beside its answer."""


class _Read(NamedTuple):
    stored: Stored
    at: float


class Repeats:
    """Finished requests, sealed as the store keeps them.

    What is DONE does not change but by its expiry, which its record names, and by an operator's
    ``forget``. Whoever answers from here still compares the fingerprint and the user.

    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._read: dict[str, _Read] = {}
        self._bytes = 0

    def find(self, request_id: str, now: float, clock: float) -> Stored | None:
        """What was read lately, and has not expired.

        Args:
            request_id: Its id.
            now: By the clock of ``note``.
            clock: Seconds since the epoch, by which answers expire.
        """
        read = self._read.get(request_id)
        if read is None or now - read.at >= FRESH_SECONDS:
            return None
        expires_at = read.stored.record.expires_at
        return None if expires_at is None or expires_at <= clock else read.stored

    def note(self, stored: Stored, at: float) -> None:
        """Keep what the store said when it was asked at the time ``at``, by a clock nobody sets."""
        if stored.record.state is not State.DONE:
            return
        self._drop(stored.record.id)
        self._read[stored.record.id] = _Read(stored, at)
        self._bytes += _size(stored)
        while self._read:
            oldest = next(iter(self._read))
            if at - self._read[oldest].at < FRESH_SECONDS and self._bytes <= self._max_bytes:
                return
            self._drop(oldest)

    def _drop(self, request_id: str) -> None:
        read = self._read.pop(request_id, None)
        if read is not None:
            self._bytes -= _size(read.stored)


def _size(stored: Stored) -> int:
    return _OVERHEAD + len(stored.result or b"")
