"""The queue while its broker is killed, wiped, stopped, or says no."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from dedupd.errors import ConfigError
from dedupd.ports import Queue, QueueUnavailable
from dedupd.queue import open_queue
from tests.contract.queues import Inbox, queue_settings, request_id, until_depth
from tests.engines.certificates import Authority
from tests.engines.rabbitmq import RabbitMQ

RECOVERY_SECONDS = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[Queue]:
    queue = open_queue(queue_settings(url, **settings))
    await queue.open()
    try:
        yield queue
    finally:
        await queue.close()


@pytest.fixture
def name(broker: RabbitMQ) -> str:
    """A queue's name; the queue itself is there, and outlives `kill -9`."""
    name = queue_settings(broker.url).name
    return name


def delete(broker: RabbitMQ, name: str) -> None:
    """Delete a queue behind everybody's back."""
    with Connection(broker.url) as connection, connection.channel() as channel:
        channel.queue_delete(name)


async def until_published(queue: Queue, number: int) -> None:
    """Publish until it is confirmed, which it is once the queue has recovered."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                return await queue.publish(request_id(number))
            except QueueUnavailable:
                await asyncio.sleep(0.05)


async def test_what_was_confirmed_survives_a_kill(broker: RabbitMQ, name: str) -> None:
    async with opened(broker.url, name=name) as queue:
        await broker.until_durable(name)
        tasks = [asyncio.create_task(queue.publish(request_id(n))) for n in range(2000)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(broker.restart)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        confirmed = {request_id(n) for n, result in enumerate(results) if result is None}
        assert all(result is None or isinstance(result, QueueUnavailable) for result in results)
        assert confirmed
        inbox = Inbox(acknowledge=True)
        await until_published(queue, 9999)
        await queue.consume(inbox, 100)
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not {request_id(9999), *confirmed} <= set(inbox.ids):
                await inbox.until(len(inbox.ids) + 1)
