"""A site under load, and what must be true of it whatever is done to it meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from dedupd.store.etcd import EtcdStore
from tests.integration.evidence import told_in_full
from tests.integration.fleet import Fleet
from tests.integration.load import ORDERING, SHORT, USER, mishaps, stocked, working
from tests.integration.simulated import Rule, Simulated
from tests.integration.site import PATIENCE, Service, Site
from tests.integration.verdict import Effects, Verdict
from tests.nova.call import Answer

T = TypeVar("T")

CLIENTS = 12
SOME = 20
"""How many orders make a load: so many end before something is done to the site, and after."""

LEASE_SECONDS = 2.0
"""The shortest that etcd grants."""

OUTAGE_SECONDS = 5.0
"""Within this a caller hears that nothing can be done."""

SETTINGS = {
    **SHORT,
    "worker.lease_seconds": str(LEASE_SECONDS),
    "worker.sweep_seconds": "5",
}


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return as soon as it is so; ``is_so`` must not wait.

    Raises:
        TimeoutError: it did not come about in time.
    """
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 # processes have no events
            await asyncio.sleep(0.05)


async def found(look: Callable[[], Awaitable[T]]) -> T:
    """What is found, as soon as it is anything.

    Raises:
        TimeoutError: nothing was found in time.
    """
    async with asyncio.timeout(PATIENCE):
        while not (what := await look()):  # noqa: ASYNC110 # nor have records
            await asyncio.sleep(0.05)
    return what


@asynccontextmanager
async def opened(site: Site) -> AsyncIterator[EtcdStore]:
    """Its records, for a test to read."""
    store = site.store()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@dataclass
class Scene:
    """A site, the Nova behind it, and the loads that it has borne."""

    site: Site
    nova: Simulated
    _series: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """What is ordered needs things that are there."""
        self.catalogue = stocked(self.nova)

    @asynccontextmanager
    async def under_load(
        self, rules: list[Rule] | None = None, *, may_undo: bool = False
    ) -> AsyncIterator[Fleet]:
        """Orders are carried out as long as the block, with mishaps in Nova or by ``rules``.

        Afterwards it works again, every order has been answered, and every repeat equally; nothing
        was made twice, or lost; for ``may_undo`` see ``Verdict.of``.
        """
        series = f"load{next(self._series)}"
        chance = random.Random(series)  # noqa: S311
        fleet = Fleet(self.site.urls, *ORDERING, chance)
        self.nova.faults(mishaps(chance) if rules is None else rules)
        async with working(fleet, self.catalogue.orders(chance, series), CLIENTS):
            await progress(fleet)
            yield fleet
            await progress(fleet)
        self.nova.faults([])
        await fleet.repeat_all(CLIENTS)
        verdict = await asyncio.to_thread(Verdict.of, fleet, self.nova, may_undo=may_undo)
        print(verdict)
        assert not verdict.found, await asyncio.to_thread(self._told_in_full, verdict)

    def _told_in_full(self, verdict: Verdict) -> str:
        effects = Effects(self.nova.ledger())
        return "\n".join(told_in_full(verdict, self.site.fronts[0], effects))

    def order(self, front: Service, name: str, seconds: float = PATIENCE) -> Answer:
        """POST a server under a token of its own name, once."""
        server = {"name": name, "imageRef": self.nova.image, "flavorRef": self.nova.flavor}
        return front.call(
            "POST",
            "/v2.1/servers",
            {"server": server},
            token=USER,
            client_token=name,
            seconds=seconds,
        )

    def order_for_good(self, front: Service, name: str) -> Answer:
        """The same, again and again until it is answered with what is stored."""
        deadline = time.monotonic() + PATIENCE
        while (answer := self.order(front, name)).status in (409, 503, 504):
            assert time.monotonic() < deadline, answer
        return answer

    def made(self, name: str) -> list[str]:
        """What was made under a name, and is there."""
        left: list[str] = []
        for effect in self.nova.ledger():
            if name in effect["names"]:
                left += effect["resources"] if effect["method"] == "POST" else []
                if effect["method"] == "DELETE":
                    left = [each for each in left if each not in effect["resources"]]
        return left


async def progress(fleet: Fleet) -> None:
    """Return when SOME more orders have been answered."""
    enough = len(fleet.answers) + SOME
    await until(lambda: len(fleet.answers) >= enough)
