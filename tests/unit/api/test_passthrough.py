"""PassThrough between raw sockets: what goes in at one side comes out at the other."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from dedupd.api import passthrough
from dedupd.api.passthrough import PassThrough, open_upstream
from dedupd.errors import DedupdError

DEADLINE = 30.0  # seconds for anything that must happen; never reached when all is well
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")


class Request:
    """One request as the upstream received it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        self.fields = [tuple(line.split(b": ", 1)) for line in lines]
        self.body = body

    def values(self, name: bytes) -> list[bytes]:
        return [field[1] for field in self.fields if field[0].lower() == name]


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    request = Request(head, b"")
    if length := request.values(b"content-length"):
        request.body = await reader.readexactly(int(length[0]))
    elif request.values(b"transfer-encoding"):
        while size := int(await reader.readline(), 16):
            request.body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    return request


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[str]:
    """A server whose every connection is given to ``handler``; yields its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**20)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    pending = set(tasks)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


@asynccontextmanager
async def front(endpoint: str, **options: float) -> AsyncIterator[int]:
    """PassThrough behind uvicorn, as the front runs it; yields its port."""
    session = open_upstream()
    through = PassThrough(session, endpoint, **options)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        extra = [(b"idempotency-status", b"ignored")] if scope["path"] == "/tagged" else None
        try:
            await through(scope, receive, send, extra=extra)
        except DedupdError as error:
            body = error.fault_body()
            headers = [(b"content-type", b"application/json")]
            headers += [(b"content-length", b"%d" % len(body))]
            headers += [(k.lower().encode(), v.encode()) for k, v in error.headers.items()]
            start = {"type": "http.response.start", "status": error.status, "headers": headers}
            await send(start)
            await send({"type": "http.response.body", "body": body})

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    yield listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    await task
    await session.close()
    listening.close()


class Client:
    """A raw connection to the front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """All until the front closes the connection."""
        async with asyncio.timeout(DEADLINE):
            return await self.reader.read()

    async def head(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ask(port: int, request: bytes) -> bytes:
    """The whole answer to a request that says ``Connection: close``."""
    async with client(port) as connection:
        connection.send(request)
        return await connection.rest()


async def fault(port: int, request: bytes) -> tuple[int, str, str]:
    """Status, name and message of an answer in Nova's fault form."""
    head, _, body = (await ask(port, request)).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    ((name, content),) = json.loads(body).items()
    assert content["code"] == int(head.split(b" ")[1])
    return content["code"], name, content["message"]


def recorder(answer: bytes, seen: list[Request]) -> Handler:
    """Answers every request alike, on connections that stay open."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(answer)

    return handler


async def through(request: bytes, answer: bytes = OK, prefix: str = "") -> tuple[Request, bytes]:
    """What the upstream got of a request, and the client of the answer."""
    seen: list[Request] = []
    async with upstream(recorder(answer, seen)) as endpoint, front(endpoint + prefix) as port:
        got = await ask(port, request)
    assert len(seen) == 1
    return seen[0], got


@pytest.mark.parametrize(
    "target",
    [
        b"/v2.1/a%2Fb/..;x?b=1&a&a=%20",
        b"/v2.1/../v2.1/./servers",
        b"//servers//detail/",
        b"/%7euser/%zz/a+b?x=a+b&y=%e4%B8%AD&z=|[]{}\"'",
        b"/?a?b=/c&&=",
        b"/v2.1/servers/detail?name=^a.*$&sort_key=created_at&sort_key=id",
    ],
)
@pytest.mark.parametrize("prefix", ["", "/compute", "/compute/"])
async def test_path_and_query_stay_as_they_are(target: bytes, prefix: str) -> None:
    request, _ = await through(
        b"GET %b HTTP/1.1\r\nHost: nova\r\nConnection: close\r\n\r\n" % target, prefix=prefix
    )
    assert request.line == b"GET %b%b HTTP/1.1" % (prefix.rstrip("/").encode(), target)


async def test_request_headers_are_kept_but_for_those_of_the_hop() -> None:
    request, _ = await through(
        b"GET / HTTP/1.1\r\nHost: nova.example:8774\r\nAccept: a\r\nX-Two: 1\r\nX-Mine: x\r\n"
        b"accept: b\r\nX-Two: 2, 3\r\nConnection: close, X-Mine, Host\r\nKeep-Alive: timeout=5\r\n"
        b"TE: trailers\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: close\r\n"
        b"Trailer: X-Sum\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nX-Name: \xc3\xa9\r\n"
        b"Cookie: a=1\r\nX-Empty:\r\nX-Auth-Token: demo:demo\r\n\r\n"
    )
    assert [field for field in request.fields if field[0] not in FORWARDED] == [
        (b"host", b"nova.example:8774"),
        (b"accept", b"a"),
        (b"x-two", b"1"),
        (b"accept", b"b"),
        (b"x-two", b"2, 3"),
        (b"x-name", b"\xc3\xa9"),
        (b"cookie", b"a=1"),
        (b"x-empty", b""),
        (b"x-auth-token", b"demo:demo"),
    ]


async def test_forwarded_headers_are_added() -> None:
    request, _ = await through(b"GET / HTTP/1.1\r\nHost: nova:1\r\nConnection: close\r\n\r\n")
    assert request.fields == [
        (b"host", b"nova:1"),
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"nova:1"),
    ]


async def test_forwarded_for_is_appended_to_and_the_others_are_left() -> None:
    request, _ = await through(
        b"GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\nX-Forwarded-For: 10.0.0.2\r\n\r\n"
    )
    assert request.values(b"x-forwarded-for") == [b"10.0.0.1, 10.0.0.2, 127.0.0.1"]
    assert request.values(b"x-forwarded-proto") == [b"https"]
    assert request.values(b"x-forwarded-host") == [b"outer"]


@pytest.mark.parametrize(
    "method", [b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND"]
)
@pytest.mark.parametrize("body", [b"", b"x" * 300])
async def test_every_method_goes_through_with_and_without_a_body(
    method: bytes, body: bytes
) -> None:
    framing = b"Content-Length: %d\r\n" % len(body) if body else b""
    request, got = await through(
        b"%b /x HTTP/1.1\r\nHost: n\r\nConnection: close\r\n%b\r\n%b" % (method, framing, body)
    )
    assert request.line.startswith(method + b" /x ")
    assert request.body == body
    assert got.endswith(b"\r\n\r\nok")
    assert request.values(b"content-type") == []
    # aiohttp says "Content-Length: 0" where a body might be expected; it means the same.
    assert request.values(b"content-length") in ([[b"300"]] if body else [[], [b"0"]])


async def test_answer_headers_are_kept_but_for_those_of_the_hop() -> None:
    _, got = await through(
        b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 203 Whatever\r\nServer: Apache\r\nDate: today\r\nSet-Cookie: a=1\r\n"
        b"Vary: a\r\nSet-Cookie: b=2; Path=/\r\nVary: b\r\nConnection: X-Mine, keep-alive\r\n"
        b"X-Mine: 1\r\nKeep-Alive: timeout=5\r\nX-Name: \xe9\r\nContent-Length: 2\r\n\r\nok",
    )
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == b"ok"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 203 Non-Authoritative Information",
        b"server: Apache",
        b"date: today",
        b"set-cookie: a=1",
        b"vary: a",
        b"set-cookie: b=2; Path=/",
        b"vary: b",
        b"x-name: \xe9",
        b"content-length: 2",
        b"connection: close",
    ]


@pytest.mark.parametrize("accepted", [[], [b"gzip, br"], [b""]])
async def test_which_codings_are_accepted_is_the_client_s_matter(accepted: list[bytes]) -> None:
    fields = b"".join(b"Accept-Encoding: %s\r\n" % value for value in accepted)
    sent = b"GET / HTTP/1.1\r\nHost: n\r\n" + fields + b"Connection: close\r\n\r\n"
    request, _ = await through(sent, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert request.values(b"accept-encoding") == accepted


async def test_encoded_bodies_are_not_decoded() -> None:
    body = gzip.compress(b"servers" * 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    _, got = await through(b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n", head + body)
    assert b"content-encoding: gzip" in got
    assert got.endswith(b"\r\n\r\n" + body)


async def test_redirects_are_handed_on() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    _, got = await through(b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n", answer)
    assert got.startswith(b"HTTP/1.1 302 ")
    assert b"location: /elsewhere" in got


async def test_cookies_of_one_caller_are_not_sent_for_another() -> None:
    seen: list[Request] = []
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with upstream(recorder(answer, seen)) as endpoint, front(endpoint) as port:
        for _ in range(2):
            await ask(port, b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
    assert [request.values(b"cookie") for request in seen] == [[], []]


@pytest.mark.parametrize(
    ("method", "answer", "kept"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", b"content-length: 1234"),
        (b"HEAD", b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\n", b"x-a: b"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: e\r\nContent-Length: 9\r\n\r\n", b"etag: e"),
        (b"DELETE", b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n", b"x-a: b"),
        (
            b"GET",
            b"HTTP/1.1 103 Early Hints\r\nL: x\r\n\r\nHTTP/1.1 204 No\r\nA: b\r\n\r\n",
            b"a: b",
        ),
    ],
)
async def test_answers_without_a_body(method: bytes, answer: bytes, kept: bytes) -> None:
    _, got = await through(method + b" / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n", answer)
    head, end, body = got.partition(b"\r\n\r\n")
    assert (end, body) == (b"\r\n\r\n", b"")
    assert kept in head.split(b"\r\n")
    assert b"transfer-encoding" not in head


async def test_a_connection_serves_many_exchanges() -> None:
    seen: list[Request] = []
    answers = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with (
        upstream(recorder(answers, seen)) as endpoint,
        front(endpoint) as port,
        client(port) as connection,
    ):
        for _ in range(3):
            connection.send(b"DELETE /a HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\n\r\nx")
            assert (await connection.head()).startswith(b"HTTP/1.1 204 ")
    assert [request.body for request in seen] == [b"x"] * 3


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_answers_of_every_size_and_framing(size: int, framing: str) -> None:
    body = os.urandom(size)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if framing == "length":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body))
        elif framing == "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 50_000):
                part = body[start : start + 50_000]
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        await writer.drain()

    async with upstream(handler) as endpoint, front(endpoint) as port:
        got = await ask(port, b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
    head, _, received = got.partition(b"\r\n\r\n")
    if framing == "length":
        assert b"content-length: %d" % size in head
        assert received == body
    else:
        assert b"transfer-encoding: chunked" in head
        assert unchunk(received) == body


def unchunk(data: bytes) -> bytes:
    """The body; fails where its end is missing."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            assert data == b"\r\n"
            return body
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


@pytest.mark.parametrize("size", [1, 65536, 65537, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"GET"])
async def test_request_bodies_of_every_size_and_framing(
    size: int, chunked: bool, method: bytes
) -> None:
    body = os.urandom(size)
    if chunked:
        framing = b"Transfer-Encoding: chunked"
        parts = [body[start : start + 70_000] for start in range(0, size, 70_000)]
        data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        framing, data = b"Content-Length: %d" % size, body
    request, got = await through(
        b"%b / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n%b\r\n\r\n%b" % (method, framing, data)
    )
    assert request.body == body
    assert request.values(b"content-length") == ([] if chunked else [b"%d" % size])
    assert got.endswith(b"ok")


async def test_an_upload_is_sent_on_before_it_is_complete() -> None:
    arrived = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)
        arrived.set()
        await reader.readexactly(99_000)
        writer.write(OK)

    async with upstream(handler) as endpoint, front(endpoint) as port, client(port) as caller:
        caller.send(b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: 100000\r\n\r\n" + b"a" * 1000)
        await asyncio.wait_for(arrived.wait(), DEADLINE)
        caller.send(b"a" * 99_000)
        assert (await caller.head()).startswith(b"HTTP/1.1 200 ")


async def test_a_small_body_may_come_in_parts() -> None:
    seen: list[Request] = []
    async with (
        upstream(recorder(OK, seen)) as endpoint,
        front(endpoint) as port,
        client(port) as caller,
    ):
        caller.send(b"POST / HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        await caller.head()  # 100 Continue: the body is waited for
        for part in (b"a", b"b", b"cd"):
            caller.send(part)
            await asyncio.sleep(0.02)
        assert (await caller.head()).startswith(b"HTTP/1.1 200 ")
    assert [request.body for request in seen] == [b"abcd"]


async def test_an_answer_is_handed_on_before_it_is_complete() -> None:
    go_on = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await go_on.wait()
        writer.write(b"after")

    async with upstream(handler) as endpoint, front(endpoint) as port, client(port) as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
        await caller.head()
        assert await asyncio.wait_for(caller.reader.readexactly(5), DEADLINE) == b"first"
        go_on.set()
        assert await caller.rest() == b"after"


async def test_an_answer_before_the_end_of_the_upload_reaches_the_caller() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read()

    async with upstream(handler) as endpoint, front(endpoint) as port, client(port) as caller:
        caller.send(b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: 100000\r\n\r\n" + b"a" * 1000)
        assert (await caller.head()).startswith(b"HTTP/1.1 413 ")
        assert await asyncio.wait_for(caller.reader.readexactly(3), DEADLINE) == b"big"


async def test_expect_continue_is_answered_here() -> None:
    seen: list[Request] = []
    async with (
        upstream(recorder(OK, seen)) as endpoint,
        front(endpoint) as port,
        client(port) as caller,
    ):
        caller.send(
            b"POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await caller.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(b"hi")
        assert (await caller.head()).startswith(b"HTTP/1.1 200 ")
    assert [(request.body, request.values(b"expect")) for request in seen] == [(b"hi", [])]


async def test_an_extra_header_is_added_to_the_answer() -> None:
    _, got = await through(b"GET /tagged HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
    assert b"\r\nidempotency-status: ignored\r\n" in got


SERVE = """
import sys, uvicorn
from dedupd.api.passthrough import PassThrough, open_upstream

through = None

async def application(scope, receive, send):
    global through
    through = through or PassThrough(open_upstream(), sys.argv[2])
    await through(scope, receive, send)

uvicorn.run(application, fd=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none",
            lifespan="off", proxy_headers=False, access_log=False, log_level="warning")
"""


@asynccontextmanager
async def front_process(endpoint: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    """The same in a process of its own, on uvloop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-c", SERVE, str(listening.fileno()), endpoint]
        root = Path(passthrough.__file__).parents[2]
        process = await asyncio.create_subprocess_exec(
            *command, pass_fds=[listening.fileno()], cwd=root
        )
        try:
            yield listening.getsockname()[1], psutil.Process(process.pid)
        finally:
            process.terminate()
            await process.wait()


SIZE = 50_000_000
MEMORY = 8_000_000  # 64 KiB a direction, sockets' reads on top, and what malloc keeps


async def test_memory_stays_bounded_while_nova_takes_a_large_upload_slowly() -> None:
    received = 0
    slowly = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        request = Request(await reader.readuntil(b"\r\n\r\n"), b"")
        if request.line.startswith(b"PUT"):
            await slowly.wait()
            while received < SIZE:
                received += len(await reader.read(2**20))
        writer.write(OK)

    async with upstream(handler) as endpoint, front_process(endpoint) as (port, process):
        await ask(port, b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
        before = process.memory_info().rss
        async with client(port) as caller:
            caller.send(b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n" % SIZE)
            sent = await write_until_it_stops(caller.writer, SIZE)
            assert sent < SIZE / 2  # the front has stopped reading, since Nova has
            assert process.memory_info().rss - before < MEMORY
            slowly.set()
            for start in range(sent, SIZE, 2**16):
                caller.send(b"a" * min(2**16, SIZE - start))
                await asyncio.wait_for(caller.writer.drain(), DEADLINE)
            assert (await caller.head()).startswith(b"HTTP/1.1 200 ")
        assert received == SIZE
        assert process.memory_info().rss - before < MEMORY


async def write_until_it_stops(writer: asyncio.StreamWriter, size: int) -> int:
    """Writes until the other side has taken nothing for a second; returns how much was written."""
    sent = 0
    with suppress(TimeoutError):
        while sent < size:
            writer.write(b"a" * 2**16)
            sent += 2**16
            await asyncio.wait_for(writer.drain(), 1)
    return sent


async def test_memory_stays_bounded_while_the_caller_reads_a_large_answer_slowly() -> None:
    written = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        request = await read_request(reader)
        size = SIZE if request.line.startswith(b"GET /large") else 0
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(b"a" * 50_000)
            written += 50_000
            await writer.drain()

    async with upstream(handler) as endpoint, front_process(endpoint) as (port, process):
        await ask(port, b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
        before = process.memory_info().rss
        async with client(port) as caller:
            caller.send(b"GET /large HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")
            await caller.head()
            previous = -1
            while written > previous:  # until Nova is not read from for a second
                previous = written
                await asyncio.sleep(1)
            assert written < SIZE / 2
            assert process.memory_info().rss - before < MEMORY
            received = 0
            while part := await asyncio.wait_for(caller.reader.read(2**20), DEADLINE):
                received += len(part)
        assert received == SIZE
        assert process.memory_info().rss - before < MEMORY


class Abandoned:
    """An upstream that reports when its connection was closed on it."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.set()
        writer.write(self.answer)
        with suppress(ConnectionError):
            while await reader.read(2**16):
                pass
        self.closed.set()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        pytest.param(
            b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: 100000\r\n\r\nabc", b"", id="uploading"
        ),
        pytest.param(
            b"PUT / HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"",
            id="uploading in chunks",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n", b"", id="waiting"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n\r\nabc", b"", id="waiting, POST"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: n\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst",
            id="streaming down",
        ),
        pytest.param(
            b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: 100000\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst",
            id="streaming both ways",
        ),
    ],
)
async def test_a_caller_who_leaves_ends_the_exchange_with_nova(
    request_: bytes, answer: bytes
) -> None:
    nova = Abandoned(answer)
    async with upstream(nova.handle) as endpoint, front(endpoint) as port:
        async with client(port) as caller:
            caller.send(request_)
            await asyncio.wait_for(nova.asked.wait(), DEADLINE)
            if answer:
                await caller.head()
        await asyncio.wait_for(nova.closed.wait(), DEADLINE)


GET = b"GET / HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n"


async def test_refused_connection_is_502_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Where Nova is, only the log tells."""
    with socket.socket() as unused:  # bound and not listening: nobody else gets the port
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with front(endpoint) as port:
            status, name, message = await fault(port, GET)
    assert (status, name) == (502, "badGateway")
    assert message == "Nova cannot be connected to. The request was not sent."
    assert f"GET /: {endpoint} cannot be connected to: " in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70000 + b"\r\n\r\n",
        b'{"adminPass": "s3cret"}\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{"adminPass": "s3cret"}',
    ],
)
async def test_what_is_no_http_leaves_no_token_in_the_log(
    caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    sent = b"GET /%0A2026 HTTP/1.1\r\nHost: n\r\nX-Auth-Token: s3cret\r\nConnection: close\r\n\r\n"
    async with upstream(handler) as endpoint, front(endpoint) as port:
        status, name, _ = await fault(port, sent)
    assert (status, name) == (502, "badGateway")
    assert "s3cret" not in caplog.text
    [said] = [each for each in caplog.messages if each.startswith("GET ")]
    assert said.startswith(f"GET /%0A2026: {endpoint} ")
    assert "\n" not in said


async def test_control_characters_in_a_field_become_blanks() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Odd: a\x01b\r\nContent-Length: 2\r\n\r\n{}")

    async with upstream(handler) as endpoint, front(endpoint) as port, client(port) as caller:
        caller.send(GET)
        assert b"x-odd: a b\r\n" in (await caller.head()).lower()


async def test_unknown_name_is_502_and_says_so() -> None:
    async with front("http://nova.invalid:8774") as port:
        status, name, message = await fault(port, GET)
    assert (status, name) == (502, "badGateway")
    assert message == "Nova has a name that is not known. The request was not sent."


async def test_failed_tls_is_502_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        upstream(handler) as endpoint,
        front(endpoint.replace("http:", "https:")) as port,
    ):
        status, name, message = await fault(port, GET)
    assert (status, name) == (502, "badGateway")
    assert "failed the TLS handshake" in message
    assert "(SSLError WRONG_VERSION_NUMBER)" in caplog.text


@pytest.mark.parametrize(
    ("answer", "happened"),
    [
        (b"", "closed the connection before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-", "closed the connection before it answered"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answered what is not HTTP"),
        (b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "answered 999"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "answered 101"),
    ],
)
async def test_no_proper_answer_is_502_and_says_so(answer: bytes, happened: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    async with upstream(handler) as endpoint, front(endpoint) as port:
        status, name, message = await fault(
            port, b"POST / HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
        )
    assert (status, name) == (502, "badGateway")
    assert message.startswith(f"Nova {happened}")
    assert "127.0.0.1" not in message


async def test_reset_during_the_upload_is_502() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with upstream(handler) as endpoint, front(endpoint) as port, client(port) as caller:
        caller.send(b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 1000)
        assert (await caller.head()).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_no_answer_is_504_and_says_how_long_was_waited(body: bytes) -> None:
    post = b"POST / HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    async with (
        upstream(Abandoned().handle) as endpoint,
        front(endpoint, idle_seconds=0.2) as port,
    ):
        status, name, message = await fault(port, post % (len(body), body))
    assert (status, name) == (504, "gatewayTimeout")
    assert message == (
        "Nova did not answer in time (waited 0.2 s)."
        " Whether the request was carried out is not known."
    )


@pytest.mark.parametrize("length", [b"10", b"100000"])
async def test_an_upload_that_stands_still_is_408(length: bytes) -> None:
    nova = Abandoned()
    async with upstream(nova.handle) as endpoint, front(endpoint, body_seconds=0.2) as port:
        status, name, message = await fault(
            port, b"PUT / HTTP/1.1\r\nHost: n\r\nContent-Length: %b\r\n\r\nabc" % length
        )
    assert (status, name) == (408, "requestTimeout")
    assert "did not come within 0.2 s ([api] body_timeout)" in message


async def test_slow_is_not_idle() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            writer.write(b"x")
            await asyncio.sleep(0.2)  # longer altogether than idle_seconds

    async with upstream(handler) as endpoint, front(endpoint, idle_seconds=1) as port:
        assert (await ask(port, GET)).endswith(b"x" * 10)


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    ],
)
@pytest.mark.parametrize("death", ["close", "reset", "idle"])
async def test_an_answer_broken_off_is_broken_off_for_the_caller(start: bytes, death: str) -> None:
    received = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(start)
        await received.wait()
        if death == "idle":
            await reader.read()
        elif death == "reset":
            writer.transport.abort()

    async with (
        upstream(handler) as endpoint,
        front(endpoint, idle_seconds=0.5) as port,
        client(port) as caller,
    ):
        caller.send(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n")
        await caller.head()
        got = await asyncio.wait_for(caller.reader.readuntil(b"first"), DEADLINE)
        received.set()
        got += await caller.rest()
    assert got in (b"first", b"5\r\nfirst\r\n")


@pytest.mark.parametrize(
    ("method", "sent"), [(b"POST", 1), (b"PATCH", 1), (b"PUT", 1), (b"DELETE", 1), (b"GET", 2)]
)
async def test_only_what_changes_nothing_is_sent_again_on_a_closed_connection(
    method: bytes, sent: int
) -> None:
    """Nova closes a kept connection after the next request was written to it."""
    seen: list[Request] = []
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        first = connections == 1
        if first:
            await read_request(reader)
            writer.write(OK)
        seen.append(await read_request(reader))
        if not first:
            writer.write(OK)

    async with upstream(handler) as endpoint, front(endpoint) as port:
        assert (await ask(port, GET)).startswith(b"HTTP/1.1 200 ")
        request = method + b" /x HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n"
        status = (await ask(port, request)).split(b" ")[1]
    assert [request.line.split(b" ")[0] for request in seen] == [method] * sent
    assert status == (b"200" if sent == 2 else b"502")


async def test_idle_connections_to_nova_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert passthrough.KEEP_ALIVE_SECONDS < 5  # Apache's default
    monkeypatch.setattr(passthrough, "KEEP_ALIVE_SECONDS", 0.1)
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await reader.read()
        closed.set()

    async with upstream(handler) as endpoint, front(endpoint) as port:
        await ask(port, GET)
        await asyncio.wait_for(closed.wait(), DEADLINE)


@pytest.mark.parametrize(
    ("request_", "part"),
    [
        (b"GET / HTTP/1.1\r\nHost: n\r\nX-A: caf\xe9\r\nConnection: close\r\n\r\n", "x-a"),
        (b"OPTIONS * HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n", "'*' is not a path"),
        (
            b"PUT / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "gzip, chunked",
        ),
    ],
)
async def test_what_cannot_be_handed_on_unchanged_is_400(request_: bytes, part: str) -> None:
    seen: list[Request] = []
    async with upstream(recorder(OK, seen)) as endpoint, front(endpoint) as port:
        status, name, message = await fault(port, request_)
    assert (status, name) == (400, "badRequest")
    assert part in message
    assert seen == []
