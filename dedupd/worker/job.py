"""One request in a worker's hands, and how its record is moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from dedupd.cloud import routes
from dedupd.cloud.ask import Asker, ServiceUser
from dedupd.cloud.probes.base import Errand, Probe
from dedupd.exchange import Answer
from dedupd.ports import Cloud, Store, Stored, StoreUnavailable
from dedupd.request import Record, Resource
from dedupd.seal import Keys
from dedupd.sealed import open_payload
from dedupd.worker import policies


@dataclass
class Job:
    """A request being carried out: its record as last written, and what it carries.

    The latter may be missing until its first send has begun.
    """

    record: Record
    """As last written or read."""
    probe: Probe | None
    _open: Callable[[Stored], tuple[Errand, Asker]]
    is_read: bool = field(default=False, init=False)
    """Whether what it carries is here: ``errand`` and ``asker``."""
    errand: Errand = field(init=False)
    asker: Asker = field(init=False)
    accepted_by: float | None = field(default=None, init=False)
    """By when Nova had surely accepted the connection of what was sent last: something that came
    behind it was answered. None: that is not known."""
    made: Resource | None = field(default=None, init=False)
    """What an answer says that this worker made, which the record does not name."""
    failure: Answer | None = field(default=None, init=False)
    """What Nova answered this worker to what it sent last, if that left it in doubt."""

    def take_in(self, stored: Stored) -> None:
        """Go on from what is stored.

        Raises:
            Unsealable: what it carries cannot be opened.
        """
        self.errand, self.asker = self._open(stored)
        self.record, self.is_read = stored.record, True

    def advance(self, record: Record) -> None:
        """Go on from ``record``, which stands in the store now."""
        self.record = record
        self.errand = msgspec.structs.replace(self.errand, record=record)

    def settled_at(self, settle: float) -> float:
        """From when on nothing that was sent can take effect any more, as far as is known.

        ``settle``: the seconds that this takes when Nova has accepted it, and nobody waits for it.
        """
        return max(self.record.sending.send_deadline, self.accepted_by or 0.0) + settle

    async def begin(self, store: Store, sending: Record) -> bool:
        """Write SENDING, and read what it carries with it; False: the record has been moved.

        Where what it carries cannot be opened, the record is put back as it was claimed: nothing
        was sent, and nobody has to look for it.

        Raises:
            Unsealable, StoreUnavailable: nothing may be sent.
        """
        self.accepted_by = None
        if self.is_read:
            written = await store.swap(self.record, sending, worker=sending.owner)
            if written is not None:
                self.advance(written)
            return written is not None
        stored = await store.begin(self.record, sending, sending.owner)
        if stored is None:
            return False
        try:
            self.take_in(stored)
        except Exception:
            await commit(store, stored.record, self.record)
            raise
        return True


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
        job = self._job(stored.record)
        job.take_in(stored)
        return job

    def unread(self, claimed: Record) -> Job | None:
        """The job of what was claimed; None: it must be read.

        Nova is asked before the first send; or nobody here could have claimed this; or it has been
        in a worker's hands since.
        """
        if claimed.route not in routes.BY_NAME or claimed.attempts or claimed.owner:
            return None
        job = self._job(claimed)
        return None if job.probe is not None and job.probe.existed is not None else job

    def _job(self, record: Record) -> Job:
        return Job(record, self._probes.get(routes.BY_NAME[record.route].probe), self._opened)

    def _opened(self, stored: Stored) -> tuple[Errand, Asker]:
        payload = open_payload(self._keys, stored)
        asker = Asker(self._cloud, payload.call.headers, self._service_user, self._ask_seconds)
        return routes.errand(stored.record, payload), asker


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
