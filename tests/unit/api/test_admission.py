"""Room for one more: in all, and for each project."""

from __future__ import annotations

import asyncio

import pytest

from dedupd import request
from dedupd.api.admission import REFRESH_SECONDS, Admission
from dedupd.errors import Unavailable
from tests.unit.site import Site

VIRTUAL_TIME = True

CAROL = "carol:" + "c" * 32


@pytest.mark.parametrize(
    ("max_depth", "share", "admitted"), [(10, 0.5, 5), (10, 1.0, 10), (1, 0.001, 1), (10, 0.05, 1)]
)
async def test_a_project_gets_its_share(
    site: Site, max_depth: int, share: float, admitted: int
) -> None:
    admission = Admission(site.store, max_depth, share)
    for _ in range(admitted):
        admission.check("p1")
        admission.count("p1")
    with pytest.raises(Unavailable) as caught:
        admission.check("p1")
    assert int(caught.value.headers["Retry-After"]) > 0
    assert "nothing was stored" in caught.value.message


async def test_what_is_being_claimed_takes_room(site: Site) -> None:
    admission = Admission(site.store, 3, 0.5)
    with admission.claiming("p1"):
        for _ in range(2):
            with pytest.raises(Unavailable, match="Your project has 1 requests"):
                admission.check("p1")
        with admission.claiming("p2"):
            admission.count("p3")
            with (
                pytest.raises(Unavailable, match="3 requests wait already"),
                admission.claiming("p4"),
            ):
                pass
        admission.check("p4")
    admission.check("p1")


async def test_all_together_get_the_whole(site: Site) -> None:
    admission = Admission(site.store, 4, 0.5)
    for project in ("p1", "p2", "p1", "p2"):
        admission.check(project)
        admission.count(project)
    with pytest.raises(Unavailable, match=r"4 requests wait already \(\[queue\] max_depth is 4\)"):
        admission.check("p3")


async def test_what_was_withdrawn_takes_no_room(site: Site) -> None:
    admission = Admission(site.store, 1, 1.0)
    admission.count("p1")
    admission.discount("p1")
    admission.check("p1")


async def test_the_store_has_the_last_word(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Other fronts let requests in too, and workers end them."""
    admission = Admission(site.store, 2, 1.0)
    refreshing = asyncio.create_task(admission.refresh())
    records = [await site.claimed(client_token=f"t{number}") for number in range(2)]
    await asyncio.sleep(REFRESH_SECONDS)
    with pytest.raises(Unavailable):
        admission.check("p9")
    done = request.finish(records[0], site.clock(), status=202, resource=None, keep=60)
    assert await site.store.swap(records[0], done)
    await asyncio.sleep(REFRESH_SECONDS)
    admission.check("p9")
    site.store.away = True
    await asyncio.sleep(REFRESH_SECONDS)
    admission.check("p9")
    assert "The queue's depth was not read" in caplog.text
    site.store.away = False
    await site.claimed(auth=CAROL)
    await asyncio.sleep(REFRESH_SECONDS)
    with pytest.raises(Unavailable):
        admission.check("p9")
    refreshing.cancel()
    await asyncio.gather(refreshing, return_exceptions=True)


async def test_the_share_counts_each_project_s_own(site: Site) -> None:
    admission = Admission(site.store, 4, 0.5)
    refreshing = asyncio.create_task(admission.refresh())
    for number in range(2):
        await site.claimed(client_token=f"t{number}", auth=CAROL)
    await asyncio.sleep(REFRESH_SECONDS)
    with pytest.raises(Unavailable, match="Your project has 2 requests waiting already"):
        admission.check("c" * 32)
    admission.check("d" * 32)
    refreshing.cancel()
    await asyncio.gather(refreshing, return_exceptions=True)
