"""What RabbitMQ, TLS and the network say, as errors that name the thing and what to do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from amqp import exceptions

from dedupd.errors import ConfigError, DedupdError, Engine
from dedupd.ports import QueueUnavailable

_CURES: tuple[tuple[type[Exception], str, str], ...] = (
    (ssl.SSLCertVerificationError, "", "correct [queue] cafile, or the host in [queue] url"),
    (ssl.SSLError, "", "correct [queue] url (amqps:// and a port for TLS), certfile and keyfile"),
    (
        exceptions.AccessRefused,
        "",
        "correct user and password in [queue] url, or grant the permission",
    ),
    (exceptions.NotAllowed, "", "correct the virtual host in [queue] url, or grant access to it"),
    (
        exceptions.PreconditionFailed,
        "inequivalent arg",
        "delete that queue (what it holds is published again), or choose another [queue] name",
    ),
)
"""Who says no, in which words, and what changes that; anything else may pass by itself.

PRECONDITION_FAILED is also said of a message that nobody acknowledged for RabbitMQ's
``consumer_timeout`` (30 min): it comes again on the next connection.
"""


def engine(place: str) -> Engine:
    """How errors name a broker."""
    return Engine("The broker", place)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn the errors of a broker at ``place`` into ours.

    Raises:
        ConfigError: it says no, and will go on to do so until somebody changes something.
        QueueUnavailable: it is away, or broke off.
    """
    try:
        yield
    except DedupdError:
        raise
    except (exceptions.AMQPError, OSError) as error:
        raise _explained(place, error) from error


def _explained(place: str, error: exceptions.AMQPError | OSError) -> DedupdError:
    for kind, words, cure in _CURES:
        if isinstance(error, kind) and words in str(error):
            return ConfigError(f"{engine(place)}: {_said(error)}: {cure}.")
    return QueueUnavailable.of(engine(place), " is away", _said(error))


def _said(error: exceptions.AMQPError | OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused, {error.verify_message}"
    if isinstance(error, exceptions.ConsumerCancelled):
        return f"it cancelled the consumer {error.reply_text}, whose queue was deleted or moved"
    text = error.strerror if isinstance(error, OSError) else error.reply_text
    return str(text or error).rstrip(".") or type(error).__name__
