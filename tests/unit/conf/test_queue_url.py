from __future__ import annotations

import re

import pytest

from dedupd.conf.queue_url import QueueScheme, QueueUrl, parse_queue_url
from dedupd.conf.values import Address

AMQP, AMQPS = QueueScheme.AMQP, QueueScheme.AMQPS


@pytest.mark.parametrize("text", ["memory://", "memory:///", "memory://localhost//", "memory:"])
def test_memory(text: str) -> None:
    assert parse_queue_url(text) == QueueUrl(QueueScheme.MEMORY)
    assert str(parse_queue_url(text)) == "memory://"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("amqp://broker", QueueUrl(AMQP, (Address("broker", 5672),))),
        ("amqp://broker/", QueueUrl(AMQP, (Address("broker", 5672),))),
        ("amqp://broker//", QueueUrl(AMQP, (Address("broker", 5672),))),
        ("amqps://broker/%2F", QueueUrl(AMQPS, (Address("broker", 5671),))),
        (
            "amqp://me:geheim@a:5672,b:5673//",
            QueueUrl(AMQP, (Address("a", 5672), Address("b", 5673)), "me", "geheim"),
        ),
        (
            "amqps://m%40e:g%2Fe%3Ah%2C@[::1]:1,[::2],c/cloud",
            QueueUrl(
                AMQPS,
                (Address("::1", 1), Address("::2", 5671), Address("c", 5671)),
                "m@e",
                "g/e:h,",
                "cloud",
            ),
        ),
        ("amqp://me@broker", QueueUrl(AMQP, (Address("broker", 5672),), "me", "")),
    ],
)
def test_rabbitmq(text: str, url: QueueUrl) -> None:
    assert parse_queue_url(text) == url


def test_what_is_shown_has_no_password() -> None:
    url = parse_queue_url("amqp://me:geheim@a,[::1]:1/cloud")
    assert str(url) == "amqp://me@a:5672,[::1]:1/cloud"
    assert "geheim" not in repr(url)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "is no queue: write memory://"),
        ("memory", "is no queue"),
        ("broker:5672", "is no queue"),
        ("memory://broker/x", "names more than memory:// can use"),
        ("redis://:geheim@localhost/0", "is no queue"),
        ("filesystem:///var/spool", "lose the messages of a consumer that was killed"),
        ("sqlalchemy+sqlite:///q.db", "is no queue"),
        ("etcd://me:geheim@127.0.0.1:2379", "is no queue"),
        ("amqp://[::1", "is no queue"),
        ("amqp://", "is not HOST:PORT"),
        ("amqp://me:geheim@", "is not HOST:PORT"),
        ("amqp://a,,b", "is not HOST:PORT"),
        ("amqp://me:geheim@a:x/v", "'a:x' is not HOST:PORT: write 127.0.0.1:5672, or [::1]:5672"),
        ("amqps://a:x", "'a:x' is not HOST:PORT: write 127.0.0.1:5671, or [::1]:5671 for IPv6"),
        ("amqp://me:geheim@a:0", "has port 0"),
        ("amqp://me:geheim@a:99999", "ports end at 65535"),
        ("amqp://a..b", "neither an IP address nor a host name"),
        ("amqp://me:geheim@broker?heartbeat=1", "has a query or a fragment"),
        ("amqp://me:geheim@broker#x", "has a query or a fragment"),
        ("amqp://me:ge/geheim@broker:5672/v", "write %2F in user and password"),
        ("amqp://me:geheim@geheim@broker:0", "has port 0"),
        ("redis://me:ge/geheim@geheim@broker", "is no queue"),
    ],
)
def test_what_is_refused(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)) as caught:
        parse_queue_url(text)
    assert "geheim" not in str(caught.value)
