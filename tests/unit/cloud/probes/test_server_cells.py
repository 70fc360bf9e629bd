"""Cells that are down: what they hide is never taken for what is not there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes.base import Absent, Errand, Finding, Found, Undecided
from dedupd.cloud.probes.server_cells import CELL_DOWN, CELLS_NOT_TOLD
from dedupd.cloud.probes.server_rows import CLOCK_SKEW
from dedupd.cloud.probes.servers import ServerProbe
from dedupd.exchange import Answer, Call
from dedupd.ports import Cloud
from dedupd.sim.nova.world import Settings
from tests.unit.cloud.probes.errands import Altered, Between, Expired, asker_of, errand_of
from tests.unit.cloud.probes.test_servers import OLD, looked, made
from tests.unit.simulated_cloud import SimulatedCloud
from tests.unit.site import AUTH, PROJECT, SERVERS, Site

VIRTUAL_TIME = True

PAGE = 3
ELSEWHERE = "bob:" + "b" * 32


class TestShown:
    """What Nova shows of it in a bare list."""

    def row(self, site: Site, ago: float) -> dict[str, Any]:
        when = datetime.fromtimestamp(site.clock() - ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "id": "s-1",
            "status": "UNKNOWN",
            "tenant_id": PROJECT,
            "created": when,
            "links": [],
        }

    @pytest.mark.parametrize("path", [SERVERS, "/v2/servers"])
    async def test_what_it_hides_may_be_ours(self, site: Site, path: str) -> None:
        errand = errand_of(site, OLD, path=path, version="2.30")
        cloud = Altered(site, "/v2.1/servers/detail", {"servers": [self.row(site, 0)]}, bare=True)
        finding = await looked(site, errand, cloud=cloud)
        assert finding == Undecided(CELL_DOWN)

    async def test_what_is_older_cannot(self, site: Site) -> None:
        document = {"servers": [self.row(site, CLOCK_SKEW + 10)]}
        cloud = Altered(site, "/servers/detail", document, bare=True)
        assert await looked(site, errand_of(site), cloud=cloud) == Absent()

    async def test_the_service_user_sees_it_too(self, site: Site) -> None:
        errand = errand_of(site)

        class Down(Expired):
            async def send(
                self, call: Any, timeout: float, permitted: Any = None, *, afresh: bool = False
            ) -> Answer:
                answer = await super().send(call, timeout, afresh=afresh)
                if answer.status == 200 and call.target.endswith("detail?all_tenants=1"):
                    body = msgspec.json.encode({"servers": [down]})
                    return Answer(200, (), body)
                return answer

        down = self.row(site, 0)
        finding = await looked(site, errand, cloud=Down(site), service=True)
        assert isinstance(finding, Undecided)


@pytest.fixture
def crowded(site: Site) -> Site:
    """One whose Nova lists few servers at once."""
    site.cloud = SimulatedCloud(site.clock, Settings(page_limit=PAGE))
    return site


async def fill(site: Site, servers: int = PAGE, auth: str = AUTH) -> None:
    """So many servers, of other requests, in the cell that stays up."""
    for number in range(servers):
        await made(site, errand_of(site, auth=auth, mark=f"9{number:031}"))


async def hide(site: Site, errand: Errand) -> None:
    """The errand's server, in a cell that goes down."""
    world = site.cloud.nova.world
    before = set(world.servers)
    await made(site, errand)
    for made_now in world.servers.keys() - before:
        world.servers[made_now].cell = "cell2"
    world.cells_down.add("cell2")


class Returning(Between):
    """A Nova of which the cell that was down is up again when its services are asked for."""

    async def meet(self, call: Call) -> Answer | None:
        if call.target.endswith("/os-services"):
            self._cloud.nova.world.cells_down.clear()
        return None


def asked_for_services(site: Site) -> int:
    return sum(sent.path.endswith("/os-services") for sent in site.cloud.sent)


class TestFullPage:
    """There is no room for what a cell that is down hides."""

    @pytest.mark.parametrize("path", [SERVERS, "/v2/servers", f"/v2.1/{PROJECT}/servers"])
    @pytest.mark.parametrize("others", [PAGE - 1, PAGE, PAGE + 1])
    async def test_what_it_hides_may_be_ours(self, crowded: Site, others: int, path: str) -> None:
        errand = errand_of(crowded, OLD, path=path, version="2.30")
        await hide(crowded, errand)
        await fill(crowded, others)
        assert await looked(crowded, errand, service=True) == Undecided(CELL_DOWN)

    async def test_of_the_whole_cloud(self, crowded: Site) -> None:
        """The service user's bare list is of all projects."""
        errand = errand_of(crowded)
        await hide(crowded, errand)
        await fill(crowded, auth=ELSEWHERE)
        cloud = Expired(crowded)
        assert await looked(crowded, errand, cloud=cloud, service=True) == Undecided(CELL_DOWN)

    async def test_where_no_cell_is_down_nothing_is_hidden(self, crowded: Site) -> None:
        await fill(crowded)
        assert await looked(crowded, errand_of(crowded), service=True) == Absent()
        assert asked_for_services(crowded) == 1

    async def test_is_asked_about_only_where_it_matters(self, crowded: Site) -> None:
        await fill(crowded, PAGE - 1)
        assert await looked(crowded, errand_of(crowded), service=True) == Absent()
        assert asked_for_services(crowded) == 0

    @pytest.mark.parametrize("path", [SERVERS, "/v2/servers"])
    async def test_what_comes_back_meanwhile_is_found(self, crowded: Site, path: str) -> None:
        errand = errand_of(crowded, OLD, path=path, version="2.30")
        await hide(crowded, errand)
        await fill(crowded)
        finding = await looked(crowded, errand, cloud=Returning(crowded), service=True)
        assert isinstance(finding, Found)
        assert finding.surplus == ()

    async def test_so_is_what_is_surplus(self, crowded: Site) -> None:
        errand = errand_of(crowded)
        await hide(crowded, errand)
        await fill(crowded)
        asker = asker_of(crowded, errand, cloud=Returning(crowded), service=True)
        assert len(await ServerProbe().surplus(errand, None, asker)) == 1

    async def test_nobody_but_an_administrator_is_told(self, crowded: Site) -> None:
        """Down or not: without a service user it stays in doubt."""
        await fill(crowded)
        assert await looked(crowded, errand_of(crowded)) == Undecided(CELLS_NOT_TOLD)

    async def test_a_caller_may_be_an_administrator(self, crowded: Site) -> None:
        auth = f"admin:{PROJECT}"
        await fill(crowded, auth=auth)
        assert await looked(crowded, errand_of(crowded, auth=auth)) == Absent()
        errand = errand_of(crowded, auth=auth)
        await hide(crowded, errand)
        assert await looked(crowded, errand) == Undecided(CELL_DOWN)

    async def look_told(self, site: Site, services: Any, status: int = 200) -> Finding:
        await fill(site)
        cloud: Cloud = Altered(site, "/os-services", services, status=status)
        return await looked(site, errand_of(site), cloud=cloud, service=True)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_the_service_user_may_not_ask(self, crowded: Site, status: int) -> None:
        assert await self.look_told(crowded, {}, status) == Undecided(CELLS_NOT_TOLD)

    @pytest.mark.parametrize(
        ("services", "status"),
        [({}, 500), ({}, 404), ({}, 200), ({"services": [{}]}, 200), ([], 200)],
    )
    async def test_what_is_no_list_of_services_tells_nothing(
        self, crowded: Site, services: Any, status: int
    ) -> None:
        with pytest.raises(CannotAsk, match=r"services|os-services"):
            await self.look_told(crowded, services, status)

    async def test_surplus_is_told_where_nobody_knows(self, crowded: Site) -> None:
        """What is seen can be undone, whatever is not."""
        errand = errand_of(crowded)
        await made(crowded, errand)
        await fill(crowded)
        [surplus] = await ServerProbe().surplus(errand, None, asker_of(crowded, errand))
        assert surplus.type == "server"

    async def test_surplus_is_not_told_where_a_cell_is_down(self, crowded: Site) -> None:
        errand = errand_of(crowded)
        await hide(crowded, errand)
        await fill(crowded)
        with pytest.raises(CannotAsk, match=r"A cell of this Nova is down"):
            await ServerProbe().surplus(errand, None, asker_of(crowded, errand, service=True))
