from __future__ import annotations

from collections.abc import Callable

import pytest

from dedupd.queue.delivery import Message


@pytest.mark.parametrize(
    ("first", "hand_back"), [(Message.acknowledge, False), (Message.hand_back, True)]
)
@pytest.mark.parametrize("second", [Message.acknowledge, Message.hand_back])
def test_only_the_first_call_settles(
    first: Callable[[Message], None], hand_back: bool, second: Callable[[Message], None]
) -> None:
    settled: list[tuple[object, bool]] = []
    message = Message("id", lambda tag, back: settled.append((tag, back)), 7)
    first(message)
    second(message)
    assert settled == [(7, hand_back)]
