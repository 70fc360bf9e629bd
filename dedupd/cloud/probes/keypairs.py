"""POST /os-keypairs: Nova keeps one name once for each user, so a repeat cannot make two.

A public key is the mark of its keypair. Where Nova would generate a key, whose private half only
the answer holds, it is drawn before the claim instead, kept with the payload, and imported: the
private half is then added to Nova's answer, wherever that comes from. So nothing is ever deleted.

The key of a certificate (x509) is Nova's own; if the answer is lost, so is that.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec

from dedupd.cloud.ask import Asker, CannotAsk, document, query
from dedupd.cloud.probes.base import (
    REFUSED,
    Absent,
    Discarded,
    Errand,
    Finding,
    Found,
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

IMPORTED_SINCE = Microversion(2, 92)
"""From here on Nova generates no key. (What ``latest`` is, it alone knows.)"""


class KeypairProbe:
    """The probe of POST /os-keypairs."""

    def prepare(self, errand: Errand) -> Call:
        """As it came, or with the public key that was drawn."""
        call, key = errand.payload.call, errand.payload.key
        if key is None:
            return call
        keypair = errand.document["keypair"] | {"public_key": key.public_key}
        body = msgspec.json.encode(errand.document | {"keypair": keypair})
        return msgspec.structs.replace(call, body=body)

    async def existed(self, errand: Errand, asker: Asker) -> bool | None:
        """Whether the user has a keypair of that name already; None where we may not see.

        No matter where the key was drawn: nobody else has it.
        """
        if _keypair(errand.document) is None or errand.payload.key is not None:
            return None
        answer = await self._asked(errand, asker)
        return {200: True, 404: False}.get(answer.status)

    async def look(self, errand: Errand, asker: Asker, *, thorough: bool = True) -> Finding:
        """By name, which is always thorough; the same public key is ours, another never was."""
        wanted = _keypair(errand.document)
        if wanted is None:
            return Undecided("The request names no keypair.")
        answer = await self._show(errand, asker)
        if answer is None or errand.record.existed:
            return Absent()
        shown = document(answer, "Showing a keypair")["keypair"]
        sent = _public_key(errand)
        if sent is None:
            return Undecided(
                f"Keypair {shown['name']!r} is there; if this request made it, its private key "
                "went with the lost answer."
            )
        return await self._adopt(errand, asker, shown) if _same(sent, shown) else Absent()

    async def adopt(self, errand: Errand, asker: Asker, resource_id: str) -> Finding:
        """See ``Probe.adopt``; the private key of a certificate is not in the answer."""
        wanted = _keypair(errand.document)
        if wanted is None or resource_id != _name(errand):
            return Undecided(f"The request does not name keypair {resource_id!r}.")
        answer = await self._show(errand, asker)
        if answer is None:
            return Absent()
        shown = document(answer, "Showing a keypair")["keypair"]
        sent = _public_key(errand)
        if sent is not None and not _same(sent, shown):
            return Undecided(f"Keypair {resource_id!r} has another public key than the request.")
        return await self._adopt(errand, asker, shown)

    def resource(self, errand: Errand, answer: Answer) -> Resource | None:
        """The keypair that the answer holds."""
        try:
            return _resource(errand, msgspec.json.decode(answer.body)["keypair"])
        except (*NOT_JSON, KeyError, TypeError):
            return None

    def complete(self, errand: Errand, answer: Answer) -> Answer:
        """With the private key that was drawn, where Nova puts one that it has generated."""
        key = errand.payload.key
        if key is None:
            return answer
        try:
            made = msgspec.json.decode(answer.body)["keypair"]
            body = json.dumps({"keypair": {"private_key": key.private_key} | made}).encode()
        except (*NOT_JSON, KeyError, TypeError):
            return answer
        return msgspec.structs.replace(answer, body=body)

    async def surplus(
        self, errand: Errand, named: Resource | None, asker: Asker
    ) -> tuple[Resource, ...]:
        """The keypair, if it is there and not named: of two POSTs under one name one is refused."""
        finding = await self.look(errand, asker) if named is None else Absent()
        return (finding.resource,) if isinstance(finding, Found) else ()

    async def discard(
        self, errand: Errand, resource: Resource, asker: Asker
    ) -> tuple[Discarded, ...]:
        """Never: it is known by a name, which may stand for what another has made since."""
        return ()

    async def _show(self, errand: Errand, asker: Asker) -> Answer | None:
        """Nova's answer about the keypair, or None where there is no such name."""
        answer = await self._asked(errand, asker)
        if answer.status not in (200, 404):
            raise CannotAsk(f"Showing keypair {_name(errand)!r}: Nova answered {answer.status}.")
        return answer if answer.status == 200 else None

    async def _asked(self, errand: Errand, asker: Asker) -> Answer:
        """As the caller, whose keypairs they are, or as the service user in the caller's name."""
        path = f"/os-keypairs/{quote(_name(errand), safe='')}"
        user = _other_user(errand)
        named = {"user_id": user} if user else {}
        answer = await asker.as_caller(query(errand.base + path, named), errand.requested)
        if answer.status not in REFUSED or not asker.has_service_user:
            return answer
        target = query(errand.modern_root + path, {"user_id": user or errand.record.user_id})
        version = max(errand.effective, FOR_OTHERS_SINCE)
        return await asker.as_service(target, version)

    async def _adopt(self, errand: Errand, asker: Asker, shown: dict[str, Any]) -> Found:
        """The lost answer byte for byte as Nova makes it (views/keypairs.py, create).

        Only its request id cannot be had again.
        """
        typed = errand.effective >= TYPED_SINCE
        names = ["type"] * typed + ["name", "public_key", "fingerprint", "user_id"]
        body = json.dumps({"keypair": {name: shown[name] for name in names}}).encode()
        headers = common_headers(await ask_as_before(errand, asker, "/os-keypairs"))
        answer = self.complete(errand, Answer(201 if typed else 200, headers, body))
        return Found(answer, _resource(errand, shown))


def generates(document: Any, version: Microversion) -> bool:
    """Whether Nova would generate an SSH key for this request, which can then be drawn here."""
    wanted = _keypair(document)
    return (
        wanted is not None
        and "public_key" not in wanted
        and wanted.get("type", "ssh") == "ssh"
        and version < IMPORTED_SINCE
    )


def _keypair(body: Any) -> dict[str, Any] | None:
    keypair = body.get("keypair") if isinstance(body, dict) else None
    named = isinstance(keypair, dict) and isinstance(keypair.get("name"), str)
    return keypair if named else None


def _name(errand: Errand) -> str:
    """The name as Nova keeps it: stripped on ``/v2``, where 2.1 and later refuse such a one."""
    return str(errand.document["keypair"]["name"]).strip()


def _public_key(errand: Errand) -> str | None:
    """The public key that is sent; None where Nova generates one."""
    key = errand.payload.key
    given = errand.document["keypair"].get("public_key") if key is None else key.public_key
    return None if given is None else str(given)


def _same(sent: str, shown: dict[str, Any]) -> bool:
    return sent.strip() == str(shown["public_key"]).strip()


def _other_user(errand: Errand) -> str:
    """The user that an administrator makes the keypair for, or an empty string."""
    if errand.effective < FOR_OTHERS_SINCE:
        return ""
    return str(errand.document["keypair"].get("user_id") or "")


def _resource(errand: Errand, shown: dict[str, Any]) -> Resource:
    name = str(shown["name"])
    link = f"{errand.base}/os-keypairs/{quote(name, safe='')}"
    return Resource(type="keypair", id=name, name=name, link=link)
