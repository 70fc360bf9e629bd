"""Queues that are there and serve nobody, and how they are done away with.

RabbitMQ keeps the name of a quorum queue apart from the queue itself. Where a node is killed soon
after a queue was declared, or most of its members are gone for good, the name may be all that is
left. To declare it succeeds, but what is published is not confirmed, or rejected, and who wants to
consume has no answer, or "internal error" (seen with 3.10.8). It stays so until somebody deletes
it. Nobody loses by that: what a queue held is published again, since its records say that it waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import InternalError, ResourceLocked

from dedupd.errors import DedupdError
from dedupd.queue.refusal import explained

LOG = logging.getLogger(__name__)

MUTE_SECONDS = 10.0
"""How long a queue must have taken no consumer, while its broker tells of it: longer than its
members take to elect a leader."""

CONSUME_SECONDS = 3.0
"""How long one attempt to consume may take."""

DELETE_SECONDS = 15.0
"""How long it may take to delete a queue: 5 s if it is mute."""

PAUSE_SECONDS = 1.0
"""Between two attempts to consume."""

BEAT_SECONDS = 60
"""What its connections promise: who has gone without a word counts as gone after twice that, which
is longer than two queues take."""

Connect = Callable[[float], Any]
"""Makes a connection of kombu that waits so many seconds for each answer."""


def delete_mute(connect: Connect, place: str, lock: str, names: Iterable[str]) -> None:
    """Delete those of the queues that are mute; whoever connects next declares them anew.

    One process at a time: else the last of several would delete what has just been declared anew.
    Whoever comes second leaves it to the first. Blocks, for up to MUTE_SECONDS and DELETE_SECONDS
    for each queue. A broker that is away, or refuses, is left alone.

    Args:
        connect: Connects to the broker.
        place: Where the broker is.
        lock: The exclusive queue of whoever is at it, gone with its connection.
        names: The queues.
    """
    try:
        with explained(place), _held(connect, lock) as alone:
            for name in names if alone else ():
                if _is_mute(connect, name):
                    LOG.error(_MUTE, name, place)
                    with connect(DELETE_SECONDS) as connection:
                        connection.channel().queue_delete(name)
    except DedupdError as error:
        LOG.warning("The queue was not looked at: %s", error)


def check_lock(connect: Connect, place: str, lock: str) -> None:
    """Make sure that the broker permits the lock; it is let go of at once.

    Raises:
        QueueUnavailable, ConfigError: the broker does not tell, or does not permit it.
    """
    with explained(place), _held(connect, lock):
        pass


@contextmanager
def _held(connect: Connect, lock: str) -> Iterator[bool]:
    """Whether the lock is ours until the end of the block: RabbitMQ gives it to one connection.

    Raises:
        AMQPError, OSError: the broker does not tell anything, or does not permit it.
    """
    with connect(CONSUME_SECONDS) as connection:
        try:
            connection.channel().queue_declare(lock, exclusive=True)
        except ResourceLocked:
            yield False
        else:
            yield True


def _is_mute(connect: Connect, name: str) -> bool:
    """Whether it takes no consumer for MUTE_SECONDS, and the broker still tells of it.

    Raises:
        AMQPError, OSError: the broker does not tell anything, or has no such queue.
    """
    ends = time.monotonic() + MUTE_SECONDS
    while time.monotonic() < ends:
        if _takes_a_consumer(connect, name):
            return False
        time.sleep(PAUSE_SECONDS)
    with connect(CONSUME_SECONDS) as connection:
        connection.channel().queue_declare(queue=name, passive=True)
    return True


def _takes_a_consumer(connect: Connect, name: str) -> bool:
    with connect(CONSUME_SECONDS) as connection:
        channel = connection.channel()
        channel.basic_qos(0, 1, False)
        try:
            channel.basic_consume(queue=name, no_ack=False, callback=_leave, consumer_tag="probe")
        except (TimeoutError, InternalError):
            return False
        channel.close()  # what it was given goes back
        return True


def _leave(_message: object) -> None:
    """It goes back when the channel is closed."""


_MUTE = "The queue %s on %s is there but serves nobody: it is deleted, and declared anew"
