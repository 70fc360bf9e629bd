"""Checks of what is elsewhere: Keystone, the service user, Nova."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from keystoneauth1 import discover, exceptions, session
from oslo_config import cfg

from dedupd.cloud.probes.server_rows import ASKING, TAGS_SINCE
from dedupd.cmd import wiring
from dedupd.cmd.check.line import Finding, ok, warning
from dedupd.conf import Settings, keystone
from dedupd.conf.auth import Strategy
from dedupd.errors import BadGateway, ConfigError
from dedupd.exchange import Answer, Call
from dedupd.microversion import Microversion

KEYSTONE_SECONDS = 5.0
"""How long one exchange with Keystone may take here."""

NOVA_SECONDS = 10.0

SHORTCOMINGS = (
    (
        ASKING,
        "lost effects cannot be looked up, so that a lost answer stays unknown until resolved",
    ),
    (TAGS_SINCE, "servers are marked in their metadata, which their users see, not by tags"),
)
"""What is missing below a microversion, the highest first."""


async def callers(settings: Settings) -> Finding:
    """Keystone answers, and takes dedupd's own credentials."""
    if settings.auth.strategy is Strategy.NOAUTH:
        return ok("not asked: [auth] strategy = noauth, for development only")
    return await asyncio.to_thread(_ask_keystone, settings.options)


async def service_user(settings: Settings) -> Finding:
    """Keystone gives it a token."""
    async with wiring.service_user(settings) as user:
        if user is not None:
            await user.token()
            return ok("Keystone gives it tokens")
    if settings.auth.strategy is Strategy.NOAUTH:
        return ok("not configured, and not needed with noauth")
    return warning(
        "[service_user] is not configured: a lost answer whose caller's token has expired "
        "meanwhile stays unknown"
    )


async def nova(settings: Settings) -> Finding:
    """It answers, knows the microversions that are needed, and is not the front itself."""
    if settings.nova.endpoint is None:
        return warning(
            "[nova] endpoint is not set: `dedupd standalone` brings a simulated Nova, nothing else "
            "starts like this"
        )
    wiring.refuse_itself(settings)
    async with wiring.open_cloud(settings) as cloud:
        call = Call("GET", "/", ((b"Accept", b"application/json"),))
        lowest, highest = _versions(await cloud.send(call, NOVA_SECONDS), settings.nova.endpoint)
    known = f"{settings.nova.endpoint}, microversions {lowest} to {highest}"
    missing = [f"below {needed}: {what}" for needed, what in SHORTCOMINGS if highest < needed]
    return warning("; ".join([known, *missing])) if missing else ok(known)


def _ask_keystone(options: cfg.ConfigOpts) -> Finding:
    """In a thread."""
    plugin = keystone.load_plugin(options, keystone.CALLERS)
    group = options[keystone.CALLERS]
    url = getattr(plugin, "auth_url", None)
    verify = group.cafile or not group.insecure
    asking = session.Session(auth=plugin, verify=verify, timeout=KEYSTONE_SECONDS)
    try:
        found = discover.Discover(asking, url, authenticated=False) if url else None
    except exceptions.ClientException as error:
        raise BadGateway(
            f"Keystone at {url} cannot be asked ({error}): check [{keystone.CALLERS}] auth_url"
        ) from None
    try:
        asking.get_token()
    except exceptions.ClientException as error:
        raise ConfigError(
            f"Keystone at {url} refuses dedupd's own credentials ({error}): check "
            f"[{keystone.CALLERS}]"
        ) from None
    versions = found.version_string_data() if found else []
    highest = ", ".join(str(version["version"]) for version in versions)
    return ok(f"{url}, version {highest or 'unknown'}, takes dedupd's own credentials")


class _Version(msgspec.Struct):
    id: str
    version: str = ""
    min_version: str = ""


class _Versions(msgspec.Struct):
    versions: list[_Version]


def _versions(answer: Answer, endpoint: str) -> Sequence[Microversion]:
    """The lowest and the highest microversion.

    Raises:
        BadGateway: it is no Nova, or not its root.
    """
    try:
        found = msgspec.json.decode(answer.body, type=_Versions).versions
        current = next(version for version in found if version.id == "v2.1")
        return [_read(current.min_version), _read(current.version)]
    except (msgspec.MsgspecError, StopIteration, ValueError):
        raise BadGateway(
            f"{endpoint} answers {answer.status}, but not as the root of a compute API (GET / "
            "lists its versions): check [nova] endpoint, which names no version"
        ) from None


def _read(text: str) -> Microversion:
    major, minor = text.split(".")
    return Microversion(int(major), int(minor))
