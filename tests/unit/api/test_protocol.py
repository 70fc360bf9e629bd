"""What the front makes of requests that are malformed, too large, too slow, or ask for more."""

from __future__ import annotations

import asyncio
import email
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from dedupd.api.protocol import FrontProtocol
from dedupd.cmd.serve import listen, serving
from dedupd.conf.values import Address

DEADLINE = 30.0  # seconds for anything that must happen; never reached when all is well
EMPTY = (b"content-length", b"0")
HEAD = b"POST /servers HTTP/1.1\r\nHost: nova\r\n"


class Application:
    """Says what it was asked, once it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.bodies: list[bytes] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.bodies.append(body)
        await self.may_answer.wait()
        names = [name.decode() for name, _ in scope["headers"]]
        said = json.dumps([scope["method"], scope["path"], names, body.decode()]).encode()
        headers = [(b"content-length", b"%d" % len(said))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": said})


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.send = writer.write
        self.close = writer.close

    async def answer(self) -> tuple[int, bytes, bytes]:
        """The next answer: status, head, body."""
        async with asyncio.timeout(DEADLINE):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            return int(head[9:12]), head, await self._reader.readexactly(length)

    async def refusal(self, name: str) -> tuple[int, str]:
        """The fault that is answered; after it the connection is closed."""
        status, head, body = await self.answer()
        assert b"connection: close" in head
        assert await self.rest() == b""
        fault = json.loads(body)[name]
        assert fault["code"] == status
        return status, fault["message"]

    async def rest(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self._reader.read()


@asynccontextmanager
async def calling(
    application: ASGIApp, protocol: type[FrontProtocol] = FrontProtocol
) -> AsyncIterator[Caller]:
    """One connection to a front that gives what it reads to the application."""
    listener = listen(Address("127.0.0.1", 0))
    async with serving(application, listener, 1.0, protocol):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        with closing(writer):
            yield Caller(reader, writer)


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"POST /\xc3\xa9 HTTP/1.1\r\nHost: n\r\n\r\n", "Invalid char in url path"),
        (b"POST /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: n\r\n\r\n", "url is too long"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "Invalid character in Content-Length"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "Duplicate Content-Length"),
        (
            HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding can't be present with Content-Length",
        ),
        (HEAD + b"X-Odd: a\0b\r\n\r\n", "Invalid header value char"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Invalid character in chunk size"),
        (b"CONNECT nova:8774 HTTP/1.1\r\nHost: n\r\n\r\n", "CONNECT is for proxies"),
        (b"GET / HTTP/1.1\r\n\r\n", "has 0 Host fields"),
        (HEAD + b"Host: other\r\n\r\n", "has 2 Host fields"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "has 2 Host fields"),
        (b"GET / HTTP/2.0\r\nHost: n\r\n\r\n", "HTTP/2.0 is not spoken here"),
        *(
            (b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host, "Host is malformed")
            for host in (b"a b/c", b"a/b", b"a@b", b"a:b", b"[::1", b"%zz", b"\xe9", b"a b")
        ),
    ],
)
async def test_what_cannot_be_read_is_refused_and_named(
    application: Application, sent: bytes, reason: str
) -> None:
    async with calling(application) as caller:
        caller.send(sent)
        status, message = await caller.refusal("badRequest")
    assert status == 400
    assert reason in message


@pytest.mark.parametrize(
    "sent", [b"X-FOO / HTTP/1.1\r\nHost: n\r\n\r\n", b"get / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"]
)
async def test_a_method_that_is_not_known_is_not_implemented(
    application: Application, sent: bytes
) -> None:
    async with calling(application) as caller:
        caller.send(sent)
        status, message = await caller.refusal("notImplemented")
    assert status == 501
    assert "no method that is known here" in message


async def test_a_refusal_is_dated(application: Application) -> None:
    async with calling(application) as caller:
        caller.send(b"GET / HTTP/1.1\r\n\r\n")
        _, head, _ = await caller.answer()
    date = email.message_from_bytes(head.partition(b"\r\n")[2])["date"]
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < DEADLINE


@pytest.mark.parametrize(
    "host",
    [b"", b"nova", b"Nova.example.org:8774", b"192.0.2.7", b"[2001:db8::7]:80", b"n \t", b"a%20b"],
)
async def test_a_host_is_a_name_or_an_address(application: Application, host: bytes) -> None:
    async with calling(application) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        assert (await caller.answer())[0] == 200


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"/path", b"other:1"),
        (b"http://nova:8774/path?a=http://b", b"nova:8774"),
        (b"HTTPS://me@[::1]/", b"[::1]"),
        (b"http://nova", b"nova"),
        (b"http://nova?a=/b", b"nova"),
    ],
)
async def test_the_authority_of_the_target_wins_over_host(target: bytes, host: bytes) -> None:
    hosts: list[bytes] = []

    async def noting(scope: Scope, _receive: Receive, send: Send) -> None:
        hosts.extend(value for name, value in scope["headers"] if name == b"host")
        await send({"type": "http.response.start", "status": 204, "headers": [EMPTY]})
        await send({"type": "http.response.body", "body": b""})

    async with calling(noting) as caller:
        caller.send(b"GET %b HTTP/1.1\r\nHost: other:1\r\n\r\n" % target)
        assert (await caller.answer())[0] == 204
    assert hosts == [host]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "wish", [b"Upgrade, HTTP2-Settings\r\nUpgrade: h2c", b"upgrade\r\nUpgrade: websocket"]
)
async def test_a_wish_for_an_upgrade_is_answered_over_http_1_1(
    application: Application, wish: bytes, apart: bool
) -> None:
    async with calling(application) as caller:
        caller.send(HEAD + b"Connection: " + wish + b"\r\nContent-Length: 3\r\n\r\n")
        if apart:
            await asyncio.wait_for(application.asked.wait(), DEADLINE)
        caller.send(b"abcGET /next HTTP/1.1\r\nHost: n\r\n\r\n")
        status, _, body = await caller.answer()
        names = ["host", "connection", "content-length"]
        assert (status, json.loads(body)) == (200, ["POST", "/servers", names, "abc"])
        assert json.loads((await caller.answer())[2]) == ["GET", "/next", ["host"], ""]


async def test_a_trailer_is_no_header(application: Application) -> None:
    application.may_answer.clear()
    async with calling(application) as caller:
        caller.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Late: 1\r\n\r\n")
        await asyncio.wait_for(application.asked.wait(), DEADLINE)
        caller.send(b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n")
        application.may_answer.set()
        _, _, body = await caller.answer()
        assert json.loads(body) == ["POST", "/servers", ["host", "transfer-encoding"], "abc"]
        assert (await caller.answer())[0] == 200


@pytest.mark.parametrize("field", [b"X-Large: %b\r\n", b"X-Large-%b: 1\r\n"])
async def test_a_head_that_is_too_large_is_refused(application: Application, field: bytes) -> None:
    async with calling(application) as caller:
        for _ in range(40):
            caller.send((HEAD if _ == 0 else b"") + field % (b"a" * 8192))
        status, message = await caller.refusal("requestHeaderFieldsTooLarge")
    assert status == 431
    assert "larger than 262144 bytes" in message
    assert not application.asked.is_set()


async def test_nor_is_one_of_which_the_last_piece_makes_it_so(application: Application) -> None:
    async with calling(application) as caller:
        caller.send(HEAD + b"X-Large: " + b"a" * 262144 + b"\r\n\r\n")
        status, _ = await caller.refusal("requestHeaderFieldsTooLarge")
    assert status == 431
    assert not application.asked.is_set()


async def test_what_comes_behind_a_refused_head_is_not_begun(application: Application) -> None:
    async with calling(application) as caller:
        caller.send(b"GET /first HTTP/1.1\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n")
        assert (await caller.refusal("badRequest"))[0] == 400
    assert not application.asked.is_set()


async def test_a_refused_head_changes_nothing_of_the_request_before_it(
    application: Application,
) -> None:
    application.may_answer.clear()
    async with calling(application) as caller:
        first = HEAD + b"Content-Length: 2\r\n\r\n{}"
        caller.send(first + HEAD + b"Host: b\r\nContent-Length: 5\r\n\r\nEVIL!")
        assert await caller.rest() == b""
        application.may_answer.set()
    assert application.bodies == [b"{}"]


async def test_http_1_0_needs_no_host(application: Application) -> None:
    """So HAProxy looks whether a front is well."""
    async with calling(application) as caller:
        caller.send(b"GET /healthz/ready HTTP/1.0\r\n\r\n")
        assert (await caller.answer())[0] == 200


class Hasty(FrontProtocol):
    head_seconds = 0.3


async def test_a_head_that_does_not_come_is_not_waited_for_for_ever(
    application: Application,
) -> None:
    async with calling(application, Hasty) as caller:
        caller.send(HEAD)
        status, message = await caller.refusal("requestTimeout")
    assert (status, message) == (408, "The request's head did not come within 0.3 s.")


async def test_a_connection_without_a_request_is_closed(application: Application) -> None:
    async with calling(application, Hasty) as caller:
        assert await caller.rest() == b""


async def test_who_is_being_answered_may_take_longer(application: Application) -> None:
    application.may_answer.clear()
    async with calling(application, Hasty) as caller:
        caller.send(HEAD + b"Content-Length: 3\r\n\r\nabcGET /next HT")
        await asyncio.sleep(1)  # longer than a head may take
        application.may_answer.set()
        assert (await caller.answer())[0] == 200
        caller.send(b"TP/1.1\r\nHost: n\r\n\r\n")
        assert (await caller.answer())[0] == 200


async def test_what_cannot_be_read_is_no_answer_to_the_request_before_it(
    application: Application,
) -> None:
    application.may_answer.clear()
    async with calling(application) as caller:
        caller.send(HEAD + b"Content-Length: 3\r\n\r\nabc")
        await asyncio.wait_for(application.asked.wait(), DEADLINE)
        caller.send(b"garbage\r\n\r\n")
        assert await caller.rest() == b""


class Brief(FrontProtocol):
    """Keeps a connection for a moment only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = 0.3  # type: ignore[assignment] # uvicorn wants whole seconds


@pytest.mark.parametrize("idle", [b"", b"\r\n", b"\r\n\r\n"])
async def test_what_begins_no_request_does_not_keep_the_connection(
    application: Application, idle: bytes
) -> None:
    async with calling(application, Brief) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
        assert (await caller.answer())[0] == 200
        caller.send(idle)
        assert await caller.rest() == b""


async def test_nor_does_a_body_that_nobody_wanted() -> None:
    async def refusing(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with calling(refusing, Brief) as caller:
        caller.send(HEAD + b"Content-Length: 10\r\n\r\n")
        assert (await caller.answer())[0] == 413
        caller.send(b"01234")
        assert await caller.rest() == b""


async def test_many_wishes_for_an_upgrade_at_once(application: Application) -> None:
    number = 2000
    async with calling(application) as caller:
        wish = b"GET /%d HTTP/1.1\r\nHost: n\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        caller.send(b"".join(wish % each for each in range(number)))
        for each in range(number):
            assert json.loads((await caller.answer())[2])[1] == f"/{each}"


async def test_that_a_caller_has_gone_is_heard_by_all_it_waited_for() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def waiting(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            if not message["more_body"]:
                begun.set()
        gone.set()

    async with calling(waiting) as caller:
        caller.send(b"GET /1 HTTP/1.1\r\nHost: n\r\n\r\nGET /2 HTTP/1.1\r\nHost: n\r\n\r\n")
        await asyncio.wait_for(begun.wait(), DEADLINE)
        caller.close()
        await asyncio.wait_for(gone.wait(), DEADLINE)
