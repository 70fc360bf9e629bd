"""The status API: what became of a request, for the project that made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dedupd import request as transitions
from dedupd import token
from dedupd.api.answers import STATUS_PATH, status_url, timestamp
from dedupd.api.auth import Authenticator, Identity, without_identity
from dedupd.api.hop import forwarded
from dedupd.cloud import routes
from dedupd.errors import BadRequest, Conflict, NotFound
from dedupd.exchange import NOT_JSON, Call, without
from dedupd.number import whole
from dedupd.ports import Cloud, Lost, NotSent, Query, Store, Stored
from dedupd.request import Attempt, Record, State

MAX_LIMIT = 1000
LIVE_SECONDS = 10.0
"""How long Nova may take to show the live resource."""

_NOT_FOR_NOVA = frozenset(
    (*token.HEADERS, b"prefer", b"accept-encoding", b"content-length", b"accept")
)
_STATES = {state.label: state for state in State if state is not State.RELEASED}
_LIVE_PATHS = {
    "server": "{path}/{id}",
    "keypair": "{path}/{id}",
    "reservation": "{path}/detail?reservation_id={id}",
}
"""Where the cloud shows what a request made."""


@dataclass(frozen=True)
class Status:
    """The handlers; each authenticates first, and sees the caller's project alone."""

    store: Store
    cloud: Cloud
    authenticator: Authenticator
    identity_key: bytes
    region: str
    clock: Callable[[], float]
    cancelled_seconds: float

    async def index(self, request: Request) -> Response:
        """GET: the project's requests, newest first; ``state``, ``limit``, ``marker``."""
        identity = await self._authenticate(request)
        limit = _limit(request.query_params.get("limit", "100"))
        wanted = [_state(name) for name in request.query_params.getlist("state")]
        query = Query(
            project_id=identity.project_id,
            states=frozenset(wanted or _STATES.values()),
            marker=request.query_params.get("marker"),
            limit=limit,
        )
        records = await self.store.find(query)
        body: dict[str, Any] = {"requests": [describe(record) for record in records]}
        if len(records) == limit:
            more = f"{STATUS_PATH.rstrip('/')}?limit={limit}&marker={records[-1].id}"
            states = "".join(f"&state={state.label}" for state in wanted)
            body["requests_links"] = [{"rel": "next", "href": more + states}]
        return _json(body)

    async def one(self, request: Request) -> Response:
        """GET or DELETE of one request: see ``show`` and ``cancel``."""
        return await (self.cancel if request.method == "DELETE" else self.show)(request)

    async def show(self, request: Request) -> Response:
        """GET: one request by its token or its id; ``live=true`` asks Nova for the resource."""
        identity = await self._authenticate(request)
        stored = await self._find(request, identity)
        shown = describe(stored.record)
        if _flag(request, "live"):
            shown["live"] = await self._live(request, stored.record, identity)
        return _json({"request": shown})

    async def cancel(self, request: Request) -> Response:
        """DELETE: cancel what was not sent yet.

        Raises:
            Conflict: it was sent, or has ended.
        """
        identity = await self._authenticate(request)
        record = (await self._find(request, identity)).record
        if record.state is State.QUEUED:
            cancelled = transitions.cancel(
                record, self.clock(), detail="by its project", keep=self.cancelled_seconds
            )
            written = await self.store.swap(record, cancelled)
            if written is not None:
                return _json({"request": describe(written)})
            record = (await self._find(request, identity)).record
        raise Conflict(
            f"Request {record.id} is {record.state.label}: only what is queued can be cancelled."
        )

    async def _authenticate(self, request: Request) -> Identity:
        scope = request.scope
        return await self.authenticator.authenticate(
            scope["headers"], scope["method"], scope["path"]
        )

    async def _find(self, request: Request, identity: Identity) -> Stored:
        """The request that the path names: its token in the first place, else its id.

        Raises:
            NotFound: none of the caller's project.
        """
        name = request.path_params["name"]
        by_token = token.identify(self.identity_key, self.region, identity.project_id, name)
        found = await self.store.read([by_token, name])
        for request_id in (by_token, name):
            stored = found.get(request_id)
            if stored is not None and _visible(stored.record, identity):
                return stored
        raise NotFound("Your project has no request with this token or id.")

    async def _live(
        self, request: Request, record: Record, identity: Identity
    ) -> dict[str, Any] | None:
        """The resource as Nova shows it now to this caller; a deleted one is shown as such.

        None where it is not told: of what Nova keeps for each user, it would show the caller's own.
        """
        if record.resource is None or record.resource.type not in _LIVE_PATHS:
            return None
        if routes.BY_NAME[record.route].per_user and identity.user_id != record.user_id:
            return None
        pattern = _LIVE_PATHS[record.resource.type]
        target = pattern.format(path=record.path, id=quote(record.resource.id, safe=""))
        headers = without(without_identity(forwarded(request.scope)), _NOT_FOR_NOVA)
        call = Call("GET", target, (*headers, (b"accept", b"application/json")))
        try:
            answer = await self.cloud.send(call, LIVE_SECONDS)
        except (NotSent, Lost) as error:
            return {"state": "unreachable", "message": error.message}
        if answer.status == 404:
            return {"state": "deleted"}
        return _shown(answer.status, answer.body)


def describe(record: Record) -> dict[str, Any]:
    """A record as the API shows it: nothing of it is a secret."""
    return {
        "id": record.id,
        "state": record.state.label,
        "route": record.route,
        "path": record.path,
        "project_id": record.project_id,
        "user_id": record.user_id,
        "created_at": timestamp(record.created_at),
        "completed_at": timestamp(record.completed_at),
        "expires_at": timestamp(record.expires_at),
        "status": record.status,
        "resource": None if record.resource is None else msgspec.structs.asdict(record.resource),
        "detail": record.detail,
        "attempts": [_attempt(attempt) for attempt in record.attempts],
        "links": [{"rel": "self", "href": status_url(record)}],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "outcome": attempt.verdict.value,
        "status": attempt.status,
        "detail": attempt.detail,
        "worker": attempt.worker,
        "started_at": timestamp(attempt.started_at),
        "ended_at": timestamp(attempt.ended_at),
    }


def _visible(record: Record, identity: Identity) -> bool:
    return record.project_id == identity.project_id and record.state is not State.RELEASED


def _shown(status: int, body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except NOT_JSON:
        document = None
    servers = document.get("servers") if isinstance(document, dict) else None
    if servers == []:
        return {"state": "deleted"}
    return {"state": "shown" if status == 200 else "refused", "status": status, "body": document}


def _limit(text: str) -> int:
    limit = whole(text, 1, MAX_LIMIT)
    if limit is None:
        raise BadRequest(f"limit is malformed: it is a whole number from 1 to {MAX_LIMIT}.")
    return limit


def _state(name: str) -> State:
    if name not in _STATES:
        raise BadRequest(f"state is malformed: it is one of {', '.join(_STATES)}.")
    return _STATES[name]


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false").lower()
    if value not in ("true", "false"):
        raise BadRequest(f"{name} is malformed: it is true or false.")
    return value == "true"


def _json(body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
