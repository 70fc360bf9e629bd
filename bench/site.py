"""A whole site on one machine: etcd, RabbitMQ, and as many fronts and workers as one likes.

The engines are Debian's, started as the tests start them: on loopback, with ports and directories
of their own. Their files lie in memory or on a disk, as the directory does that is given.
"""

from __future__ import annotations

import contextlib
import sys
import time
import urllib.request
from pathlib import Path

from bench.processes import START_SECONDS, Service, Services, free_port
from dedupd import seal
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.origin import Origin
from tests.engines.rabbitmq import RabbitMQ
from tests.integration.etcd_server import EtcdServer

DEDUPD = str(Path(sys.executable).with_name("dedupd"))

PREFIX = "/dedupd/v1/"
REGION = "RegionOne"
CONFIG = """
[DEFAULT]
region_name = {region}
[auth]
strategy = noauth
[store]
url = etcd://{etcd}
prefix = {prefix}
[queue]
url = {broker}
max_depth = 100000
project_share = 1
[seal]
key_file = {keys}
[nova]
endpoint = {nova}
"""


class Site:
    """What runs; it ends with the services that it is given.

    Args:
        services: Where the processes belong.
        directory: Where the engines' data and the configuration lie; new.
        nova: The endpoint behind it.
        fronts, workers: How many of each.
    """

    def __init__(
        self, services: Services, directory: Path, nova: str, *, fronts: int = 1, workers: int = 1
    ) -> None:
        directory.mkdir()
        self._services = services
        self.directory = directory
        self.etcd = EtcdServer(directory / "etcd")
        services.enter_context(self.etcd)
        (directory / "rabbitmq").mkdir()
        self.broker = services.enter_context(RabbitMQ(directory / "rabbitmq"))
        self._config = directory / "dedupd.conf"
        keys = self._keys = directory / "seal.keys"
        seal.create(keys)
        text = CONFIG.format(
            region=REGION,
            prefix=PREFIX,
            etcd=",".join(self.etcd.endpoints),
            broker=self.broker.url,
            keys=keys,
            nova=nova,
        )
        self._config.write_text(text)
        self.workers = [self._start("worker", number) for number in range(workers)]
        self.fronts = [self._start("api", number) for number in range(fronts)]

    @property
    def urls(self) -> list[str]:
        """The fronts'."""
        return [front.url for front in self.fronts]

    @property
    def processes(self) -> dict[int, str]:
        """What each process is."""
        return {
            **dict.fromkeys((front.pid for front in self.fronts), "front"),
            **dict.fromkeys((worker.pid for worker in self.workers), "worker"),
            self.etcd.members[0].pid: "etcd",
            self.broker.pid: "RabbitMQ",
        }

    def store(self) -> EtcdStore:
        """The store of its fronts and workers, for another process."""
        origin = Origin(seal.load(self._keys).check, REGION)
        return EtcdStore(Cluster(self.etcd.endpoints), prefix=PREFIX, origin=origin)

    def add(self, kind: str) -> None:
        """One more front (``api``) or ``worker``."""
        running = self.fronts if kind == "api" else self.workers
        running.append(self._start(kind, len(running)))

    def kill_worker(self) -> None:
        """kill -9 of the first worker."""
        self.workers[0].process.kill()
        self.workers[0].process.wait()

    def start_worker(self) -> None:
        """Another one in its place."""
        self.workers[0] = self._start("worker", len(self.workers))

    def _start(self, kind: str, number: int) -> Service:
        port = free_port()
        listen = "[api]\nlisten" if kind == "api" else "[worker]\nhealth_listen"
        config = self.directory / f"{kind}-{number}.conf"
        config.write_text(f"{listen} = 127.0.0.1:{port}\n")
        command = [DEDUPD, f"--config-file={self._config}", f"--config-file={config}", kind]
        name = f"{self.directory.name}-{kind}-{number}"
        service = self._services.listening(name, port, *command)
        until_ready(service)
        return service


def until_ready(service: Service) -> None:
    """Returns when a dedupd says that it can do its work."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{service.url}/healthz/ready", timeout=5) as answer,  # noqa: S310
        ):
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{service.name} is not ready")
