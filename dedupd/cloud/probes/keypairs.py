"""POST /os-keypairs: Nova keeps one name once for each user, so a repeat cannot make two.

What can be lost is the answer; with it, for a generated key, the private key that only the answer
held. Nobody has seen that key, so the keypair is deleted and made again, but only if it did not
exist before we sent: that is asked before the first send and stands in the record.
"""

from __future__ import annotations

import datetime
import json
from typing import Any
from urllib.parse import quote

import msgspec

from dedupd.cloud.ask import ASKING, ONCE, Asker, CannotAsk, document, query
from dedupd.cloud.probes.base import (
    REFUSED,
    Absent,
    Errand,
    Finding,
    Found,
    Spoiled,
    Undecided,
    ask_as_before,
    common_headers,
)
from dedupd.exchange import NOT_JSON, Answer, Call
from dedupd.microversion import Microversion
from dedupd.request import Resource

TYPED_SINCE = Microversion(2, 2)
"""From here on: 201 in place of 200, and ``type`` in the answer."""

FOR_OTHERS_SINCE = Microversion(2, 10)
"""From here on an administrator may name a user."""

CLOCK_SKEW = 300.0
"""Seconds by which Nova's clock may be behind ours."""


class KeypairProbe:
    """The probe of POST /os-keypairs."""

    ids_last = False

    def prepare(self, errand: Errand) -> Call:
        """As it came: its name is its mark."""
        return errand.payload.call

    async def existed(self, errand: Errand, asker: Asker) -> bool | None:
        """Whether the user has a keypair of that name already; None where we may not see."""
        if _keypair(errand) is None:
            return None
        answer = await self._exchange(errand, asker, "GET")
        return {200: True, 404: False}.get(answer.status)

    async def look(self, errand: Errand, asker: Asker, *, thorough: bool = True) -> Finding:
        """By name, which is always thorough; the same public key is ours, another never was."""
        wanted = _keypair(errand)
        if wanted is None:
            return Undecided("The request names no keypair.")
        answer = await self._show(errand, asker)
        if answer is None or errand.record.existed:
            return Absent()
        shown = document(answer, "Showing a keypair")["keypair"]
        if "public_key" in wanted:
            same = _same_key(wanted, shown)
            return await self._adopt(errand, asker, shown) if same else Absent()
        return self._lost_key(errand, shown)

    async def adopt(self, errand: Errand, asker: Asker, resource_id: str) -> Finding:
        """See ``Probe.adopt``; the private key of a generated one is not in the answer."""
        wanted = _keypair(errand)
        if wanted is None or resource_id != _name(errand):
            return Undecided(f"The request does not name keypair {resource_id!r}.")
        answer = await self._show(errand, asker)
        if answer is None:
            return Absent()
        shown = document(answer, "Showing a keypair")["keypair"]
        if not _same_key(wanted, shown):
            return Undecided(f"Keypair {resource_id!r} has another public key than the request.")
        return await self._adopt(errand, asker, shown)

    def resource(self, errand: Errand, answer: Answer) -> Resource | None:
        """The keypair that the answer holds."""
        try:
            return _resource(errand, msgspec.json.decode(answer.body)["keypair"])
        except (*NOT_JSON, KeyError, TypeError):
            return None

    async def surplus(
        self, errand: Errand, named: Resource | None, asker: Asker
    ) -> tuple[Resource, ...]:
        """Nothing: of two POSTs under one name, Nova refuses one."""
        return ()

    async def discard(self, errand: Errand, resource: Resource, asker: Asker) -> bool:
        """Delete the keypair, unless one of that name was there before the request was sent.

        Asked once: by then another may have the name.
        """
        if errand.record.existed is not False:
            return False
        answer = await self._exchange(errand, asker, "DELETE")
        return answer.status in (202, 204, 404)

    async def _show(self, errand: Errand, asker: Asker) -> Answer | None:
        """Nova's answer about the keypair, or None where there is no such name."""
        answer = await self._exchange(errand, asker, "GET")
        if answer.status not in (200, 404):
            raise CannotAsk(f"Showing keypair {_name(errand)!r}: Nova answered {answer.status}.")
        return answer if answer.status == 200 else None

    async def _exchange(self, errand: Errand, asker: Asker, method: str) -> Answer:
        """As the caller, whose keypairs they are, or as the service user in the caller's name."""
        path = f"/os-keypairs/{quote(_name(errand), safe='')}"
        policy = ASKING if method == "GET" else ONCE
        user = _other_user(errand)
        named = {"user_id": user} if user else {}
        answer = await asker.as_caller(
            query(errand.base + path, named), errand.requested, method, policy
        )
        if answer.status not in REFUSED or not asker.has_service_user:
            return answer
        target = query(errand.modern_root + path, {"user_id": user or errand.record.user_id})
        version = max(errand.effective, FOR_OTHERS_SINCE)
        return await asker.as_service(target, version, method, policy)

    async def _adopt(self, errand: Errand, asker: Asker, shown: dict[str, Any]) -> Found:
        """The lost answer byte for byte as Nova makes it (views/keypairs.py, create).

        Only its request id cannot be had again.
        """
        typed = errand.effective >= TYPED_SINCE
        names = ["type"] * typed + ["name", "public_key", "fingerprint", "user_id"]
        body = json.dumps({"keypair": {name: shown[name] for name in names}}).encode()
        headers = common_headers(await ask_as_before(errand, asker, "/os-keypairs"))
        return Found(Answer(201 if typed else 200, headers, body), _resource(errand, shown))

    def _lost_key(self, errand: Errand, shown: dict[str, Any]) -> Finding:
        """A generated key: nobody has seen it, where it certainly came with the lost answer."""
        if errand.record.existed is None or not _made_since(errand, shown):
            return Undecided(
                f"Keypair {shown['name']!r} is there, but it cannot be told whether it was before "
                "the request was sent."
            )
        return Spoiled(_resource(errand, shown), "its private key went with the lost answer")


def _keypair(errand: Errand) -> dict[str, Any] | None:
    body = errand.document
    keypair = body.get("keypair") if isinstance(body, dict) else None
    named = isinstance(keypair, dict) and isinstance(keypair.get("name"), str)
    return keypair if named else None


def _name(errand: Errand) -> str:
    """The name as Nova keeps it: stripped on ``/v2``, where 2.1 and later refuse such a one."""
    return str(errand.document["keypair"]["name"]).strip()


def _same_key(wanted: dict[str, Any], shown: dict[str, Any]) -> bool:
    """Whether a keypair has the public key that was sent; one that Nova generates may be any."""
    sent = wanted.get("public_key")
    return sent is None or str(sent).strip() == str(shown["public_key"]).strip()


def _other_user(errand: Errand) -> str:
    """The user that an administrator makes the keypair for, or an empty string."""
    if errand.effective < FOR_OTHERS_SINCE:
        return ""
    return str(errand.document["keypair"].get("user_id") or "")


def _made_since(errand: Errand, shown: dict[str, Any]) -> bool:
    first = errand.record.first_sent_at
    if first is None:
        return False
    made = datetime.datetime.fromisoformat(shown["created_at"]).replace(tzinfo=datetime.UTC)
    return made.timestamp() >= first - CLOCK_SKEW


def _resource(errand: Errand, shown: dict[str, Any]) -> Resource:
    name = str(shown["name"])
    link = f"{errand.base}/os-keypairs/{quote(name, safe='')}"
    return Resource(type="keypair", id=name, name=name, link=link)
