"""A token-tagged POST, understood: which request it is, and what a claim of it would store."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from dedupd import fingerprint, token
from dedupd.api.auth import Identity, without_identity
from dedupd.api.hop import as_text, forwarded
from dedupd.cloud import routes
from dedupd.exchange import Call, Headers, Payload, without
from dedupd.fingerprint import Fingerprint
from dedupd.request import Record
from dedupd.seal import Keys
from dedupd.sealed import seal_payload
from dedupd.ssh_key import GeneratedKey

_NOT_FOR_NOVA = frozenset((*token.HEADERS, b"prefer", b"accept-encoding", b"content-length"))
"""An answer that is kept must be readable, so no encoding of it is accepted."""


@dataclass(frozen=True, slots=True)
class Question:
    """One caller's request. What only a new one needs is made in ``draft``, not before."""

    id: str
    identity: Identity
    fingerprint: Fingerprint
    route: str
    path: str
    target: str
    headers: Headers
    body: bytes
    generates_key: bool
    """Whether a claim of it needs a key."""

    def draft(
        self,
        keys: Keys,
        now: float,
        entropy: Callable[[int], bytes] = os.urandom,
        key: GeneratedKey | None = None,
    ) -> tuple[Record, bytes]:
        """The record and the sealed payload of a claim at the time ``now``.

        ``entropy`` gives as many random bytes as it is asked for; ``key`` was drawn for it.

        Raises:
            BadRequest: a header would reach Nova as other bytes than those that came in.
        """
        record = Record(
            id=self.id,
            birth=entropy(8).hex(),
            project_id=self.identity.project_id,
            user_id=self.identity.user_id,
            route=self.route,
            path=self.path,
            fingerprint=self.fingerprint.digest,
            parts=self.fingerprint.parts,
            created_at=now,
        )
        headers = without(without_identity(self.headers), _NOT_FOR_NOVA)
        if not all(value.isascii() for _, value in headers):
            as_text(headers)
        call = Call(method="POST", target=self.target, headers=headers, body=self.body)
        payload = Payload(call=call, seed=entropy(16), key=key)
        return record, seal_payload(keys, record, payload)


def read(
    scope: Scope, identity: Identity, client_token: str, body: bytes, *, key: bytes, region: str
) -> Question:
    """Understand one request.

    Args:
        scope: Its ASGI scope.
        identity: Who sent it.
        client_token: Its token.
        body: Its body.
        key: The identity key.
        region: The region whose compute API this is.

    Raises:
        BadRequest: the body or the microversion is malformed.
    """
    path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii")
    headers = tuple(forwarded(scope))
    reading = routes.read(path, headers, body)
    return Question(
        id=token.identify(key, region, identity.project_id, client_token),
        identity=identity,
        fingerprint=fingerprint.take(
            key,
            path=path,
            query=query,
            microversion=str(reading.microversion or ""),
            document=reading.document,
            raw=body,
            user_id=identity.user_id if reading.route.per_user else "",
        ),
        route=reading.route.name,
        path=path,
        target=f"{path}?{query}" if query else path,
        headers=headers,
        body=body,
        generates_key=reading.generates_key,
    )
