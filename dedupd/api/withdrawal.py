"""Claims that no broker has confirmed are taken back, whoever gives up waiting for that."""

from __future__ import annotations

import asyncio
from functools import partial

from oslo_log import log

from dedupd.api.admission import Admission
from dedupd.ports import Store, StoreUnavailable
from dedupd.request import Record

LOG = log.getLogger(__name__)


class Withdrawals:
    """The withdrawals under way; each runs to its end, whoever gives up waiting for it."""

    def __init__(self, store: Store, admission: Admission) -> None:
        self._store = store
        self._admission = admission
        self._under_way: set[asyncio.Task[bool]] = set()

    async def withdraw(self, record: Record, until: float) -> bool:
        """Take a claim back; at ``until`` (of the loop's clock) it goes on by itself.

        Returns:
            Whether nothing is stored any more. False: a worker has it already.

        Raises:
            StoreUnavailable: nobody can tell now; what still stands is published by the sweeper.
        """
        task = asyncio.create_task(self._forget(record))
        self._under_way.add(task)
        task.add_done_callback(partial(self._ended, record.id))
        remaining = until - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait([task], timeout=max(remaining, 0))
        if not done:
            raise StoreUnavailable(
                "The store did not answer in time, so that nobody can tell whether the request is "
                "stored. Repeat with the same token; it is not carried out twice."
            )
        return task.result()

    async def _forget(self, record: Record) -> bool:
        is_gone = await self._store.forget(record)
        if is_gone:
            self._admission.discount(record.project_id)
        return is_gone

    def _ended(self, request_id: str, task: asyncio.Task[bool]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.warning(
                "%s: not withdrawn, and left to the sweeper: %s", request_id, task.exception()
            )
