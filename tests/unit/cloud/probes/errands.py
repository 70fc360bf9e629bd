"""Requests as a probe gets them, and clouds that the simulation cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from dedupd import ssh_key
from dedupd.cloud import routes
from dedupd.cloud.ask import Asker
from dedupd.cloud.probes.base import Errand
from dedupd.exchange import Answer, Call, Payload
from dedupd.ports import Cloud
from dedupd.request import Attempt, Record
from tests.unit.site import AUTH, SERVERS, VM, Site, call_of

DRAWN = ssh_key.generate()
SEED = b"0123456789abcdef"
SERVICE = "dedupd:service:admin"
MARK = "0" * 31 + "1"


class ServiceUser:
    """An administrator of another project."""

    async def token(self) -> str:
        return SERVICE


class Between:
    """What stands before the simulated Nova, and may answer in its place."""

    def __init__(self, site: Site) -> None:
        self._cloud = site.cloud

    async def meet(self, call: Call) -> Answer | None:
        """The answer in Nova's place; None: the call goes on to it."""
        raise NotImplementedError

    async def send(
        self,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool] = lambda: True,
        *,
        afresh: bool = False,
    ) -> Answer:
        met = await self.meet(call)
        return met or await self._cloud.send(call, timeout, permitted, afresh=afresh)


class Expired(Between):
    """A Nova that takes the caller's token no more; anything else goes on to the simulation."""

    def __init__(self, site: Site, *, all_of: str = AUTH) -> None:
        super().__init__(site)
        self._token = all_of.encode()

    async def meet(self, call: Call) -> Answer | None:
        expired = (b"x-auth-token", self._token) in call.headers
        return Answer(401, (), b"") if expired else None


class Scheduling(Between):
    """A Nova in which the last server of a page gets its host before the next page is asked for."""

    async def meet(self, call: Call) -> Answer | None:
        _, _, marker = call.target.partition("marker=")
        if marker:
            self._cloud.nova._world.servers[marker].scheduled = 0.0
        return None


class Altered(Between):
    """A Nova whose answers to some GETs are others than the simulation's."""

    def __init__(
        self,
        site: Site,
        path: str,
        document: Any,
        *,
        bare: bool = False,
        status: int = 200,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(site)
        self._path = path
        self._bare = bare
        self._seconds = seconds
        self._answer = Answer(status, (), msgspec.json.encode(document))

    async def meet(self, call: Call) -> Answer | None:
        path, _, query = call.target.partition("?")
        if not path.endswith(self._path) or (self._bare and query):
            return None
        await asyncio.sleep(self._seconds)
        return self._answer


def errand_of(
    site: Site,
    document: Any = None,
    *,
    path: str = SERVERS,
    version: str | None = "2.96",
    auth: str = AUTH,
    raw: bytes | None = None,
    mark: str = MARK,
    drawn: bool = True,
    **record: Any,
) -> Errand:
    """A request that was sent just now; ``drawn``: with a key, where it needs one."""
    call = call_of(VM if document is None else document, path, version, auth, raw)
    user, project = auth.split(":")[:2]
    now = site.clock()
    reading = routes.read(path, call.headers, call.body)
    known: dict[str, Any] = {
        "id": mark,
        "birth": "b1",
        "project_id": project,
        "user_id": user,
        "route": reading.route.name,
        "path": path,
        "fingerprint": b"",
        "parts": {},
        "created_at": now,
        "attempts": (Attempt("w", now, now + 30),),
    }
    key = DRAWN if drawn and reading.generates_key else None
    return routes.errand(Record(**(known | record)), Payload(call, SEED, key))


def asker_of(
    site: Site, errand: Errand, cloud: Cloud | None = None, *, service: bool = False
) -> Asker:
    """Who asks for the errand."""
    user = ServiceUser() if service else None
    return Asker(cloud or site.cloud, errand.payload.call.headers, user, 10.0)
