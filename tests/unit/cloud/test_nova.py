"""The Cloud port over real sockets: what is sent, what comes back, and what went wrong when."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from dedupd.api.passthrough import open_upstream
from dedupd.cloud import nova as nova_module
from dedupd.cloud.nova import MAX_ANSWER_BYTES, Connector, Nova, in_words
from dedupd.exchange import Answer, Call, Headers
from dedupd.ports import Lost, NotSent
from tests.engines.ports import free_port
from tests.integration.certificates import Authority
from tests.unit.upstreams import Handler, upstream

DEADLINE = 30.0
Clouds = Callable[..., Awaitable[Nova]]
OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok"
HOST = (b"Host", b"nova.example.org")


def post(target: str = "/v2.1/servers", body: bytes = b"{}", headers: Headers = (HOST,)) -> Call:
    return Call("POST", target, headers, body)


@pytest.fixture
async def cloud() -> AsyncIterator[Clouds]:
    """A Nova for a URL; its session is closed with the test."""
    async with AsyncExitStack() as stack:

        async def opened(url: str, connect: float = 5.0, connections: int = 10) -> Nova:
            session, afresh = (
                open_upstream(connections=connections, connector=Connector, keep=keep)
                for keep in (True, False)
            )
            await stack.enter_async_context(session)
            await stack.enter_async_context(afresh)
            return Nova(session, afresh, url, connect)

        yield opened


class TestExchange:
    async def test_the_whole_answer_comes_back(self, cloud: Clouds) -> None:
        async with upstream(OK) as server:
            answer = await (await cloud(server.url)).send(post(), DEADLINE)
        assert (answer.status, answer.body) == (202, b"ok")
        assert answer.headers == ((b"Content-Length", b"2"), (b"X-A", b"1"), (b"x-a", b"2"))

    @pytest.mark.parametrize("chunked", [True, False])
    @pytest.mark.parametrize("longer", [True, False])
    async def test_an_answer_that_no_store_keeps_is_lost(
        self, cloud: Clouds, chunked: bool, longer: bool
    ) -> None:
        """Else it would be committed in vain for ever."""
        body = bytes(MAX_ANSWER_BYTES + longer)
        pieces = [b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(body), body]
        if chunked:
            head = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n"
            pieces = [head, b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"]
        async with upstream(b"".join(pieces)) as server:
            sending = (await cloud(server.url)).send(post(), DEADLINE)
            if longer:
                with pytest.raises(Lost, match="longer than 1048576 bytes"):
                    await sending
            else:
                assert (await sending).body == body

    async def test_what_is_only_looked_at_may_be_longer(self, cloud: Clouds) -> None:
        body = bytes(2 * MAX_ANSWER_BYTES)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        async with upstream(answer) as server:
            look = Call("GET", "/v2.1/servers/detail", (HOST,))
            assert (await (await cloud(server.url)).send(look, DEADLINE)).body == body

    async def test_target_and_body_go_out_as_they_are(self, cloud: Clouds) -> None:
        target = "/v2.1//%73ervers?b=%2F&a=1&a=+&x"
        async with upstream(OK) as server:
            await (await cloud(server.url + "/")).send(post(target, b"\x00\xff{ }"), DEADLINE)
            assert server.heads[0].startswith(f"POST {target} HTTP/1.1\r\n".encode())
            assert server.bodies == [b"\x00\xff{ }"]

    async def test_an_endpoint_s_path_stands_before_the_target(self, cloud: Clouds) -> None:
        async with upstream(OK) as server:
            await (await cloud(server.url + "/compute/")).send(post("/v2.1/servers"), DEADLINE)
            assert server.heads[0].startswith(b"POST /compute/v2.1/servers HTTP/1.1\r\n")

    async def test_no_header_is_added_but_two(self, cloud: Clouds) -> None:
        headers = (HOST, (b"X-Auth-Token", b"t"), (b"x-a", b"1"), (b"x-a", "é".encode()))
        async with upstream(OK) as server:
            await (await cloud(server.url)).send(post(headers=headers), DEADLINE)
            assert server.fields == [
                *(b": ".join(field) for field in headers),
                b"Accept-Encoding: identity",
                b"Content-Length: 2",
            ]

    @pytest.mark.parametrize(("method", "length"), [("GET", []), ("POST", [b"Content-Length: 0"])])
    async def test_no_body_is_none(self, cloud: Clouds, method: str, length: list[bytes]) -> None:
        async with upstream(OK) as server:
            await (await cloud(server.url)).send(Call(method, "/x", (HOST,)), DEADLINE)
            plain = b"Accept-Encoding: identity"
            assert server.fields == [b"Host: nova.example.org", plain, *length]

    async def test_no_other_coding_is_accepted(self, cloud: Clouds) -> None:
        """What is kept must be readable, and a repeat is not told how it was packed."""
        headers = (HOST, (b"accept-encoding", b"gzip"), (b"Accept-Encoding", b"br"))
        async with upstream(OK) as server:
            await (await cloud(server.url)).send(post(headers=headers), DEADLINE)
            fields = [field.lower() for field in server.fields]
        assert [field for field in fields if field.startswith(b"accept-enc")] == [
            b"accept-encoding: identity"
        ]

    @pytest.mark.parametrize("status", [b"302 Found", b"307 Temporary Redirect"])
    async def test_redirections_are_answers(self, cloud: Clouds, status: bytes) -> None:
        reply = b"HTTP/1.1 " + status + b"\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n"
        async with upstream(reply) as server:
            answer = await (await cloud(server.url)).send(post(), DEADLINE)
            assert answer.status == int(status[:3])
            assert len(server.heads) == 1

    async def test_compressed_answers_are_not_unpacked(self, cloud: Clouds) -> None:
        reply = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
        async with upstream(reply) as server:
            answer = await (await cloud(server.url)).send(post(), DEADLINE)
        assert (answer.body, answer.header(b"content-encoding")) == (b"abc", b"gzip")

    async def test_cookies_are_not_kept(self, cloud: Clouds) -> None:
        reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        async with upstream(reply) as server:
            nova = await cloud(server.url)
            await nova.send(post(), DEADLINE)
            await nova.send(post(), DEADLINE)
            assert len(server.heads) == 2
            assert b"cookie" not in server.heads[1].lower()


class TestNotSent:
    async def told(self, nova: Nova, url: str, reason: str) -> str:
        """What operators are told; callers hear the reason, and not where Nova is."""
        with pytest.raises(NotSent) as caught:
            await nova.send(post(), DEADLINE)
        assert caught.value.message == f"Nova cannot be reached ({reason})."
        told = str(caught.value)
        assert told.startswith(f"Nova at {url} cannot be reached ({reason})")
        return told

    async def test_refused(self, cloud: Clouds) -> None:
        url = f"http://127.0.0.1:{free_port()}"
        told = await self.told(await cloud(url), url, "Connection refused")
        assert "ssl" not in told

    async def test_no_such_host(self, cloud: Clouds) -> None:
        url = "http://nova.invalid:1"
        await self.told(await cloud(url), url, "its name is not known")

    async def test_a_certificate_that_nobody_vouches_for(
        self, cloud: Clouds, tmp_path: Path
    ) -> None:
        pair = Authority(tmp_path).sign("nova")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certfile, pair.keyfile)
        server = await asyncio.start_server(_silence, "127.0.0.1", 0, ssl=context)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            told = await self.told(await cloud(url), url, "its certificate is refused")
        assert "unable to get local issuer certificate" in told

    async def test_not_permitted_any_more_once_there_is_a_connection(self, cloud: Clouds) -> None:
        async with upstream(OK) as server:
            nova = await cloud(server.url, connections=1)
            for _ in range(2):  # on a new connection, then on one that is kept
                with pytest.raises(NotSent, match="may not send"):
                    await nova.send(post(), DEADLINE, lambda: False)
            assert (await nova.send(post(), DEADLINE, lambda: True)).status == 202
            assert len(server.heads) == 1

    async def test_no_tls_there(self, cloud: Clouds) -> None:
        async with upstream(OK) as server:
            nova = await cloud(server.url.replace("http", "https"), connect=0.5)
            with pytest.raises(NotSent):
                await nova.send(post(), DEADLINE)
            assert not server.heads

    async def test_no_connection_in_time(self, cloud: Clouds) -> None:
        """A listener whose backlog is full lets nobody in."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            address = full.getsockname()
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            url = f"http://127.0.0.1:{address[1]}"
            await self.told(await cloud(url, connect=0.2), url, "no connection in time")
            for filler in fillers:
                filler.close()

    async def test_no_free_connection_in_time(self, cloud: Clouds) -> None:
        """Waiting for one is not sending: the first exchange holds the only one."""
        began, end = asyncio.Event(), asyncio.Event()

        async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            began.set()
            await end.wait()
            writer.write(OK)

        async with upstream(hold) as server:
            nova = await cloud(server.url, connect=0.2, connections=1)
            first = asyncio.create_task(nova.send(post(), DEADLINE))
            await began.wait()
            with pytest.raises(NotSent):
                await nova.send(post(), DEADLINE)
            end.set()
            assert (await first).status == 202
            assert len(server.heads) == 1


async def _close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def _nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"nonsense\r\n\r\n")


SECRET = b"s3cret"
_OK_HEAD = b"HTTP/1.1 200 OK\r\n"
_TELLING = b'{"adminPass": "' + SECRET + b'"}'


@pytest.fixture(
    params=[
        _OK_HEAD + b"Content-Length: 2\r\n\r\n" + _TELLING,
        _OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + _TELLING,
        _OK_HEAD + b"X-Subject-Token: " + SECRET,
        _OK_HEAD + SECRET + b" : x\r\n\r\n",
        b"HTTP/1.1 " + SECRET + b"\r\n\r\n",
        _TELLING,
    ],
    ids=["too long", "no chunks", "half a head", "no header", "no status", "tail of another one"],
)
def telling(request: pytest.FixtureRequest) -> Handler:
    """What cannot be read, with a password in it."""
    said: bytes = request.param

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    return answer


async def _silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never silent for long, never done."""
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


class TestLost:
    @pytest.mark.parametrize("answer", [_close, _reset, _half, _nonsense])
    async def test_what_breaks_off_after_the_first_byte(
        self, cloud: Clouds, answer: Handler
    ) -> None:
        async with upstream(answer) as server:
            with pytest.raises(Lost, match="Nova broke off") as caught:
                await (await cloud(server.url)).send(post(), DEADLINE)
            assert "127.0.0.1" not in caught.value.message, "it is for callers too"
            assert len(server.heads) == 1, "nothing underneath sent it again"

    async def test_nothing_of_an_answer_is_quoted(self, cloud: Clouds, telling: Handler) -> None:
        """It stands in the record, which the whole project is shown."""
        async with upstream(telling) as server:
            with pytest.raises(Lost) as lost:
                await (await cloud(server.url)).send(post(), DEADLINE)
        assert SECRET.decode() not in str(lost.value)
        assert len(str(lost.value)) < 200

    async def test_the_kinds_of_errors_are_told(self, cloud: Clouds) -> None:
        async with upstream(_nonsense) as server:
            with pytest.raises(Lost, match=r"broke off: ClientResponseError \(.*BadStatusLine"):
                await (await cloud(server.url)).send(post(), DEADLINE)

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (ConnectionResetError(104, "Connection reset by peer"), " Connection reset by peer"),
            (ConnectionResetError(104, "s3cret"), ""),
            (ConnectionResetError("s3cret"), ""),
            (ConnectionResetError(), ""),
        ],
    )
    def test_the_system_s_words_are_told(self, error: OSError, said: str) -> None:
        assert in_words(error) == "ConnectionResetError" + said

    @pytest.mark.parametrize("answer", [_silence, _drip])
    async def test_what_takes_too_long(self, cloud: Clouds, answer: Handler) -> None:
        async with upstream(answer) as server:
            nova = await cloud(server.url, connect=0.1)
            with pytest.raises(Lost):
                await nova.send(post(), 0.2)
            assert len(server.heads) == 1

    async def test_an_answer_that_came_during_a_pause_of_the_process_is_taken(
        self, cloud: Clouds
    ) -> None:
        """The loop stands still, as under SIGSTOP, until all deadlines have passed."""

        async def pause(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK)
            time.sleep(2)  # noqa: ASYNC251

        async with upstream(pause) as server:
            answer = await (await cloud(server.url)).send(post(), 0.5)
        assert answer.status == 202

    async def test_after_a_pause_it_is_not_waited_for_for_long(self, cloud: Clouds) -> None:
        async def pause(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            time.sleep(2)  # noqa: ASYNC251
            await reader.read()

        async with upstream(pause) as server:
            with pytest.raises(Lost):
                await (await cloud(server.url)).send(post(), 0.5)

    async def test_a_kept_connection_that_nova_closes_is_not_used_for_a_second_try(
        self, cloud: Clouds
    ) -> None:
        """The race that makes HTTP libraries send again: the server closes an idle connection."""
        answers = iter([OK])

        async def once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reply = next(answers, None)
            if reply is None:
                writer.transport.abort()
            else:
                writer.write(reply)

        async with upstream(once) as server:
            nova = await cloud(server.url)
            assert (await nova.send(post(), DEADLINE)).status == 202
            with pytest.raises(Lost):
                await nova.send(post(), DEADLINE)
            assert len(server.heads) == 2

    async def test_a_cancelled_send_closes_its_connection(self, cloud: Clouds) -> None:
        began, ended = asyncio.Event(), asyncio.Event()

        async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            began.set()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            ended.set()

        async with upstream(wait) as server:
            sending = asyncio.create_task((await cloud(server.url)).send(post(), DEADLINE))
            await began.wait()
            sending.cancel()
            async with asyncio.timeout(DEADLINE):
                await ended.wait()
            with pytest.raises(asyncio.CancelledError):
                await sending


WHOLE = 1 << 20
"""Bytes: more than a receiver takes that reads nothing."""


class Waiting:
    """Takes connections, and reads from them, only when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._taken = ExitStack()

    def close(self) -> None:
        self._taken.close()
        self.listener.close()

    async def taken(self) -> socket.socket:
        connection, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        self._taken.enter_context(connection)
        return connection

    async def said(self, connection: socket.socket) -> bytes:
        """What comes until it falls silent or ends."""
        loop, said = asyncio.get_running_loop(), b""
        try:
            while part := await asyncio.wait_for(loop.sock_recv(connection, 1 << 20), 0.5):
                said += part
        except (TimeoutError, ConnectionResetError):
            pass
        return said


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    with closing(Waiting()) as server:
        yield server


class TestAfresh:
    async def test_no_connection_is_used_twice(self, cloud: Clouds) -> None:
        peers: list[object] = []

        async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peers.append(writer.get_extra_info("peername"))
            writer.write(OK)

        async with upstream(note) as server:
            nova = await cloud(server.url)
            for afresh in (False, False, True, True, False):
                await nova.send(post(), DEADLINE, afresh=afresh)
        kept, _, first, second, again = peers
        assert peers.count(kept) == 3
        assert again == kept
        assert len({kept, first, second}) == 3

    async def test_it_comes_behind_a_post_that_waits_though_others_are_answered_before(
        self, cloud: Clouds, waiting: Waiting
    ) -> None:
        """As with a server that serves those whom it has taken before it takes others."""
        loop = asyncio.get_running_loop()
        nova = await cloud(waiting.url)
        usual = asyncio.create_task(nova.send(Call("GET", "/usual", (HOST,)), DEADLINE))
        kept = await waiting.taken()
        assert (await waiting.said(kept)).startswith(b"GET /usual")
        await loop.sock_sendall(kept, OK)
        await usual
        held = asyncio.create_task(nova.send(post("/held"), DEADLINE))
        assert (await waiting.said(kept)).startswith(b"POST /held")
        with pytest.raises(Lost):
            await nova.send(post("/lost"), 0.2)
        await loop.sock_sendall(kept, OK)
        await held
        look = asyncio.create_task(nova.send(Call("GET", "/look", (HOST,)), DEADLINE, afresh=True))
        first, second = await waiting.taken(), await waiting.taken()
        assert (await waiting.said(second)).startswith(b"GET /look")
        assert b"/look" not in await waiting.said(first)
        await loop.sock_sendall(second, OK)
        assert (await look).status == 202


class TestGivenUp:
    @pytest.mark.parametrize("how", ["it takes too long", "it is cancelled"])
    @pytest.mark.parametrize("small", [0, 4096], ids=["the kernel has it all", "a part of it"])
    async def test_what_is_given_up_is_not_delivered_any_more(
        self,
        cloud: Clouds,
        waiting: Waiting,
        monkeypatch: pytest.MonkeyPatch,
        how: str,
        small: int,
    ) -> None:
        """Nova reads at last, long after: it gets no whole POST that it could carry out."""
        made = nova_module._resetting

        def buffered(address: Any) -> socket.socket:
            sender = made(address)
            if small:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, small)
            return sender

        monkeypatch.setattr(nova_module, "_resetting", buffered)
        nova = await cloud(waiting.url)
        seconds = 0.2 if how == "it takes too long" else DEADLINE
        sending = asyncio.create_task(nova.send(post(body=bytes(WHOLE)), seconds))
        connection = await waiting.taken()
        if how == "it is cancelled":
            assert await asyncio.get_running_loop().sock_recv(connection, 1)
            sending.cancel()
        with pytest.raises((Lost, asyncio.CancelledError)):
            await sending
        assert len(await waiting.said(connection)) < WHOLE

    async def test_whose_answer_is_there_lets_its_connection_go_to_others(
        self, cloud: Clouds, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is cancelled when all has come, before it is told: another sends there already."""
        loop, received = asyncio.get_running_loop(), ResponseHandler.data_received
        nova = await cloud(waiting.url)
        answered = asyncio.create_task(nova.send(Call("GET", "/answered", (HOST,)), DEADLINE))
        begun, other = asyncio.Event(), list[asyncio.Task[Answer]]()

        def receive(handler: ResponseHandler, data: bytes) -> None:
            if not other and data == b"k":
                other.append(asyncio.create_task(nova.send(post("/other"), DEADLINE)))
                received(handler, data)
                answered.cancel()
            else:
                received(handler, data)
                begun.set()

        monkeypatch.setattr(ResponseHandler, "data_received", receive)
        connection = await waiting.taken()
        assert (await waiting.said(connection)).startswith(b"GET /answered")
        await loop.sock_sendall(connection, OK.removesuffix(b"k"))
        await begun.wait()
        await loop.sock_sendall(connection, b"k")
        with pytest.raises(asyncio.CancelledError):
            await answered
        assert (await waiting.said(connection)).startswith(b"POST /other")
        await loop.sock_sendall(connection, OK)
        assert (await other[0]).status == 202
