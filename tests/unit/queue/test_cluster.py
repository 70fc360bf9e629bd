"""Several addresses of RabbitMQ, none of which answers."""

from __future__ import annotations

import pytest

from dedupd.ports import QueueUnavailable
from tests.contract.queues import queue_at
from tests.engines.ports import free_port


async def test_operators_read_each_address_and_callers_none() -> None:
    places = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with pytest.raises(QueueUnavailable) as caught:
        await queue_at(f"amqp://{','.join(places)}").open()
    assert all(f"The broker {place} is away: " in str(caught.value) for place in places)
    assert caught.value.message == "The queue's connection has ended: The broker is away."
