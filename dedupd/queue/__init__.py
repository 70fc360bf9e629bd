"""How workers hear that there is work: the implementations of ``dedupd.ports.Queue``."""

from __future__ import annotations

from urllib.parse import urlsplit

from dedupd.errors import ConfigError
from dedupd.ports import Queue


def open_queue(url: str, name: str) -> Queue:
    """The queue behind a URL, still to be opened with ``Queue.open``.

    ``name`` is the queue's name on the broker. Each ``memory://`` queue is a broker of its own,
    which lives as long as the object: what was not acknowledged is there again after ``close`` and
    ``open``.

    Raises:
        ConfigError: a transport that is not supported; it says which are, and why.
    """
    scheme = urlsplit(url).scheme
    if scheme != "memory":
        raise ConfigError(
            f"[queue] url: {scheme or 'no'}:// is not supported, write memory://. Of kombu's other "
            "transports, filesystem, sqlalchemy and etcd lose the messages of a consumer that was "
            "killed (measured), and the rest have not been shown to keep them."
        )
    from dedupd.queue.kombu import KombuQueue

    return KombuQueue(url, name)
