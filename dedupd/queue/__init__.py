"""How workers hear that there is work: the implementations of ``dedupd.ports.Queue``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dedupd.background import Background
from dedupd.conf.queue_url import QueueScheme
from dedupd.ports import Queue

if TYPE_CHECKING:
    from dedupd.conf.queue import QueueSettings


def open_queue(settings: QueueSettings, background: Background) -> Queue:
    """The queue that ``[queue]`` names; it is still to be opened with ``Queue.open``.

    What keeps it connected runs in ``background``.

    Every ``memory://`` is a broker of its own that lives as long as the object: what was not
    acknowledged is there again after ``close`` and ``open``.
    """
    if settings.url.scheme is QueueScheme.MEMORY:
        return _memory(settings.name)
    return _rabbitmq(settings, background)


def open_once(settings: QueueSettings) -> Queue:
    """The same to look at it, beside others: when its connection has ended, it has ended for good.

    A queue that serves nobody (``queue.mute``) is left as it is: ``consume`` raises.
    """
    if settings.url.scheme is QueueScheme.MEMORY:
        return _memory(settings.name)
    from dedupd.queue.cluster import Cluster
    from dedupd.queue.kombu import KombuQueue
    from dedupd.queue.link import ThreadLink
    from dedupd.queue.policies import DEADLINE_SECONDS

    return KombuQueue(Cluster(settings).connect, ThreadLink, DEADLINE_SECONDS)


def check_heal(settings: QueueSettings) -> None:
    """Make sure that a queue which serves nobody could be mended (``queue.mute``); blocks.

    Raises:
        QueueUnavailable, ConfigError: the broker does not tell, or does not permit it.
    """
    if settings.url.scheme is not QueueScheme.MEMORY:
        from dedupd.queue.cluster import Cluster

        Cluster(settings).check_heal()


def _memory(name: str) -> Queue:
    from dedupd.queue.broker import Broker, private_memory
    from dedupd.queue.kombu import KombuQueue
    from dedupd.queue.link import InlineLink

    transport = private_memory()
    return KombuQueue(lambda: Broker("memory://", name, transport), InlineLink)


def _rabbitmq(settings: QueueSettings, background: Background) -> Queue:
    from dedupd.queue.cluster import Cluster
    from dedupd.queue.link import ThreadLink
    from dedupd.queue.policies import DEADLINE_SECONDS
    from dedupd.queue.recovery import RecoveringQueue

    cluster = Cluster(settings)
    return RecoveringQueue(cluster.connect, ThreadLink, DEADLINE_SECONDS, cluster.heal, background)
