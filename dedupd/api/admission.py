"""Whether there is room for one more request, in all and for its project."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from oslo_log import log

from dedupd.errors import Unavailable
from dedupd.ports import Store, StoreUnavailable

LOG = log.getLogger(__name__)

REFRESH_SECONDS = 1.0


class Admission:
    """Counts what is pending: read from the store now and then, plus what was let in since.

    What is being claimed right now counts as well: a burst finds no more room than there is.

    The bound is soft by what several fronts let in within ``refresh_seconds``.
    """

    def __init__(
        self,
        store: Store,
        max_depth: int,
        project_share: float,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self._store = store
        self._refresh_seconds = refresh_seconds
        self._max_depth = max_depth
        self._project_depth = max(1, int(max_depth * project_share))
        self._total = 0
        self._projects: Counter[str] = Counter()
        self._being_claimed = 0
        self._claiming: Counter[str] = Counter()

    def check(self, project_id: str) -> None:
        """Whether one more request of the project fits.

        Raises:
            Unavailable: the queue is full, or the project's share of it.
        """
        total = self._total + self._being_claimed
        if total >= self._max_depth:
            raise Unavailable(
                f"{total} requests wait already ([queue] max_depth is {self._max_depth}); "
                "nothing was stored. Repeat with the same token."
            )
        of_project = self._projects[project_id] + self._claiming[project_id]
        if of_project >= self._project_depth:
            raise Unavailable(
                f"Your project has {of_project} requests waiting already, which is "
                "its share ([queue] project_share); nothing was stored. Repeat with the same "
                "token."
            )

    @contextmanager
    def claiming(self, project_id: str) -> Iterator[None]:
        """Holds room for one more request of the project, until it is counted or not claimed.

        Raises:
            Unavailable: see ``check``.
        """
        self.check(project_id)
        self._being_claimed += 1
        self._claiming[project_id] += 1
        try:
            yield
        finally:
            self._being_claimed -= 1
            self._claiming[project_id] -= 1
            if not self._claiming[project_id]:
                del self._claiming[project_id]

    def count(self, project_id: str) -> None:
        """One more request of the project was let in."""
        self._total += 1
        self._projects[project_id] += 1

    def discount(self, project_id: str) -> None:
        """One of them was withdrawn."""
        self._total -= 1
        self._projects[project_id] -= 1

    async def refresh(self) -> None:
        """Read the true counts, for ever; cancel to stop."""
        while True:
            try:
                depth = await self._store.depth()
                self._total, self._projects = depth.total, Counter(depth.by_project)
            except StoreUnavailable as error:
                LOG.warning("The queue's depth was not read: %s", error)
            await asyncio.sleep(self._refresh_seconds)
