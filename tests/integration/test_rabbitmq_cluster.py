"""The node that leads the queue is killed under load: nothing is made twice, lost, or differs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

import pytest

from dedupd.background import Background
from dedupd.ports import Queue, QueueUnavailable
from dedupd.queue import open_queue
from tests.contract.queues import queue_settings, request_id
from tests.engines.rabbitmq_cluster import RabbitMQCluster
from tests.integration.scene import SETTINGS, Scene, progress
from tests.integration.simulated import Simulated
from tests.integration.site import PATIENCE, Engines, Site

pytestmark = pytest.mark.timeout(300)

CONNECTIONS = 12
"""So many that some are to the node that leads, and have to find another while it is replaced."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQCluster]:
    with RabbitMQCluster(tmp_path_factory.mktemp("brokers") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, cluster: RabbitMQCluster) -> Iterator[Scene]:
    engines = Engines(tmp_path_factory.mktemp("engines"))  # of which etcd alone is started
    directory = tmp_path_factory.mktemp("site")
    settings = SETTINGS | {"queue.url": cluster.url}
    with (
        engines.etcd,
        Simulated(7) as nova,
        Site(directory, engines, nova.url, settings, measured=False) as site,
    ):
        site.start(fronts=2, workers=2)
        yield Scene(site, nova)


async def test_the_leaders_node_dies(scene: Scene, cluster: RabbitMQCluster) -> None:
    queue = scene.site.queue
    assert await asyncio.to_thread(cluster.members, queue) == {node.node for node in cluster.nodes}
    async with scene.under_load() as fleet:
        leader = await asyncio.to_thread(cluster.leader, queue)
        await asyncio.to_thread(leader.kill)
        await progress(fleet)
        await asyncio.to_thread(leader.start)


async def test_every_connection_publishes_again(cluster: RabbitMQCluster) -> None:
    """RabbitMQ rejects for ever what comes by a channel that is opened during an election."""
    settings = queue_settings(cluster.url)
    queues = [open_queue(settings, Background()) for _ in range(CONNECTIONS)]
    async with AsyncExitStack() as stack:
        for queue in queues:
            await queue.open()
            stack.push_async_callback(queue.close)
        leader = await asyncio.to_thread(cluster.leader, settings.name)
        killed = asyncio.Event()
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for queue in queues:
                group.create_task(until_published_after(queue, killed))
            await asyncio.to_thread(leader.kill)
            killed.set()
    await asyncio.to_thread(leader.start)


async def until_published_after(queue: Queue, event: asyncio.Event) -> None:
    """Publish without a break until one is confirmed that was begun after the event."""
    while True:
        is_after = event.is_set()
        with suppress(QueueUnavailable):
            await queue.publish(request_id(1))
            if is_after:
                return
        await asyncio.sleep(0)
