"""The queues that keep the contract, and what a test needs to watch one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from dedupd.background import Background
from dedupd.conf.queue import QueueSettings
from dedupd.conf.queue_url import parse_queue_url
from dedupd.ports import Delivery, Queue
from dedupd.queue import open_queue
from dedupd.queue.broker import Broker, private_memory
from dedupd.queue.kombu import KombuQueue
from dedupd.queue.link import InlineLink, Link, ThreadLink
from dedupd.queue.memory import MemoryQueue
from tests.engines import rabbitmq

DEADLINE = 10.0


def kombu_memory(link: type[Link]) -> KombuQueue:
    transport = private_memory()
    return KombuQueue(lambda: Broker("memory://", "dedupd", transport), link, DEADLINE)


def queue_settings(url: str, **others: Any) -> QueueSettings:
    """Settings of a queue with a name of its own."""
    given: dict[str, Any] = {
        "cafile": None,
        "certfile": None,
        "keyfile": None,
        "name": f"test-{uuid.uuid4()}",
        "delivery_limit": 20,
        "max_depth": 10_000,
        "project_share": 0.5,
    }
    return QueueSettings(url=parse_queue_url(url), **given | others)


def queue_at(url: str, **others: Any) -> Queue:
    """The queue of such settings, still to be opened."""
    return open_queue(queue_settings(url, **others), Background())


QUEUES: dict[str, Callable[[], Queue]] = {
    "kombu-inline": lambda: kombu_memory(InlineLink),
    "kombu-thread": lambda: kombu_memory(ThreadLink),
    "rabbitmq": lambda: queue_at(rabbitmq.shared().url),
    "simulation": MemoryQueue,
}


def request_id(number: int) -> str:
    return f"{number:032x}"


class Inbox:
    """A handler that keeps what it is given, and acknowledges it if it is told to."""

    def __init__(self, *, acknowledge: bool = False) -> None:
        self.deliveries: list[Delivery] = []
        self._acknowledge = acknowledge
        self._arrival = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._arrival.set()
        if self._acknowledge:
            delivery.acknowledge()

    def acknowledge_all(self) -> None:
        """What has come, and from now on what comes."""
        self._acknowledge = True
        for delivery in self.deliveries:
            delivery.acknowledge()

    @property
    def ids(self) -> list[str]:
        return [delivery.id for delivery in self.deliveries]

    async def until(self, count: int) -> list[str]:
        """The ids, once there are this many."""
        async with asyncio.timeout(DEADLINE):
            while len(self.deliveries) < count:
                self._arrival.clear()
                await self._arrival.wait()
        return self.ids


async def until_depth(queue: Queue, depth: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while await queue.depth() != depth:  # noqa: ASYNC110 - a depth has no event
            await asyncio.sleep(0)


async def settled(queue: Queue) -> None:
    """Returns when what was commanded before has been done, and its messages handled."""
    for _ in range(3):
        await queue.depth()
        await asyncio.sleep(0)
