from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from dedupd.queue.bell import Bell
from tests.contract.queues import DEADLINE


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    yield bell
    bell.close()


def waiting(bell: Bell) -> threading.Thread:
    thread = threading.Thread(target=bell.wait, args=(None,), daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(DEADLINE)
    return not thread.is_alive()


def test_ringing_ends_a_wait_each_time(bell: Bell) -> None:
    for _ in range(3):
        thread = waiting(bell)
        bell.ring()
        assert ends(thread)


def test_ringing_before_the_wait_ends_it_too_but_only_once(bell: Bell) -> None:
    bell.ring()
    bell.ring()
    assert ends(waiting(bell))
    thread = waiting(bell)
    assert thread.is_alive()
    bell.ring()
    assert ends(thread)


def test_something_to_read_ends_a_wait_until_it_is_read(bell: Bell) -> None:
    one, other = socket.socketpair()
    with one, other:
        bell.watch(one.fileno())
        thread = waiting(bell)
        other.send(b"x")
        assert ends(thread)
        assert ends(waiting(bell))


def test_a_wait_may_end_by_itself(bell: Bell) -> None:
    bell.wait(0.001)


def test_ringing_and_closing_after_the_end_do_nothing(bell: Bell) -> None:
    bell.close()
    bell.close()
    bell.ring()
