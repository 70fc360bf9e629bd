"""Who a caller is: validated by Keystone, or believed (noauth, for development).

Nothing about a client token is looked up before ``Authenticator.authenticate`` has answered, and
nothing that a client says about its own identity in other headers is ever read.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from keystoneauth1.exceptions import ClientException
from oslo_config import cfg

from dedupd.api.identity_cache import IdentityCache
from dedupd.conf import keystone
from dedupd.errors import Forbidden, Unauthorized, Unavailable

if TYPE_CHECKING:
    from webob import Request

LOG = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields as ASGI gives them: names in lower case."""

_SCOPES = ("domain", "project", "project-domain", "user", "user-domain")

IDENTITY_HEADERS = frozenset(
    [
        *(
            f"x-{side}{scope}-{part}".encode()
            for side in ("", "service-")
            for scope in _SCOPES
            for part in ("id", "name")
        ),
        b"x-roles",
        b"x-service-roles",
        b"x-identity-status",
        b"x-service-identity-status",
        b"x-service-catalog",
        b"x-is-admin-project",
        b"openstack-system-scope",
        b"x-role",
        b"x-user",
        b"x-tenant",
        b"x-tenant-id",
        b"x-tenant-name",
    ]
)
"""What keystonemiddleware tells a service about a caller: from a client it would be a forgery."""

_VISIBLE = re.compile(rb"[\x21-\x7e]{1,65536}")
_NAME = r"[A-Za-z0-9._@-]{1,255}"
_ROLES = rf"{_NAME}(?:,{_NAME})*"
_NOAUTH = re.compile(rf"(?P<user>{_NAME})(?::(?P<project>{_NAME})(?::(?P<roles>{_ROLES}))?)?")

NOAUTH_PROJECT = "default"
"""The project of a noauth caller who names none."""

_USUAL_ROLES = ("member", "reader")
_LOOKUPS_AT_ONCE = 8
_ACCEPTED = 200


class Identity(msgspec.Struct, frozen=True):
    """A caller whose credentials were valid: ids are Keystone's, ``expires_at`` is Unix time."""

    user_id: str
    project_id: str
    roles: tuple[str, ...] = ()
    expires_at: float | None = None


class Authenticator(Protocol):
    """Tells who a caller is."""

    async def authenticate(
        self, headers: Headers, method: str = "POST", path: str = "/"
    ) -> Identity:
        """The caller's identity. Safe to cancel; returns or raises within a bounded time.

        Args:
            headers: The request's header fields.
            method: The request's method, against which Keystone's access rules are checked.
            path: The request's path, decoded, for the same.

        Raises:
            Unauthorized: no credentials, or bad ones; carries WWW-Authenticate.
            Forbidden: good credentials without a project.
            Unavailable: they cannot be checked now.
        """
        ...

    async def close(self) -> None:
        """Let go of threads and connections."""
        ...


def without_identity(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields without any that claims an identity.

    An underscore counts as a hyphen: WSGI servers cannot tell the two apart.
    """
    return [
        field for field in headers if field[0].lower().replace(b"_", b"-") not in IDENTITY_HEADERS
    ]


class NoAuth:
    """Believes ``X-Auth-Token: user[:project[:role,role]]``. For development, on loopback only.

    The user ``admin`` has the roles admin, member and reader where none are given; others have
    member and reader.
    """

    _CHALLENGE = 'Noauth format="user[:project[:role,role]]"'

    async def authenticate(
        self, headers: Headers, method: str = "POST", path: str = "/"
    ) -> Identity:
        """See ``Authenticator``; asks nobody, so that it is never unavailable."""
        del method, path
        token = _one(headers, b"x-auth-token", self._CHALLENGE)
        if token is None:
            raise _missing(self._CHALLENGE)
        found = _NOAUTH.fullmatch(token)
        if found is None:
            raise _unauthorized(
                "X-Auth-Token is malformed: with noauth it is user[:project[:role,role]], each "
                "name 1 to 255 of A-Z a-z 0-9 . _ @ - and nothing empty.",
                self._CHALLENGE,
            )
        return Identity(
            user_id=found["user"],
            project_id=found["project"] or NOAUTH_PROJECT,
            roles=tuple(found["roles"].split(",")) if found["roles"] else _roles(found["user"]),
        )

    async def close(self) -> None:
        """Nothing to let go of."""


class Credentials(msgspec.Struct, frozen=True):
    """What Keystone is asked about: a caller's token, and a service's that vouches for it."""

    token: str
    service_token: str | None

    def digest(self) -> bytes:
        """What stands for them in the cache, so that no token stays in memory.

        Tokens are visible ASCII, so that the zero byte keeps the two apart.
        """
        text = f"{self.token}\0{self.service_token or ''}"
        return hashlib.sha256(text.encode()).digest()


class KeystoneAuthenticator:
    """Has Keystone validate tokens, through keystonemiddleware's AuthProtocol in a few threads.

    A token that was valid is believed for a short time; look-ups of the same credentials that run
    at the same time are one. X-Service-Token is honoured: with it, Keystone accepts a token that
    expired lately. Keystone being away is 503, never 401.

    Args:
        options: The parsed configuration, with ``[keystone_authtoken]``.
        cache_seconds: How long a valid token is believed.
        timeout_seconds: How long one look-up may take.
    """

    def __init__(
        self, options: cfg.ConfigOpts, *, cache_seconds: float, timeout_seconds: float
    ) -> None:
        self._challenge = f'Keystone uri="{keystone.public_uri(options)}"'
        self._timeout = timeout_seconds
        self._cache = IdentityCache(cache_seconds)
        self._flights: dict[Hashable, asyncio.Task[Identity]] = {}
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="keystone")
        # Importing keystonemiddleware takes a while: begin now, and let the loop go on.
        self._middleware = self._threads.submit(_middleware, options)

    async def authenticate(
        self, headers: Headers, method: str = "POST", path: str = "/"
    ) -> Identity:
        """See ``Authenticator``."""
        credentials = self._credentials(headers)
        digest = credentials.digest()
        known = self._cache.get(digest)
        if known:
            return known
        # Method and path belong to the flight: access rules may allow the one and not the other.
        key = (digest, method, path)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._look_up(credentials, method, path))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Let the threads go. A look-up under way is not waited for; its callers are gone."""
        for flight in list(self._flights.values()):
            flight.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _landed(self, key: Hashable, flight: asyncio.Task[Identity]) -> None:
        """Forget a flight. Its error is read here too: all who waited may have been cancelled."""
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()

    def _credentials(self, headers: Headers) -> Credentials:
        token = _one(headers, b"x-auth-token", self._challenge)
        if token is None:
            raise _missing(self._challenge)
        return Credentials(token, _one(headers, b"x-service-token", self._challenge))

    async def _look_up(self, credentials: Credentials, method: str, path: str) -> Identity:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                found = await loop.run_in_executor(
                    self._threads, self._ask, credentials, method, path
                )
        except TimeoutError:
            raise _away(f"no answer within {self._timeout:g} s") from None
        identity, restricted = found
        if not restricted:
            self._cache.put(credentials.digest(), identity)
        return identity

    def _ask(self, credentials: Credentials, method: str, path: str) -> tuple[Identity, bool]:
        """Ask Keystone, in a thread: the identity, and whether access rules restrict the token."""
        from webob import Request

        request = Request.blank("/", method=method)
        request.path_info = path
        request.environ[keystone.NO_CACHE] = _NoCache()
        request.headers["X-Auth-Token"] = credentials.token
        if credentials.service_token:
            request.headers["X-Service-Token"] = credentials.service_token
        try:
            answer = request.get_response(self._middleware.result())
        except ClientException as error:
            raise _away(str(error)) from None
        if answer.status_int == Unauthorized.status:
            raise _unauthorized(
                "Keystone does not accept these credentials (X-Auth-Token, or the X-Service-Token "
                f"beside it): take a new token, whose access rules, if any, allow {method} {path}.",
                self._challenge,
            )
        if answer.status_int != _ACCEPTED:
            raise _away(f"keystonemiddleware answered {answer.status}")
        return _confirmed(request)


class _NoCache:
    """What keystonemiddleware keeps tokens in: nothing, since ``IdentityCache`` does that."""

    def get(self, key: str) -> None:
        """Never there."""

    def set(self, key: str, value: bytes, time: int) -> None:
        """Never kept."""


def _middleware(options: cfg.ConfigOpts) -> Any:
    """Keystonemiddleware around an application that accepts everything."""
    from keystonemiddleware.auth_token import AuthProtocol
    from webob import Response

    # A deferred decision would turn "Keystone is away" into "this token is bad".
    return AuthProtocol(Response(), {"oslo_config_config": options, "delay_auth_decision": False})


def _confirmed(request: Request) -> tuple[Identity, bool]:
    """What the middleware found out: the identity, and whether access rules restrict the token.

    Raises:
        Forbidden: the token has no project.
    """
    found = request.headers
    token = request.environ["keystone.token_info"]["token"]
    project_id = found.get("X-Project-Id")
    if not project_id:
        raise Forbidden(
            "The token in X-Auth-Token belongs to no project (it is unscoped, or scoped to a "
            "domain or the system): take one scoped to a project."
        )
    identity = Identity(
        user_id=found["X-User-Id"],
        project_id=project_id,
        roles=tuple(found["X-Roles"].split(",")),
        expires_at=datetime.fromisoformat(token["expires_at"]).timestamp(),
    )
    return identity, (token.get("application_credential") or {}).get("access_rules") is not None


def _one(headers: Headers, name: bytes, challenge: str) -> str | None:
    """The field's value, or None where it is absent.

    Raises:
        Unauthorized: it is there twice, empty, or not visible ASCII.
    """
    values = [value for field, value in headers if field == name]
    if not values:
        return None
    title = name.decode().title()
    if len(values) > 1:
        raise _unauthorized(f"{title} is there {len(values)} times: send it once.", challenge)
    value = values[0].strip()
    if _VISIBLE.fullmatch(value) is None:
        raise _unauthorized(
            f"{title} is malformed: a token is 1 to 65536 visible ASCII characters.", challenge
        )
    return value.decode()


def _roles(user: str) -> tuple[str, ...]:
    return ("admin", *_USUAL_ROLES) if user == "admin" else _USUAL_ROLES


def _missing(challenge: str) -> Unauthorized:
    return _unauthorized("X-Auth-Token is missing: this request needs credentials.", challenge)


def _unauthorized(message: str, challenge: str) -> Unauthorized:
    return Unauthorized(message, headers={"WWW-Authenticate": challenge})


def _away(reason: str) -> Unavailable:
    LOG.warning("Keystone cannot be asked: %s", reason)
    return Unavailable(
        "Keystone cannot be asked whether these credentials are valid; nothing was executed. "
        "Repeat the request.",
        headers={"Retry-After": "5"},
    )
