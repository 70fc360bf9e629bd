"""Whether a cluster may be used: its version, its quota, and whose records it holds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import msgspec
from grpc import StatusCode
from oslo_log import log

from dedupd.errors import ConfigError
from dedupd.ports import StoreUnavailable
from dedupd.store import etcd_requests
from dedupd.store.etcd_cluster import LATE, Cluster, Refused
from dedupd.store.etcd_stubs import rpc
from dedupd.store.origin import Origin

LOG = log.getLogger(__name__)

LAYOUT = 1
"""The layout of ``etcd_keys``."""

TOLD_TO_ROOT = "3.5.28 or later"
"""What is known of a member that tells its version to etcd's root only: so do 3.5.28 to 3.5.30 and
3.6 (CVE-2026-33413, etcd issue 21663); what was before them told it to anybody."""

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class NoRecords(ConfigError):
    """Nobody has used the prefix yet."""


class Meta(msgspec.Struct, frozen=True):
    """What the prefix belongs to; the latter two are its ``Origin``."""

    layout: int
    identity: str
    region: str = ""


async def versions(cluster: Cluster) -> dict[str, str]:
    """The version of each member that answers, by its endpoint.

    Raises:
        Refused: those that answer do not take us.
        StoreUnavailable: none answers.
    """
    endpoints = cluster.endpoints
    answers = await asyncio.gather(*(_version(cluster, one) for one in endpoints))
    known: dict[str, str] = {}
    for endpoint, answer in zip(endpoints, answers, strict=True):
        if isinstance(answer, str):
            known[endpoint] = answer
        else:
            LOG.warning("etcd: the version of %s is not known: %s", endpoint, answer)
    if known:
        return known
    for answer in answers:
        if isinstance(answer, Refused):
            raise answer
    raise cluster.away()


async def _version(cluster: Cluster, endpoint: str) -> str | StoreUnavailable:
    try:
        status = await cluster.ask_member(endpoint, "Maintenance", "Status", rpc.StatusRequest())
    except StoreUnavailable as error:
        if not _is_for_root(error):
            return error
        LOG.info("etcd: %s tells its version to root only", endpoint)
        return TOLD_TO_ROOT
    return str(status.version)


def _is_for_root(error: StoreUnavailable) -> bool:
    """Whether it is refused to us, though etcd takes us for a user."""
    return isinstance(error, Refused) and error.code is StatusCode.PERMISSION_DENIED


def loses_writes(version: str) -> bool:
    """Whether a version is known to lose acknowledged writes when it is killed.

    3.5.0 to 3.5.4 do (etcd issues 13766 and 14370; seen: 2 writes in 15 kills of 3.5.1).
    """
    found = _VERSION.match(version)
    return found is not None and (3, 5, 0) <= tuple(map(int, found.groups())) <= (3, 5, 4)


def refuse_lossy(versions: Mapping[str, str], *, known_bad: bool) -> None:
    """Refuse members that are known to lose acknowledged writes, unless ``known_bad`` allows it.

    Raises:
        ConfigError: there is one.
    """
    bad = {endpoint: version for endpoint, version in versions.items() if loses_writes(version)}
    if not bad:
        return
    members = ", ".join(f"{endpoint} runs {version}" for endpoint, version in bad.items())
    if not known_bad:
        raise ConfigError(
            f"[store] url: {members}, and etcd 3.5.0 to 3.5.4 lose acknowledged writes when they "
            "are killed (etcd issue 14370). Upgrade to 3.5.5 or later, or 3.4.21 or later; or, "
            "for a test, set allow_lossy_etcd = true in [store]."
        )
    LOG.warning("etcd: %s, which loses acknowledged writes when it is killed", members)


async def refuse_full(cluster: Cluster) -> None:
    """Refuse a cluster that is full: it raises an alarm, and takes no write until that is lifted.

    One that tells of its alarms to root only is taken for one that has none.

    Raises:
        StoreUnavailable: it is full, or does not answer.
    """
    try:
        answer, _ = await cluster.ask("Maintenance", "Alarm", rpc.AlarmRequest(), late=LATE)
    except Refused as refusal:
        if not _is_for_root(refusal):
            raise
        LOG.info("etcd: %s tells of its alarms to root only", cluster.engine)
        return
    if any(alarm.alarm == rpc.NOSPACE for alarm in answer.alarms):
        raise StoreUnavailable.of(
            cluster.engine,
            " is full (alarm NOSPACE) and refuses every write. Make room and lift the alarm "
            "(docs/operations.md, 'etcd is full'); until then restart no worker",
        )


async def claim_prefix(cluster: Cluster, key: bytes, origin: Origin, *, create: bool) -> None:
    """Make sure that the prefix is of this origin; take it if it is nobody's and ``create``.

    One that is there already is only read, which etcd also does when it is full. One that was
    taken before prefixes kept a region is given ours, if ``create``. Where etcd is full just then
    nobody gets in: servers of two regions might, and would both write once there is room again.

    Raises:
        ConfigError: it is another one's, or of another layout.
        NoRecords: it is nobody's.
        StoreUnavailable: no answer in time, or it is to be written and etcd is full.
    """
    ours = msgspec.json.encode(Meta(LAYOUT, origin.identity, origin.region))
    while True:
        answer, _ = await cluster.ask("KV", "Range", rpc.RangeRequest(key=key), late=LATE)
        value = answer.kvs[0].value if answer.kvs else None
        if value is None and not create:
            raise NoRecords(
                f"[store] prefix: {cluster.engine} has no records of dedupd below it (no key "
                f"{key.decode()}); start dedupd once, or name the prefix that it uses."
            )
        if value is not None and (_compare(origin, key.decode(), value).region or not create):
            return
        if await _replace(cluster, key, value, ours):
            return


async def _replace(cluster: Cluster, key: bytes, value: bytes | None, new: bytes) -> bool:
    """Whether a key was written; it is not where its value (None: no key) is another by now."""
    as_read = etcd_requests.is_absent(key) if value is None else etcd_requests.has_value(key, value)
    request = etcd_requests.transaction([as_read], [etcd_requests.put(key, new)])
    answer, _ = await cluster.ask("KV", "Txn", etcd_requests.message(request))
    return bool(answer.succeeded)


def _compare(origin: Origin, name: str, value: bytes) -> Meta:
    """What the key says, if it can be ours.

    Raises:
        ConfigError: it cannot.
    """
    try:
        theirs = msgspec.json.decode(value, type=Meta)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"[store] prefix: the key {name} is not dedupd's ({error}). Choose another prefix; "
            "nothing was changed."
        ) from None
    if theirs.layout != LAYOUT:
        raise ConfigError(
            f"[store] prefix: {name} names layout {theirs.layout}, and this dedupd reads layout "
            f"{LAYOUT}. Use the dedupd that wrote it, or another prefix; nothing was changed."
        )
    refusal = origin.refuses(Origin(theirs.identity, theirs.region))
    if refusal is not None:
        why, advice = refusal
        raise ConfigError(
            f"[store] prefix: {name}: {why}. {advice}, or choose another prefix; nothing was "
            "changed."
        )
    return theirs
