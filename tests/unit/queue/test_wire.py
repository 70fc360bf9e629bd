from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupd.queue.wire import CHUNK, Wire
from tests.contract.queues import DEADLINE
from tests.integration.certificates import Authority

Ends = tuple[Wire, socket.socket]


def plain() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def with_tls(directory: Path) -> tuple[socket.socket, socket.socket]:
    authority = Authority(directory)
    issued = authority.sign("server")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(issued.certfile, issued.keyfile)
    trusting = ssl.create_default_context(cafile=authority.cafile)
    trusting.check_hostname = False
    one, other = socket.socketpair()
    server: list[ssl.SSLSocket] = []
    shaking = threading.Thread(
        target=lambda: server.append(serving.wrap_socket(other, server_side=True))
    )
    shaking.start()
    client = trusting.wrap_socket(one)
    shaking.join(DEADLINE)
    return client, server[0]


@pytest.fixture(params=["plain", "tls"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ends]:
    """A wire, and the socket at its other end; both give up in time."""
    ours, theirs = plain() if request.param == "plain" else with_tls(tmp_path)
    with ours, theirs:
        theirs.settimeout(DEADLINE)
        if request.param == "plain":  # as py-amqp does it: blocking, with the kernel's time-outs
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 50_000))
        else:
            ours.settimeout(0.05)
        yield Wire(ours), theirs


def test_what_is_written_goes_out_when_it_is_flushed(ends: Ends) -> None:
    wire, peer = ends
    wire.write(memoryview(b"one "))
    wire.write(b"two")
    wire.patient = False
    with pytest.raises(TimeoutError):
        wire.read(1)
    wire.flush()
    wire.flush()
    assert peer.recv(100) == b"one two"


def test_who_waits_for_an_answer_has_said_everything_before(ends: Ends) -> None:
    wire, peer = ends
    wire.write(b"question")
    with pytest.raises(TimeoutError):
        wire.read(1)
    assert peer.recv(100) == b"question"


def test_pieces_are_read_of_what_came_at_once(ends: Ends) -> None:
    wire, peer = ends
    peer.sendall(b"abcdefg")
    assert [wire.read(3), wire.read(3), wire.read(3)] == [b"abc", b"def", b"g"]


def test_without_patience_nothing_is_waited_for(ends: Ends) -> None:
    wire, peer = ends
    wire.patient = False
    with pytest.raises(TimeoutError):
        wire.read(1)
    peer.sendall(b"x" * (CHUNK + 10))
    wire.patient = True
    first = wire.read(1)
    wire.patient = False
    taken = first
    while len(taken) < CHUNK + 10:
        try:
            taken += wire.read(CHUNK)
        except TimeoutError:
            continue
    assert taken == b"x" * (CHUNK + 10)
    with pytest.raises(TimeoutError, match="does not answer"):
        wire.read(1)


def test_the_end_of_the_stream_is_nothing(ends: Ends) -> None:
    wire, peer = ends
    peer.shutdown(socket.SHUT_RDWR)
    assert wire.read(1) == b""


def test_a_peer_that_takes_nothing_is_not_waited_for_for_ever(ends: Ends) -> None:
    wire, _ = ends
    wire.write(bytes(100_000_000))
    with pytest.raises(OSError):  # noqa: PT011 - the kernel's time-out has another name than TLS's
        wire.flush()
