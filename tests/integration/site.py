"""Fronts and workers as services on real engines: started, killed, paused, and started again."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dedupd import seal, token
from dedupd.store.etcd import EtcdStore
from dedupd.store.etcd_cluster import Cluster
from dedupd.store.origin import Origin
from tests.engines.rabbitmq import RabbitMQ
from tests.integration.etcd_server import EtcdServer
from tests.integration.standalone import Standalone

PATIENCE = 60.0
"""How long a condition may take to come about, on a machine that is busy with other tests."""

REGION = "RegionOne"
"""Unless a configuration says another one."""

_POLL_SECONDS = 0.05
_LISTENS = {"api": "api.listen", "worker": "worker.health_listen"}


def wait_until(is_so: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return as soon as it is so.

    Raises:
        AssertionError: it did not come about in time.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(_POLL_SECONDS)


class Service(Standalone):
    """`dedupd api` or `dedupd worker` as a child process.

    Args:
        kind: ``api`` or ``worker``.
        directory: Made here; where its configuration and its log are.
        nova: The endpoint behind it.
        settings: What differs from QUICK.
        measured: Whether its coverage counts, if any is taken.
    """

    def __init__(
        self, kind: str, directory: Path, nova: str, settings: Mapping[str, str], *, measured: bool
    ) -> None:
        """Write its configuration; nothing is started."""
        directory.mkdir()
        self._kind = kind
        super().__init__(directory, nova, settings, measured=measured)

    def metric(self, name: str) -> float:
        """The present sum of one of its metrics over all labels; 0 where there is none yet."""
        text = self.call("GET", "/metrics").body.decode()
        values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))

    def _arguments(self) -> list[str]:
        return [self._kind]

    def _own_settings(self) -> dict[str, str]:
        return {_LISTENS[self._kind]: self.address}


class Engines:
    """One etcd of so many members, and one RabbitMQ: for a test, or for several after another.

    What a test finds on them is its own, since each ``Site`` has its own prefix and queue.
    """

    def __init__(self, directory: Path, members: int = 1) -> None:
        """Prepare them; nothing is started."""
        (directory / "rabbitmq").mkdir(parents=True)
        self.etcd = EtcdServer(directory / "etcd", members)
        self.rabbitmq = RabbitMQ(directory / "rabbitmq")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.etcd)
            stack.enter_context(self.rabbitmq)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def restore(self) -> None:
        """Whatever was killed or paused serves again when this returns."""
        self.etcd.restore()
        self.rabbitmq.restore()


class Site:
    """One installation of dedupd on engines: its keys, its fronts and its workers.

    Args:
        directory: Where all of its files are.
        engines: What it runs on; they run already, and go on to run.
        nova: The endpoint behind it.
        settings: What differs from QUICK, for all: {"nova.settle_seconds": "1"}.
        measured: Whether the services' coverage counts; what is killed writes none.
    """

    def __init__(
        self,
        directory: Path,
        engines: Engines,
        nova: str,
        settings: Mapping[str, str] | None = None,
        *,
        measured: bool = True,
    ) -> None:
        """Make its keys; nothing is started."""
        self.engines = engines
        self.fronts: list[Service] = []
        self.workers: list[Service] = []
        self._directory, self._nova, self._measured = directory, nova, measured
        self._stack = ExitStack()
        self._prefix = f"/{secrets.token_hex(4)}/v1/"
        self.queue = f"dedupd-{secrets.token_hex(4)}"
        self._key_file = directory / "seal.keys"
        seal.create(self._key_file)
        self._settings = {
            "store.url": f"etcd://{','.join(engines.etcd.endpoints)}",
            "store.prefix": self._prefix,
            "queue.url": engines.rabbitmq.url,
            "queue.name": self.queue,
            "seal.key_file": str(self._key_file),
            **(settings or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """End all of it; what went wrong before stays in sight beside what goes wrong now."""
        self._stack.__exit__(kind, error, trace)

    @property
    def services(self) -> list[Service]:
        """All of them."""
        return [*self.fronts, *self.workers]

    @property
    def urls(self) -> list[str]:
        """The fronts'."""
        return [front.url for front in self.fronts]

    def start(self, fronts: int = 2, workers: int = 2) -> None:
        """Start so many more of each, and wait until they are ready."""
        kinds = ["api"] * fronts + ["worker"] * workers
        for service in (added := [self.add(kind) for kind in kinds]):
            service.launch()
        for service in added:
            service.wait_until_ready()

    def add(self, kind: str, settings: Mapping[str, str] | None = None) -> Service:
        """One more front (``api``) or ``worker``, to be started; it ends with the site."""
        family = {"api": self.fronts, "worker": self.workers}[kind]
        service = Service(
            kind,
            self._directory / f"{kind}{len(family)}",
            self._nova,
            {**self._settings, **(settings or {})},
            measured=self._measured,
        )
        family.append(service)
        self._stack.push(service)
        return service

    def restore(self) -> None:
        """Whatever of it was killed or paused runs again, and is ready, when this returns."""
        for service in self.services:
            if service.running:
                service.resume()
            else:
                service.launch()
        for service in self.services:
            service.wait_until_ready()

    def identify(self, client_token: str, project_id: str) -> str:
        """The id of a project's request."""
        return token.identify(seal.load(self._key_file).identity, REGION, project_id, client_token)

    def store(self) -> EtcdStore:
        """Its records, to be opened and read by a test."""
        return EtcdStore(
            Cluster(self.engines.etcd.endpoints),
            prefix=self._prefix,
            origin=Origin(seal.load(self._key_file).check, REGION),
            create=False,
        )
