"""RabbitMQ at one or several addresses."""

from __future__ import annotations

import random
import ssl
from collections import deque
from functools import partial
from typing import Any

from dedupd.conf.queue import QueueSettings
from dedupd.conf.queue_url import QueueScheme
from dedupd.conf.values import Address
from dedupd.errors import ConfigError, DedupdError
from dedupd.ports import QueueUnavailable
from dedupd.queue.amqp import AmqpBroker, dead_letters
from dedupd.queue.broker import make_connection
from dedupd.queue.mute import BEAT_SECONDS, check_lock, delete_mute
from dedupd.queue.policies import CONNECT_SECONDS


class Cluster:
    """Connects to whichever broker can be reached, beginning with the one that it had last.

    The first is chosen by lot, so that many processes spread over all.
    """

    def __init__(self, settings: QueueSettings) -> None:
        brokers = settings.url.brokers
        self._settings = settings
        self._brokers = deque(random.sample(brokers, len(brokers)))

    def connect(self) -> AmqpBroker:
        """A connection to the first that takes it.

        Raises:
            QueueUnavailable: none does.
            ConfigError: none does, and one of them will not do so by itself.
        """
        failures: list[DedupdError] = []
        for _ in range(len(self._brokers)):
            try:
                return self._connect_to(self._brokers[0])
            except (QueueUnavailable, ConfigError) as error:
                failures.append(error)
                self._brokers.rotate(-1)
        refused = any(isinstance(error, ConfigError) for error in failures)
        raise _together(ConfigError if refused else QueueUnavailable, failures)

    def heal(self) -> None:
        """Delete what is mute of the queue and its queue of dead letters; see ``mute``."""
        broker, name = self._brokers[0], self._settings.name
        names = (dead_letters(name), name)
        delete_mute(partial(self._look_at, broker), str(broker), self._lock, names)

    def check_heal(self) -> None:
        """Make sure that the first broker which can be reached permits ``heal``; blocks.

        Raises:
            QueueUnavailable: none can be.
            ConfigError: it does not permit it.
        """
        failures: list[DedupdError] = []
        for broker in self._brokers:
            try:
                return check_lock(partial(self._look_at, broker), str(broker), self._lock)
            except QueueUnavailable as error:
                failures.append(error)
        raise _together(QueueUnavailable, failures)

    @property
    def _lock(self) -> str:
        return f"{self._settings.name}.healer"

    def _look_at(self, broker: Address, seconds: float) -> Any:
        """A connection that waits so many seconds for each answer."""
        timeouts = {"read_timeout": seconds, "write_timeout": seconds}
        login = self._login(broker) | {"transport_options": timeouts}
        return make_connection(broker.host, port=broker.port, heartbeat=BEAT_SECONDS, **login)

    def _connect_to(self, broker: Address) -> AmqpBroker:
        settings, login = self._settings, self._login(broker)
        return AmqpBroker(broker.host, broker.port, settings.name, settings.delivery_limit, login)

    def _login(self, broker: Address) -> dict[str, Any]:
        url = self._settings.url
        login = {
            "userid": url.user,
            "password": url.password,
            "virtual_host": url.virtual_host,
            "connect_timeout": CONNECT_SECONDS / len(self._brokers),
        }
        if url.scheme is QueueScheme.AMQPS:
            login["ssl"] = self._tls(broker)
        return login

    def _tls(self, broker: Address) -> dict[str, Any]:
        """What py-amqp is told of TLS; the certificate must name the host."""
        settings = self._settings
        files = {
            "ca_certs": settings.cafile,
            "certfile": settings.certfile,
            "keyfile": settings.keyfile,
        }
        given = {name: str(path) for name, path in files.items() if path is not None}
        return {"server_hostname": broker.host, "cert_reqs": ssl.CERT_REQUIRED} | given


def _together(kind: type[DedupdError], failures: list[DedupdError]) -> DedupdError:
    """One error for those of several brokers; to callers, who hear no addresses, most are one."""
    messages = dict.fromkeys(error.message for error in failures)
    return kind(" ".join(messages), operators=" ".join(map(str, failures)))
