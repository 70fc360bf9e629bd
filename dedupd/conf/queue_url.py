"""``[queue] url``: which broker, and as whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, unquote, urlsplit

from dedupd.conf.values import Address, parse_address, without_user


class QueueScheme(StrEnum):
    """How ids get from fronts to workers."""

    MEMORY = "memory"
    AMQP = "amqp"
    AMQPS = "amqps"


PORTS = {QueueScheme.AMQP: 5672, QueueScheme.AMQPS: 5671}
"""Where RabbitMQ listens unless told otherwise."""


@dataclass(frozen=True, slots=True)
class QueueUrl:
    """The broker: any of ``brokers``, which are members of one cluster."""

    scheme: QueueScheme
    brokers: tuple[Address, ...] = ()
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    virtual_host: str = "/"

    def __str__(self) -> str:
        """As it is written in the configuration, without the password."""
        if self.scheme is QueueScheme.MEMORY:
            return "memory://"
        brokers = ",".join(map(str, self.brokers))
        return f"{self.scheme}://{self.user}@{brokers}/{self.virtual_host}"


_RULE = (
    "write memory://, or amqp://user:password@host:5672,host:5672/virtual_host (amqps:// for TLS)"
)


def parse_queue_url(text: str) -> QueueUrl:
    """``memory://``, or ``amqp://`` and ``amqps://`` with one or several brokers.

    User, password and virtual host are percent-encoded; no virtual host, or ``//`` at the end,
    means the one that is called ``/``.

    Raises:
        ValueError: anything else; its message has no password in it.
    """
    if text.rstrip("/") in ("memory:", "memory://localhost"):
        return QueueUrl(QueueScheme.MEMORY)
    shown = without_user(text)
    try:
        parts = urlsplit(text)
        scheme = QueueScheme(parts.scheme)
    except ValueError:
        raise ValueError(
            f"{shown!r} is no queue: {_RULE}. Other transports of kombu are not supported: its "
            "filesystem, SQLite and etcd transports lose the messages of a consumer that was "
            "killed (measured), and nothing shows that the rest do not"
        ) from None
    if scheme is QueueScheme.MEMORY:
        raise ValueError(f"{shown!r} names more than memory:// can use: {_RULE}")
    if parts.query or parts.fragment:
        raise ValueError(f"{shown!r} has a query or a fragment: {_RULE}")
    if "@" in parts.path and "@" not in parts.netloc:
        raise ValueError(f"{shown!r} has a / before its @: write %2F in user and password")
    return _broker(parts, scheme)


def _broker(parts: SplitResult, scheme: QueueScheme) -> QueueUrl:
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return QueueUrl(
        scheme,
        brokers=tuple(_address(host, PORTS[scheme]) for host in hosts.split(",")),
        user=unquote(user) if login else "guest",
        password=unquote(password) if login else "guest",
        virtual_host=unquote(parts.path.removeprefix("/")) or "/",
    )


def _address(text: str, port: int) -> Address:
    """``host`` or ``host:port``."""
    has_port = text.rpartition("]")[2].find(":") >= 0
    address = parse_address(text if has_port else f"{text}:{port}", port)
    if not address.port:
        raise ValueError(f"{text!r} has port 0, where nobody listens: {_RULE}")
    return address
