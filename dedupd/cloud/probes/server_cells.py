"""Cells of Nova that are down: what they hold is left out of every list but a bare one.

A bare list, and no other, has a row without a name for each such server, as far as its page has
room beside all that can be seen (``API.get_all`` in nova/compute/api.py): in a project of as many
servers as Nova lists at once (``[api] max_limit``) there is none. It has no second page, since
with a ``marker`` it is no bare list (``_is_cell_down_supported`` in
nova/api/openstack/compute/servers.py).
"""

from __future__ import annotations

import msgspec

from dedupd.cloud.ask import Asker, CannotAsk, document
from dedupd.cloud.probes.base import REFUSED, Errand
from dedupd.cloud.probes.server_rows import ASKING, Page, Row, listed, page_of, since

CELL_DOWN = "A cell of this Nova is down; what it holds cannot be seen."
CELLS_NOT_TOLD = (
    "There are more servers than Nova lists at once, so that it does not show what a cell that is "
    "down may hold. Whether one is, it tells administrators only (GET /os-services), and dedupd "
    "has no service user that is one."
)


class _Service(msgspec.Struct, frozen=True):
    status: str


class _Services(msgspec.Struct, frozen=True):
    services: list[_Service]


async def listed_bare(
    errand: Errand, asker: Asker, filters: dict[str, str]
) -> tuple[list[Row], str]:
    """All servers that are there, and why some may not be shown; empty: none is hidden.

    Where they are too many for one page, only those that ``filters`` list, asked for when it was
    known that no cell is down: one may have come back a moment ago.

    Raises:
        CannotAsk: the cloud did not tell.
    """
    page = await _bare_page(errand, asker)
    made = since(errand)
    if any(row.name is None and row.created >= made for row in page.servers):
        return page.servers, CELL_DOWN
    if not page.is_full:
        return page.servers, ""
    reason = await _why_doubtful(errand, asker)
    return (page.servers, reason) if reason else (await listed(errand, asker, filters), "")


async def _bare_page(errand: Errand, asker: Asker) -> Page:
    """The service user is shown every project's; a mark in another one would be a forgery."""
    path = f"{errand.modern_root}/servers/detail"
    answer = await asker.as_caller(path, ASKING)
    if answer.status not in REFUSED:
        return page_of(answer)
    page = page_of(await asker.as_service(f"{path}?all_tenants=1", ASKING))
    own = [row for row in page.servers if row.tenant_id == errand.record.project_id]
    return msgspec.structs.replace(page, servers=own)


async def _why_doubtful(errand: Errand, asker: Asker) -> str:
    """Why a cell may be down, whatever the list showed; empty: none is.

    From 2.69 on the hosts of a cell that is down have the status UNKNOWN, and the list has no
    pages (``_get_service_detail`` in nova/api/openstack/compute/services.py). Where cell0 is down,
    which has no hosts, Nova answers 500 (``_service_get_all_cells`` in nova/compute/api.py).
    """
    ask = asker.as_service if asker.has_service_user else asker.as_caller
    answer = await ask(f"{errand.modern_root}/os-services", ASKING)
    if answer.status in REFUSED:
        return CELLS_NOT_TOLD
    told = document(answer, "Listing Nova's services")
    try:
        services = msgspec.convert(told, _Services).services
    except msgspec.ValidationError as error:
        raise CannotAsk(f"Listing Nova's services: its answer cannot be read: {error}") from None
    return CELL_DOWN if any(row.status == "UNKNOWN" for row in services) else ""
