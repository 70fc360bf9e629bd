from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from keystonemiddleware.auth_token import _request

from dedupd.api.auth import (
    IDENTITY_HEADERS,
    Identity,
    KeystoneAuthenticator,
    NoAuth,
    without_identity,
)
from dedupd.conf import load
from dedupd.errors import Unauthorized, Unavailable

LONG = "a" * 255


@pytest.mark.parametrize(
    ("token", "identity"),
    [
        ("ann", Identity("ann", "default", ("member", "reader"))),
        ("admin", Identity("admin", "default", ("admin", "member", "reader"))),
        (" ann ", Identity("ann", "default", ("member", "reader"))),
        ("ann:p1", Identity("ann", "p1", ("member", "reader"))),
        ("admin:p1", Identity("admin", "p1", ("admin", "member", "reader"))),
        ("ann:p1:reader", Identity("ann", "p1", ("reader",))),
        ("admin:p1:reader", Identity("admin", "p1", ("reader",))),
        ("ann:p1:admin,member", Identity("ann", "p1", ("admin", "member"))),
        ("a.n-n_1@x:p.1", Identity("a.n-n_1@x", "p.1", ("member", "reader"))),
        (f"{LONG}:{LONG}:{LONG}", Identity(LONG, LONG, (LONG,))),
    ],
)
async def test_noauth_believes(token: str, identity: Identity) -> None:
    assert await NoAuth().authenticate([(b"x-auth-token", token.encode())]) == identity


@pytest.mark.parametrize(
    "token",
    [
        *("", " ", ":", "ann:", ":p1", "ann::reader", "ann:p1:", "ann:p1:,", "ann:p1:a,,b"),
        *("ann:p1:reader:x", "ann:p1:reader,", "ann p1", "ann/p1", "änn", "ann\tp1", "ann\0"),
        *(f"{LONG}a", f"ann:{LONG}a", f"ann:p1:{LONG}a"),
    ],
)
async def test_noauth_refuses(token: str) -> None:
    with pytest.raises(Unauthorized, match="X-Auth-Token is malformed: ") as caught:
        await NoAuth().authenticate([(b"x-auth-token", token.encode())])
    assert caught.value.headers["WWW-Authenticate"].startswith("Noauth ")


async def test_noauth_without_a_token() -> None:
    forged = [
        (b"x-user-id", b"ann"),
        (b"x-project-id", b"p1"),
        (b"x-identity-status", b"Confirmed"),
    ]
    with pytest.raises(Unauthorized, match="missing: this request needs") as caught:
        await NoAuth().authenticate(forged)
    assert "WWW-Authenticate" in caught.value.headers


async def test_noauth_with_two_tokens() -> None:
    twice = [(b"x-auth-token", b"ann"), (b"x-auth-token", b"bob")]
    with pytest.raises(Unauthorized, match="X-Auth-Token is there 2 times"):
        await NoAuth().authenticate(twice)


async def test_noauth_reads_nothing_but_the_token() -> None:
    headers = [(name, b"forged") for name in sorted(IDENTITY_HEADERS)]
    headers.append((b"x-auth-token", b"ann:p1"))
    assert await NoAuth().authenticate(headers) == Identity("ann", "p1", ("member", "reader"))


async def test_noauth_closes() -> None:
    noauth = NoAuth()
    await noauth.close()
    assert (await noauth.authenticate([(b"x-auth-token", b"ann")])).user_id == "ann"


def test_every_header_that_keystonemiddleware_sets_is_known() -> None:
    request = _request._AuthTokenRequest.blank("/")
    theirs = {name.lower().encode() for name in request._all_auth_headers()}
    theirs.add(_request._AuthTokenRequest._SYSTEM_SCOPE_HEADER.lower().encode())
    assert theirs == IDENTITY_HEADERS


def test_without_identity() -> None:
    kept = [(b"x-auth-token", b"t"), (b"x-user-idx", b"1"), (b"cookie", b"a"), (b"cookie", b"b")]
    forged = [(b"x-roles", b"admin"), (b"X-Project-Id", b"1"), (b"x_project_id", b"2")]
    assert without_identity([*forged, *kept]) == kept


CONFIGURATION = """
[auth]
strategy = keystone
[keystone_authtoken]
auth_type = password
auth_url = http://127.0.0.1:{port}/v3
username = dedupd
password = secret
user_domain_id = default
project_name = service
project_domain_id = default
http_request_max_retries = 0
"""


class Listener:
    """A socket that connections are made to, and what is done with them: nothing, or an answer."""

    def __init__(self, answer: bytes | None) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self._open: list[socket.socket] = []
        self.connected = threading.Event()
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connected.set()
            if self._answer is not None:
                connection.recv(65536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)

    @property
    def connections(self) -> int:
        return len(self._open)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in [self.socket, *self._open]:
            connection.close()


Connect = Callable[..., KeystoneAuthenticator]


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Connect]:
    """Make authenticators whose Keystone is at a port of this machine."""
    made: list[KeystoneAuthenticator] = []

    def to(port: int, timeout: float = 30) -> KeystoneAuthenticator:
        path = tmp_path / "dedupd.conf"
        path.write_text(CONFIGURATION.format(port=port))
        options = load([path]).options
        made.append(KeystoneAuthenticator(options, cache_seconds=10, timeout_seconds=timeout))
        return made[-1]

    yield to
    for authenticator in made:
        await authenticator.close()


@pytest.fixture
def away(connect: Connect) -> KeystoneAuthenticator:
    """Its Keystone refuses connections: nothing listens there any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return connect(port)


@pytest.fixture
def silent() -> Iterator[Listener]:
    """Something that takes connections and never answers."""
    with closing(Listener(None)) as listener:
        yield listener


@pytest.fixture(
    params=[
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nHello",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["json", "html", "500", "401", "ssh", "closed"],
)
def broken(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """Something that answers, but is no Keystone."""
    with closing(Listener(request.param)) as listener:
        yield listener


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ([], "X-Auth-Token is missing: this request needs credentials."),
        ([(b"x-service-token", b"t")], "X-Auth-Token is missing"),
        ([(b"x-auth-token", b"")], "X-Auth-Token is malformed"),
        ([(b"x-auth-token", b"two words")], "X-Auth-Token is malformed"),
        ([(b"x-auth-token", "tökén".encode())], "X-Auth-Token is malformed"),
        ([(b"x-auth-token", b"t" * 65537)], "X-Auth-Token is malformed"),
        ([(b"x-auth-token", b"t"), (b"x-auth-token", b"t")], "X-Auth-Token is there 2 times"),
        ([(b"x-auth-token", b"t"), (b"x-service-token", b"")], "X-Service-Token is malformed"),
    ],
)
async def test_what_keystone_need_not_be_asked_about(
    fields: list[tuple[bytes, bytes]], complaint: str, away: KeystoneAuthenticator
) -> None:
    with pytest.raises(Unauthorized, match=complaint) as caught:
        await away.authenticate(fields)
    assert caught.value.headers["WWW-Authenticate"].startswith('Keystone uri="http://127.0.0.1:')


TOKEN = [(b"x-auth-token", b"gAAAA")]


async def test_keystone_refuses_connections(away: KeystoneAuthenticator) -> None:
    with pytest.raises(Unavailable, match="Keystone cannot be asked") as caught:
        await away.authenticate(TOKEN)
    assert "Retry-After" in caught.value.headers


async def test_something_else_answers(connect: Connect, broken: Listener) -> None:
    with pytest.raises(Unavailable, match="Keystone cannot be asked"):
        await connect(broken.port).authenticate(TOKEN)


async def test_keystone_is_silent(connect: Connect, silent: Listener) -> None:
    authenticator = connect(silent.port, timeout=0.2)
    with pytest.raises(Unavailable, match="Keystone cannot be asked"):
        await authenticator.authenticate(TOKEN)


async def test_look_ups_of_one_token_at_one_time_are_one(
    connect: Connect, silent: Listener
) -> None:
    authenticator = connect(silent.port, timeout=1)
    callers = [asyncio.create_task(authenticator.authenticate(TOKEN)) for _ in range(50)]
    await asyncio.to_thread(silent.connected.wait)
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    assert silent.connections == 1


async def test_a_caller_who_leaves_does_not_take_the_others_along(
    connect: Connect, silent: Listener
) -> None:
    authenticator = connect(silent.port, timeout=0.5)
    first, second = (asyncio.create_task(authenticator.authenticate(TOKEN)) for _ in range(2))
    await asyncio.to_thread(silent.connected.wait)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(Unavailable):
        await second


async def test_close_ends_what_is_under_way(connect: Connect, silent: Listener) -> None:
    authenticator = connect(silent.port)
    caller = asyncio.create_task(authenticator.authenticate(TOKEN))
    await asyncio.to_thread(silent.connected.wait)
    await authenticator.close()
    with pytest.raises(asyncio.CancelledError):
        await caller
