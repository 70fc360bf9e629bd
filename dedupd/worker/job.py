"""One request in a worker's hands, and how its record is moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from dedupd.cloud import routes
from dedupd.cloud.ask import Asker, ServiceUser
from dedupd.cloud.probes.base import Errand, Probe
from dedupd.ports import Cloud, Store, Stored, StoreUnavailable
from dedupd.request import Record
from dedupd.seal import Keys
from dedupd.sealed import open_payload
from dedupd.worker import policies


@dataclass
class Job:
    """A request being carried out: its record as last written, and what it carries."""

    errand: Errand
    probe: Probe | None
    asker: Asker

    @property
    def record(self) -> Record:
        """The record as last written or read."""
        return self.errand.record

    def advance(self, record: Record) -> None:
        """Go on from ``record``, which stands in the store now."""
        self.errand = msgspec.structs.replace(self.errand, record=record)


class Opener:
    """Makes a job of a stored request.

    Args:
        keys: Open the payload.
        cloud: Where questions go.
        service_user: Whose token stands beside the caller's, if there is one.
        ask_seconds: How long one question may take.
        probes: The probe of each kind, by the name that stands in the table of routes.
    """

    def __init__(
        self,
        keys: Keys,
        cloud: Cloud,
        service_user: ServiceUser | None,
        ask_seconds: float,
        probes: Mapping[str, Probe] | None = None,
    ) -> None:
        self._keys = keys
        self._cloud = cloud
        self._service_user = service_user
        self._ask_seconds = ask_seconds
        self._probes = routes.probes() if probes is None else probes

    def open(self, stored: Stored) -> Job:
        """The job of a pending request.

        Raises:
            Unsealable: its payload cannot be opened.
        """
        record = stored.record
        payload = open_payload(self._keys, stored)
        asker = Asker(self._cloud, payload.call.headers, self._service_user, self._ask_seconds)
        probe = self._probes.get(routes.BY_NAME[record.route].probe)
        return Job(routes.errand(record, payload), probe, asker)


async def commit(
    store: Store, before: Record, after: Record, result: bytes | None = None
) -> Record | None:
    """Swap until it is certain whether ``after`` stands: the store may be away meanwhile.

    Returns:
        The record as written, by this call's first try or a later one; None where another
        worker moved the record first.
    """

    async def swap() -> Record | None:
        written = await store.swap(before, after, result=result)
        if written is not None:
            return written
        standing = (await store.read([before.id])).get(before.id)
        return standing.record if standing and _same(standing.record, after) else None

    try:
        return await swap()
    except StoreUnavailable:
        return await policies.COMMIT.repeat(swap)


def _same(standing: Record, after: Record) -> bool:
    """Whether the record is the one that was to be written: a try that seemed to fail did not."""
    return msgspec.structs.replace(standing, version=0) == msgspec.structs.replace(after, version=0)
