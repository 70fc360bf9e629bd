"""Listings: the newest records first, of one project or of all.

Each project's entries are read from the newest on, as many as are needed. A listing over all
projects merges theirs: it costs by the number of projects and of records that it looks at.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice

from dedupd.errors import NotFound
from dedupd.ports import Query
from dedupd.request import Record
from dedupd.store.etcd_keys import Keys, Place, end_of
from dedupd.store.etcd_pending import Heads, Pending
from dedupd.store.etcd_ranges import Ranges, behind

FIRST_PAGE = 16
"""How many entries of a project are read at first; every next page is twice as large."""

LARGEST_PAGE = 1024

LOOKED_AT = 100
"""How many records are read at a time to see whether they are in the wanted states."""


class Listing:
    """The listing keys of one prefix; ``heads`` reads records by their ids."""

    def __init__(self, keys: Keys, ranges: Ranges, heads: Heads, pending: Pending) -> None:
        self._keys = keys
        self._ranges = ranges
        self._heads = heads
        self._pending = pending

    async def find(self, query: Query) -> list[Record]:
        """See ``Store.find``.

        Raises:
            NotFound: the marker names no record of the project.
        """
        marker = await self._marker(query)
        if query.states and all(state.pending for state in query.states):
            return await self._find_pending(query, marker)
        places = await self._begin(query, marker)
        found: list[Record] = []
        while len(found) < query.limit:
            ids = [place.id for place in await places.take(min(LOOKED_AT, query.limit))]
            if not ids:
                break
            heads = await self._heads(ids)
            found += [heads[id_] for id_ in ids if id_ in heads and _wanted(heads[id_], query)]
        return found[: query.limit]

    async def _find_pending(self, query: Query, marker: Place | None) -> list[Record]:
        """Look among what is pending only."""
        entries = await self._pending.newest()
        behind_it = (record for place, record in entries if marker is None or place > marker)
        return list(islice((one for one in behind_it if _wanted(one, query)), query.limit))

    async def _begin(self, query: Query, marker: Place | None) -> _Merged:
        """The places that the query goes through."""
        if query.project_id is not None:
            prefixes = [self._keys.listings(query.project_id)]
        else:
            prefixes = await self._projects()
        return await _Merged.begin([_Places(self._ranges, prefix, marker) for prefix in prefixes])

    async def _marker(self, query: Query) -> Place | None:
        """Where the listing goes on."""
        if query.marker is None:
            return None
        record = (await self._heads([query.marker])).get(query.marker)
        if record is not None and query.project_id in (None, record.project_id):
            pair = await self._ranges.get(self._keys.listing(record))
            if pair is not None:
                return Keys.listed(pair.key, pair.mod_revision)
        raise NotFound(f"The marker {query.marker} names no record; list again without a marker.")

    async def _projects(self) -> list[bytes]:
        """What the listing keys of each project begin with."""
        prefixes: list[bytes] = []
        start, end = self._keys.all_listings, end_of(self._keys.all_listings)
        while pairs := (await self._ranges.page(start, end, 1, keys_only=True))[0]:
            prefixes.append(self._keys.listing_prefix(pairs[0].key))
            start = end_of(prefixes[-1])
        return prefixes


def _wanted(record: Record, query: Query) -> bool:
    in_project = query.project_id in (None, record.project_id)
    return in_project and (not query.states or record.state in query.states)


class _Places:
    """One project's places behind a marker, in their order.

    The keys are in the order of their times; those of one time are put in that of their claims,
    which takes all of them.
    """

    def __init__(self, ranges: Ranges, prefix: bytes, marker: Place | None) -> None:
        self._ranges = ranges
        self._marker = marker
        self._start = prefix + marker.time.encode() if marker else prefix
        self._end = end_of(prefix)
        self._size = FIRST_PAGE
        self._more = True
        self._ready: list[Place] = []
        """In their order, the first one last."""
        self._incomplete: list[Place] = []
        """Of a time whose keys have not all been read."""

    async def next(self) -> Place | None:
        """The next place; None: there are no more."""
        while not self._ready and self._more:
            await self._read()
        return self._ready.pop() if self._ready else None

    async def _read(self) -> None:
        """Read a page."""
        pairs, self._more = await self._ranges.page(
            self._start, self._end, self._size, keys_only=True
        )
        places = self._incomplete + [Keys.listed(pair.key, pair.mod_revision) for pair in pairs]
        self._incomplete = []
        if self._more:
            self._incomplete = [place for place in places if place.time == places[-1].time]
            self._start = behind(pairs[-1].key)
            self._size = min(2 * self._size, LARGEST_PAGE)
        complete = places[: len(places) - len(self._incomplete)]
        wanted = [place for place in complete if self._marker is None or place > self._marker]
        self._ready = sorted(wanted, reverse=True)


class _Merged:
    """The places of several projects, in their order."""

    def __init__(self, projects: Sequence[_Places], heads: list[tuple[Place, int]]) -> None:
        self._projects = projects
        self._heads = heads
        heapq.heapify(heads)

    @classmethod
    async def begin(cls, projects: Sequence[_Places]) -> _Merged:
        """Read the first place of each."""
        firsts = [(await project.next(), number) for number, project in enumerate(projects)]
        return cls(projects, [(place, number) for place, number in firsts if place is not None])

    async def take(self, count: int) -> list[Place]:
        """The next places, fewer where there are no more."""
        taken: list[Place] = []
        while self._heads and len(taken) < count:
            place, number = self._heads[0]
            taken.append(place)
            following = await self._projects[number].next()
            if following is None:
                heapq.heappop(self._heads)
            else:
                heapq.heapreplace(self._heads, (following, number))
        return taken
