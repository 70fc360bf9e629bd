from __future__ import annotations

import ssl

import pytest
from amqp import exceptions

from dedupd.errors import ConfigError, DedupdError
from dedupd.ports import QueueUnavailable
from dedupd.queue.refusal import explained


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (exceptions.AccessRefused("ACCESS_REFUSED - no"), ConfigError, "a:1: ACCESS_REFUSED - no"),
        (exceptions.NotAllowed("no vhost"), ConfigError, "correct the virtual host"),
        (
            exceptions.PreconditionFailed("inequivalent arg 'x'"),
            ConfigError,
            "a:1: inequivalent arg 'x': delete that queue",
        ),
        (
            exceptions.PreconditionFailed("acknowledgement on channel 1 timed out"),
            QueueUnavailable,
            "a:1 is away: acknowledgement on channel 1 timed out.",
        ),
        (exceptions.ConsumerCancelled("dedupd-1"), QueueUnavailable, "dedupd-1, whose queue was"),
        (ssl.SSLError(1, "[SSL] wrong version number"), ConfigError, "a port for TLS"),
        (ssl.SSLCertVerificationError(1, "x"), ConfigError, "its certificate is refused"),
        (exceptions.NotFound("no queue"), QueueUnavailable, "a:1 is away: no queue."),
        (exceptions.ConnectionForced("shutdown."), QueueUnavailable, "is away: shutdown."),
        (exceptions.AMQPError(), QueueUnavailable, "AMQPError: unknown error"),
        (ConnectionResetError(104, "Connection reset"), QueueUnavailable, "Connection reset."),
        (OSError("Server unexpectedly closed"), QueueUnavailable, "Server unexpectedly closed."),
        (TimeoutError(), QueueUnavailable, "is away: TimeoutError."),
    ],
)
def test_what_is_said_of_an_error(error: Exception, kind: type[DedupdError], message: str) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "self-signed"
    with pytest.raises(kind) as caught, explained("a:1"):
        raise error
    assert message in str(caught.value)
    assert str(caught.value).endswith(".")
    assert caught.value.__cause__ is error


def test_callers_are_told_that_it_is_away_and_neither_where_it_is_nor_what_it_said() -> None:
    with pytest.raises(QueueUnavailable) as caught, explained("a:1"):
        raise exceptions.NotFound("home node 'rabbit@inside' of durable queue is down")
    assert caught.value.message == "The broker is away."


@pytest.mark.parametrize("error", [QueueUnavailable("as it is"), LookupError("a bug")])
def test_what_needs_no_explanation_stays(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained("a:1"):
        raise error
    assert caught.value is error
