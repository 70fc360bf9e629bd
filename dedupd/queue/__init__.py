"""How workers hear that there is work: the implementations of ``dedupd.ports.Queue``."""

from __future__ import annotations

from urllib.parse import urlsplit

from dedupd.errors import ConfigError
from dedupd.ports import Queue


def open_queue(url: str, name: str) -> Queue:
    """The queue behind a URL; it is still to be opened with ``Queue.open``.

    ``name`` is the queue's name on the broker. Every ``memory://`` is a broker of its own that
    lives as long as the object: what was not acknowledged is there again after ``close`` and
    ``open``.

    Raises:
        ConfigError: a transport that is not supported; it says which are, and why.
    """
    scheme = urlsplit(url).scheme
    if scheme != "memory":
        raise ConfigError(
            f"[queue] url: {scheme or 'no scheme'} is not supported, write memory://. "
            "kombu's filesystem, SQLite and etcd transports lose the messages of a consumer that "
            "was killed (measured), and nothing shows that its others do not."
        )
    return _memory(url, name)


def _memory(url: str, name: str) -> Queue:
    from dedupd.queue.broker import Broker, private_memory
    from dedupd.queue.kombu import KombuQueue
    from dedupd.queue.link import InlineLink

    transport = private_memory()
    return KombuQueue(lambda: Broker(url, name, transport), InlineLink)
