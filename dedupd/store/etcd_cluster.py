"""The connection to an etcd cluster: several endpoints, TLS, user and password, deadlines.

Each endpoint has a channel of its own, so that its certificate is checked against its own name,
and so that a member which accepts connections and does not answer can be left for another.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import tenacity
from grpc import StatusCode, aio
from oslo_log import log

from dedupd.errors import Engine
from dedupd.ports import StoreUnavailable
from dedupd.store import etcd_stream
from dedupd.store.etcd_stubs import rpc

LOG = log.getLogger(__name__)

ATTEMPT_SECONDS = 1.5
"""How long one member may take to answer before another one is asked."""

OPERATION_SECONDS = 4.0
"""How long anything may take in all: a caller hears of an outage within 5 s."""

LATE = " did not answer in time"
"""What is said of the cluster to whoever asked it to read."""

IN_DOUBT = f"{LATE}; nobody can tell whether it was done"
"""What is said of it to whoever asked it to write."""

AGAIN = tenacity.wait_random_exponential(multiplier=0.02, max=0.3)
"""Seconds between two attempts at one operation."""

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # etcd takes more than one ping in 5 s for an attack (--grpc-keepalive-min-time).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Channels to one address would otherwise share a connection, and its credentials.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)

_STUBS = {
    "KV": rpc.KVStub,
    "Lease": rpc.LeaseStub,
    "Watch": rpc.WatchStub,
    "Auth": rpc.AuthStub,
    "Maintenance": rpc.MaintenanceStub,
}

_REFUSALS = frozenset(
    {
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.ALREADY_EXISTS,
        StatusCode.PERMISSION_DENIED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.OUT_OF_RANGE,
        StatusCode.UNIMPLEMENTED,
        StatusCode.UNAUTHENTICATED,
    }
)
"""With these etcd (3.4, etcdserver/api/v3rpc/rpctypes/error.go) says that it wrote nothing."""

_SIGN_IN_AGAIN = ("invalid auth token", "revision of auth store is old", "user name is empty")
_TRY_AGAIN = ("too many requests",)
_FOR_ALL = (StatusCode.PERMISSION_DENIED, StatusCode.UNIMPLEMENTED, StatusCode.UNAUTHENTICATED)


class Refused(StoreUnavailable):
    """etcd answered that it did nothing; ``details`` is its reason.

    ``concerns_all``: the same would be said of anything else; ``is_full``: of any put.
    ``in_doubt``: an earlier attempt at the same, whose answer is lost, may have been carried out.
    """

    def __init__(
        self,
        message: str,
        *,
        code: StatusCode = StatusCode.UNKNOWN,
        details: str = "",
        operators: str = "",
    ) -> None:
        super().__init__(message, operators=operators)
        self.code = code
        self.details = details
        self.is_full = "database space exceeded" in details
        self.concerns_all = self.is_full or code in _FOR_ALL
        self.in_doubt = False


class Doubtful(StoreUnavailable):
    """Nobody can tell whether the call was carried out."""


class Late(StoreUnavailable):
    """No answer came in time."""


@dataclass(frozen=True, slots=True)
class Security:
    """How to speak TLS: PEM files; without ``cafile``, the system's authorities."""

    cafile: Path | None = None
    keyfile: Path | None = None
    certfile: Path | None = None

    def of_channel(self) -> Any:
        """What gRPC takes."""
        return grpc.ssl_channel_credentials(
            _read(self.cafile or ssl.get_default_verify_paths().cafile),
            _read(self.keyfile),
            _read(self.certfile),
        )

    def of_http(self) -> ssl.SSLContext:
        """What an HTTP client takes."""
        context = ssl.create_default_context(cafile=self.cafile)
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


@dataclass(frozen=True, slots=True)
class Credentials:
    """An etcd user."""

    username: str
    password: str


class Cluster:
    """One cluster, asked through one endpoint at a time; for one event loop.

    ``endpoints`` are ``host:port``; ``security`` None is plain text.
    """

    def __init__(
        self,
        endpoints: tuple[str, ...],
        security: Security | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.endpoints = endpoints
        self.engine = Engine("The etcd cluster", ",".join(endpoints))
        self.revision = 0
        """The newest revision that any answer has named."""
        self.security = security
        self._credentials = credentials
        self._channels: list[Any] = []
        self._stubs: list[dict[str, Any]] = []
        self.current = 0
        """Which endpoint is asked."""
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._signing_in = asyncio.Lock()
        self._on_move: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Make the channels, and sign in.

        Raises:
            StoreUnavailable: no endpoint answers, or the user is refused.
        """
        self._channels = [self._channel(endpoint) for endpoint in self.endpoints]
        self._stubs = [
            {name: stub(channel) for name, stub in _STUBS.items()} for channel in self._channels
        ]
        # Fronts and workers spread over the members.
        self.current = random.randrange(len(self._channels))  # noqa: S311 # no secret
        self._metadata = _REQUIRE_LEADER
        if self._credentials is not None:
            deadline = asyncio.get_running_loop().time() + OPERATION_SECONDS
            try:
                await self._sign_in(self._metadata, deadline)
            except Refused:
                raise
            except StoreUnavailable:
                raise self.away() from None

    def away(self) -> StoreUnavailable:
        """What is said of it to an operator where nobody answers at the start."""
        cure = "start it, or name members that run in [store] url"
        return StoreUnavailable.of(self.engine, " does not answer", cure)

    async def close(self) -> None:
        """Break every connection off."""
        channels, self._channels, self._stubs = self._channels, [], []
        for channel in channels:
            await channel.close()

    def on_move(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever another endpoint is taken: streams should move too."""
        self._on_move.append(listener)

    async def ask(
        self,
        service: str,
        method: str,
        request: Any,
        deadline: float | None = None,
        late: str = IN_DOUBT,
    ) -> tuple[Any, bool]:
        """Ask until there is an answer, for what may be carried out more than once.

        ``late`` is what is said where none comes before ``deadline`` (of the loop's clock).

        Returns:
            The answer, and whether an earlier attempt may have been carried out as well.

        Raises:
            Refused: etcd did nothing (but where it is ``in_doubt``, an earlier attempt may have).
            Late: no answer in time.
        """
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + OPERATION_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                return await self._insist(service, method, request, deadline)
        except TimeoutError:
            raise Late.of(self.engine, late) from None

    async def ask_member(self, endpoint: str, service: str, method: str, request: Any) -> Any:
        """Ask one member, once.

        Raises:
            StoreUnavailable: it does not answer, or refuses.
        """
        stub = self._stubs[self.endpoints.index(endpoint)][service]
        return await self._call(getattr(stub, method), request, ATTEMPT_SECONDS)

    def stream(self, service: str, method: str) -> Any:
        """Begin a stream at the current endpoint.

        Raises:
            StoreUnavailable: not open.
        """
        return getattr(self._stub(service), method)(metadata=self._metadata)

    def translated(self, error: aio.AioRpcError) -> Refused | Doubtful:
        """What an error of gRPC means."""
        code, details = error.code(), error.details() or ""
        if code in _REFUSALS and not any(text in details for text in _TRY_AGAIN):
            reason = details.removeprefix("etcdserver: ")
            return Refused.of(self.engine, f" refuses it: {reason}", code=code, details=reason)
        return Doubtful.of(self.engine, " does not answer", details or code.name)

    async def _insist(
        self, service: str, method: str, request: Any, deadline: float
    ) -> tuple[Any, bool]:
        """See ``ask``, whose caller sees to the deadline."""
        try:
            return await self._attempt(service, method, request, deadline), False
        except Doubtful:
            pass
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Doubtful), wait=AGAIN, reraise=True
        )
        try:
            return await retrying(self._attempt, service, method, request, deadline), True
        except Refused as refusal:
            refusal.in_doubt = True
            raise

    async def _attempt(self, service: str, method: str, request: Any, deadline: float) -> Any:
        """Ask the current endpoint, and take another one where it does not answer."""
        remaining = deadline - asyncio.get_running_loop().time()
        seconds = max(min(ATTEMPT_SECONDS, remaining), 0.001)
        used, metadata = self.current, self._metadata
        try:
            answer = await self._call(getattr(self._stub(service), method), request, seconds)
        except Doubtful:
            self.move_from(used)
            raise
        except Refused as refusal:
            if self._credentials is None or service == "Auth" or not _is_stale(refusal):
                raise
            await self._sign_in(metadata, deadline)
            raise Doubtful(refusal.message, operators=str(refusal)) from None
        self.revision = max(self.revision, answer.header.revision)
        return answer

    async def _call(self, method: Any, request: Any, seconds: float) -> Any:
        """Ask once; of a method that is a stream, for one answer.

        Raises:
            Refused, Doubtful: no answer.
        """
        try:
            if not isinstance(method, aio.StreamStreamMultiCallable):
                return await method(request, timeout=seconds, metadata=self._metadata)
            call = method(timeout=seconds, metadata=self._metadata)
            try:
                return await etcd_stream.exchange(call, request)
            finally:
                call.cancel()
        except aio.AioRpcError as error:
            raise self.translated(error) from None
        except etcd_stream.Broken as error:
            raise Doubtful.of(self.engine, " broke off", str(error)) from None

    def _stub(self, service: str) -> Any:
        if not self._stubs:
            raise StoreUnavailable.of(self.engine, " is not open")
        return self._stubs[self.current][service]

    def move_from(self, used: int) -> None:
        """Take the next endpoint, unless somebody else has moved on already."""
        if self.current != used or not self._channels:
            return
        self.current = (used + 1) % len(self._channels)
        if len(self._channels) > 1:
            LOG.warning("etcd: going on with %s", self.endpoints[self.current])
            for listener in self._on_move:
                listener()

    async def _sign_in(self, stale: tuple[tuple[str, str], ...], deadline: float) -> None:
        """Get a token; once for all who found the same one stale.

        Who waits for another one's attempt takes the next one, if its own ``deadline`` lets it.
        """
        async with self._signing_in:
            if self._credentials is None or self._metadata != stale:
                return
            self._metadata = _REQUIRE_LEADER
            request = rpc.AuthenticateRequest(
                name=self._credentials.username, password=self._credentials.password
            )
            answer, _ = await self.ask("Auth", "Authenticate", request, deadline, LATE)
            self._metadata = (*_REQUIRE_LEADER, ("token", answer.token))

    def _channel(self, endpoint: str) -> Any:
        if self.security is None:
            return aio.insecure_channel(endpoint, options=_OPTIONS)
        return aio.secure_channel(endpoint, self.security.of_channel(), options=_OPTIONS)


_REQUIRE_LEADER = (("hasleader", "true"),)
"""A member without a leader refuses at once instead of letting its callers wait."""


def _read(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _is_stale(refusal: Refused) -> bool:
    return any(text in refusal.details for text in _SIGN_IN_AGAIN)
