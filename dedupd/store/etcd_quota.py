"""How much etcd may hold: its quota, which it tells among its metrics and nowhere else.

When etcd reaches its quota it refuses every write, so that token requests are answered 503 until
an operator has made room. Its default of 2 GiB is about a million finished server creates.
"""

from __future__ import annotations

import asyncio
import re

import aiohttp
from oslo_log import log

from dedupd.store.etcd_cluster import Cluster

LOG = log.getLogger(__name__)

ENOUGH_BYTES = 8 * 1024**3
"""What etcd's documentation takes for the largest useful quota, and ours for the usual one."""

ANSWER_SECONDS = 1.0

_QUOTA = re.compile(r"^etcd_server_quota_backend_bytes (\S+)$", re.MULTILINE)


async def quotas(cluster: Cluster) -> dict[str, int]:
    """The quota in bytes of each member that tells it, by its endpoint; asks all at once."""
    found = await asyncio.gather(*(_quota(cluster, endpoint) for endpoint in cluster.endpoints))
    pairs = zip(cluster.endpoints, found, strict=True)
    return {endpoint: quota for endpoint, quota in pairs if quota is not None}


async def warn_of_small_quota(cluster: Cluster) -> None:
    """Say in the log which members hold less than the usual."""
    for endpoint, quota in (await quotas(cluster)).items():
        if quota < ENOUGH_BYTES:
            LOG.warning("etcd: %s", small(endpoint, quota))


def small(endpoint: str, quota: int) -> str:
    """What to say of a quota that is small."""
    return (
        f"{endpoint} holds {quota / 1024**3:.1f} GiB at most, and refuses every write when it is "
        "full; start it with --quota-backend-bytes 8589934592"
    )


async def _quota(cluster: Cluster, endpoint: str) -> int | None:
    """One member's quota; None where its metrics are not served, or elsewhere."""
    security = cluster.security
    scheme = "http" if security is None else "https"
    connector = aiohttp.TCPConnector(ssl=True if security is None else security.of_http())
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"{scheme}://{endpoint}/metrics") as answer,
        ):
            found = _QUOTA.search(await answer.text())
    except (aiohttp.ClientError, TimeoutError) as error:
        LOG.debug("etcd: the quota of %s is not known: %s", endpoint, error)
        return None
    return int(float(found[1])) if found else None
