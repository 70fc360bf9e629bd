"""Which tokens a front has lately heard of: a hint whether a request is new."""

from __future__ import annotations

from dedupd.ports import Stored

REMEMBERED = 20_000
"""How many ids are remembered, in some 4 MB; the oldest are forgotten first."""


class Recent:
    """Ids that had a record when they were noted.

    Nothing depends on its being right. A request that is not in it is claimed without looking
    first, which saves a new one a look; one that is in it is looked for, which costs a repeat less
    than a claim that fails.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._ids: dict[str, None] = {}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._ids

    def note(self, request_id: str) -> None:
        """There is a record of this id."""
        self._ids[request_id] = None
        if len(self._ids) > self._remembered:
            del self._ids[next(iter(self._ids))]

    def hear(self, stored: Stored) -> None:
        """A request has ended, here or elsewhere."""
        self.note(stored.record.id)
