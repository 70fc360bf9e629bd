"""The check of an etcd cluster."""

from __future__ import annotations

from dedupd.cmd import wiring
from dedupd.cmd.check.line import Finding, ok, warning
from dedupd.conf import Settings
from dedupd.store import etcd_check, etcd_quota


async def store(settings: Settings) -> Finding:
    """Every member answers, none is full or loses writes, and the records are of this origin."""
    cluster = wiring.etcd_cluster(settings.store)
    await cluster.open()
    try:
        versions = await etcd_check.versions(cluster)
        etcd_check.refuse_lossy(versions, known_bad=settings.store.allow_lossy_etcd)
        quotas = await etcd_quota.quotas(cluster)
        await etcd_check.refuse_full(cluster)
    finally:
        await cluster.close()
    return _finding(settings, versions, quotas) or ok(await _depth(settings, versions))


def _finding(
    settings: Settings, versions: dict[str, str], quotas: dict[str, int]
) -> Finding | None:
    """What an operator should see to, though it works."""
    for endpoint in settings.store.url.endpoints:
        if endpoint not in versions:
            return warning(f"{endpoint} does not answer; the others do")
    for endpoint, version in versions.items():
        if etcd_check.loses_writes(version):
            return warning(f"{endpoint} runs {version}, which loses acknowledged writes")
    for endpoint, quota in quotas.items():
        if quota < etcd_quota.ENOUGH_BYTES:
            return warning(etcd_quota.small(endpoint, quota))
    return None


async def _depth(settings: Settings, versions: dict[str, str]) -> str:
    named = f"{settings.store.url}, etcd {', '.join(sorted(set(versions.values())))}"
    if not settings.seal.key_file.exists():
        return f"{named}; its records were not looked at without a key file"
    keys = wiring.load_keys(settings, create=False)
    opened = wiring.open_store(settings, keys, exclusive=False)
    try:
        await opened.open()
    except etcd_check.NoRecords:
        return f"{named}, no records yet: [store] prefix is taken at the first start"
    try:
        return f"{named}, {(await opened.depth()).total} requests pending"
    finally:
        await opened.close()
