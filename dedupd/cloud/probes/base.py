"""What every probe shares: what it is given, what it may find, how it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec

from dedupd.cloud.ask import Asker
from dedupd.exchange import Answer, Call, Headers, Payload
from dedupd.microversion import HEADERS, LOWEST, Microversion
from dedupd.request import Record, Resource


class Errand(msgspec.Struct, frozen=True):
    """One request, read for the cloud: what to send, and what is needed to look for it."""

    record: Record
    payload: Payload
    base: str
    """The API's root in the request's path, as ``/v2.1`` or ``/compute/v2.1/<project>``."""
    legacy: bool
    """Whether it came in on ``/v2``, where Nova ignores microversions and strips names."""
    microversion: Microversion | None
    document: Any
    """The parsed JSON body, or ``msgspec.UNSET``."""

    @property
    def effective(self) -> Microversion:
        """The microversion that Nova will apply."""
        return effective(self.microversion, legacy=self.legacy)

    @property
    def requested(self) -> Microversion | None:
        """The microversion to ask with so that Nova answers as it did to the caller."""
        return None if self.legacy else self.microversion

    @property
    def root(self) -> str:
        """The base without a project: valid for whoever asks."""
        head, separator, version = self.base.rpartition("/v2")
        return head + separator + version.partition("/")[0]

    @property
    def modern_root(self) -> str:
        """The root under which a microversion counts."""
        return self.root + ".1" * self.legacy


def effective(microversion: Microversion | None, *, legacy: bool) -> Microversion:
    """The microversion that Nova applies to a request."""
    return LOWEST if legacy or microversion is None else microversion


class Found(msgspec.Struct, frozen=True):
    """The effect is there: the answer that the caller would have had, and what it names."""

    answer: Answer
    resource: Resource
    surplus: tuple[Resource, ...] = ()
    """What carries the mark beyond that: made twice."""


class Absent(msgspec.Struct, frozen=True):
    """Nothing of it was there, seen with an unbroken look."""


class Undecided(msgspec.Struct, frozen=True):
    """It cannot be told; looking again may help, sending again would be a guess."""

    reason: str


Finding = Found | Absent | Undecided


class Discarded(msgspec.Struct, frozen=True):
    """What was to be deleted, and what became of that."""

    resource: Resource
    left: str = ""
    """Why it was not deleted; empty: it was."""


COMMON_HEADERS = HEADERS | {b"vary", b"content-type", b"server"}
"""Those that Nova's answers to a GET and to a POST with the same microversion share."""

REFUSED = (401, 403)
"""The caller's credentials do not count (any more): the service user's may."""


async def ask_as_before(errand: Errand, asker: Asker, path: str) -> Answer:
    """A GET below the root with the caller's own microversion, whoever has to ask it.

    Raises:
        CannotAsk: the cloud did not tell.
    """
    answer = await asker.as_caller(errand.base + path, errand.requested)
    if answer.status not in REFUSED:
        return answer
    return await asker.as_service(errand.root + path, errand.requested)


def common_headers(answer: Answer) -> Headers:
    """What the lost answer had in common with this one."""
    return tuple(pair for pair in answer.headers if pair[0].lower() in COMMON_HEADERS)


class Probe(Protocol):
    """How one kind of POST is made recoverable."""

    def prepare(self, errand: Errand) -> Call:
        """What is really sent: marked, and the same each time it is made. Pure."""

    @property
    def existed(self) -> Callable[[Errand, Asker], Awaitable[bool | None]] | None:
        """Asks before the first send: whether what it makes is there already (None: not shown).

        None: it need not be asked. Raises CannotAsk where the cloud did not tell.
        """

    async def look(self, errand: Errand, asker: Asker, *, thorough: bool = True) -> Finding:
        """Look for the effect once; only a ``thorough`` look, which costs Nova more, says Absent.

        Raises:
            CannotAsk: the cloud did not tell.
        """

    async def adopt(self, errand: Errand, asker: Asker, resource_id: str) -> Finding:
        """What an operator says this request made: Found, as ``look`` would have it; Absent.

        Undecided where it cannot be this request's.

        Raises:
            CannotAsk: the cloud did not tell.
        """

    def resource(self, errand: Errand, answer: Answer) -> Resource | None:
        """What a fresh 2xx answer says was made, or None where it does not say. Pure."""

    def complete(self, errand: Errand, answer: Answer) -> Answer:
        """A fresh 2xx answer as the caller gets it: with what Nova did not generate. Pure."""

    async def surplus(
        self, errand: Errand, named: Resource | None, asker: Asker
    ) -> tuple[Resource, ...]:
        """What bears this request's mark and was made by another POST than ``named``.

        Where none is named, that is everything.

        Raises:
            CannotAsk: the cloud did not tell; so too where it cannot be told which POST made what.
        """

    async def discard(
        self, errand: Errand, resource: Resource, asker: Asker
    ) -> tuple[Discarded, ...]:
        """Delete what this very request made and nobody knows; only if an id and the mark say so.

        Returns:
            What became of it, and of all that the same POST made; nothing where it is not there,
            or must not be deleted.

        Raises:
            CannotAsk: the cloud did not tell what is to be deleted; nothing was.
        """
