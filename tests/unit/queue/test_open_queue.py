from __future__ import annotations

import pytest

from dedupd.errors import ConfigError
from dedupd.queue import open_queue
from tests.contract.queues import Inbox, request_id


async def test_memory_is_a_queue() -> None:
    queue = open_queue("memory://", "dedupd")
    await queue.open()
    inbox = Inbox(acknowledge=True)
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    assert await inbox.until(1) == [request_id(1)]
    await queue.close()


async def test_two_of_the_same_name_are_two_queues() -> None:
    one, two = (open_queue("memory://", "dedupd") for _ in range(2))
    await one.open()
    await two.open()
    await one.publish(request_id(1))
    assert (await one.depth(), await two.depth()) == (1, 0)
    await one.close()
    await two.close()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("filesystem:///var/spool", "filesystem is not"),
        ("sqlalchemy+sqlite:///q.db", r"sqlalchemy\+sqlite is not"),
        ("etcd://user:secret@127.0.0.1:2379", "etcd is not"),
        ("redis://:secret@localhost/0", "redis is not"),
        ("", "no scheme"),
        ("localhost", "no scheme"),
    ],
)
def test_another_transport_is_refused_with_what_to_write(url: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as raised:
        open_queue(url, "dedupd")
    assert "write memory://" in raised.value.message
    assert "killed" in raised.value.message
    assert "secret" not in raised.value.message
