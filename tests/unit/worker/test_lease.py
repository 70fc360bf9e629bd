"""A worker's right to send: short of it, it stops by itself; lost, it is never revived."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from dedupd.ports import StoreUnavailable
from dedupd.worker.lease import SEND_MARGIN, Lease
from tests.unit.site import Site

VIRTUAL_TIME = True

SECONDS = 10.0


@pytest.fixture
def lease(site: Site) -> Lease:
    return Lease(site.store, SECONDS, site.clock)


@pytest.fixture
async def kept(lease: Lease) -> AsyncIterator[Lease]:
    """One that is kept alive."""
    await lease.take()
    keeping = asyncio.create_task(lease.keep())
    await asyncio.sleep(0)
    yield lease
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def living(site: Site) -> list[str]:
    return [worker.id for worker in await site.store.workers()]


async def test_is_registered_with_host_and_process(site: Site, lease: Lease) -> None:
    assert not lease.may_send()
    await lease.take()
    [worker] = await site.store.workers()
    assert worker.id == lease.worker_id
    assert (worker.host, worker.pid) == (socket.gethostname(), os.getpid())
    assert worker.lease_until == site.clock() + SECONDS
    assert lease.may_send()


async def test_no_two_have_the_same_identity(site: Site) -> None:
    one, other = Lease(site.store, SECONDS, site.clock), Lease(site.store, SECONDS, site.clock)
    await one.take()
    await other.take()
    assert len(await living(site)) == 2


async def test_allows_to_send_while_enough_is_left(site: Site, lease: Lease) -> None:
    await lease.take()
    site.clock.ahead += SECONDS * (1 - SEND_MARGIN) - 0.001
    assert lease.may_send()
    site.clock.ahead += 0.002
    assert not lease.may_send()


async def test_without_care_it_ends(site: Site, lease: Lease) -> None:
    await lease.take()
    await asyncio.sleep(SECONDS + 0.001)
    assert not await living(site)


async def test_with_care_it_lives_under_one_name(site: Site, kept: Lease) -> None:
    name = kept.worker_id
    for _ in range(100):
        await asyncio.sleep(SECONDS / 2)
        assert await living(site) == [name]
        assert kept.may_send()


async def test_while_the_store_is_away_it_runs_short_but_is_tried_for(
    site: Site, kept: Lease
) -> None:
    name = kept.worker_id
    site.store.away = True
    await asyncio.sleep(SECONDS * 0.8)
    assert not kept.may_send()
    site.store.away = False
    await asyncio.sleep(SECONDS * 0.3)
    assert kept.may_send()
    assert kept.worker_id != name or await living(site) == [name]


async def test_a_lost_one_is_replaced_under_another_name(site: Site, kept: Lease) -> None:
    """The machine was suspended: what the old name holds is others' by now."""
    name = kept.worker_id
    site.clock.ahead += 2 * SECONDS
    assert not kept.may_send()
    await asyncio.sleep(SECONDS / 3 + 0.001)
    assert kept.may_send()
    assert kept.worker_id != name
    assert await living(site) == [kept.worker_id]


async def test_one_that_cannot_be_replaced_yet_does_not_send(site: Site, kept: Lease) -> None:
    site.store.away = True
    await asyncio.sleep(5 * SECONDS)
    assert not kept.may_send()
    site.store.away = False
    await asyncio.sleep(SECONDS)
    assert kept.may_send()


async def test_given_up_it_is_gone_at_once(site: Site, lease: Lease) -> None:
    await lease.take()
    await lease.give_up()
    assert not lease.may_send()
    assert not await living(site)


async def test_it_does_not_send_even_where_the_store_did_not_hear_of_it(
    site: Site, lease: Lease
) -> None:
    await lease.take()
    site.store.away = True
    with pytest.raises(StoreUnavailable):
        await lease.give_up()
    assert not lease.may_send()


class TestRenewed:
    async def test_says_yes_at_once_where_enough_is_left(self, site: Site, lease: Lease) -> None:
        await lease.take()
        began = site.clock()
        assert await lease.renewed()
        assert site.clock() == began

    async def test_waits_for_the_next_prolongation(self, site: Site, kept: Lease) -> None:
        """The process was paused, for less than the lease lasts."""
        site.clock.ahead += SECONDS * 0.8
        began = site.clock()
        assert await kept.renewed()
        assert site.clock() - began <= SECONDS / 3 + 0.001

    async def test_or_for_a_new_identity(self, site: Site, kept: Lease) -> None:
        name = kept.worker_id
        site.clock.ahead += 2 * SECONDS
        assert await kept.renewed()
        assert kept.worker_id != name

    async def test_but_not_for_ever(self, site: Site, kept: Lease) -> None:
        site.store.away = True
        await asyncio.sleep(SECONDS)
        began = site.clock()
        assert not await kept.renewed()
        assert site.clock() - began <= SECONDS / 2 + 0.001
