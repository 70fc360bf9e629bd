"""Two fronts and two workers on etcd and RabbitMQ: one effect, whoever is asked or dies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from dedupd import seal
from tests.engines import rabbitmq
from tests.integration.etcd_server import EtcdServer
from tests.integration.simulated import Simulated
from tests.integration.standalone import DEDUPD, Standalone
from tests.nova.call import Answer

TOKENS = 60
TRIES = 200
CALLERS = 24
SECONDS = 60.0


class Service(Standalone):
    """`dedupd api` or `dedupd worker` as a child process."""

    def __init__(self, kind: str, directory: Path, nova: str, settings: dict[str, str]) -> None:
        """Write its configuration; nothing is started."""
        directory.mkdir()
        super().__init__(directory, nova, settings, measured=True)
        self._kind = kind
        listen = {"api": "[api]\nlisten", "worker": "[worker]\nhealth_listen"}[kind]
        with self._configuration.open("a") as file:
            file.write(f"{listen} = {self.address}\n")

    def _arguments(self) -> list[str]:
        return [self._kind]


class Site:
    """What runs for one test: the engines, the simulated Nova, and two workers."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        """Start them."""
        self._directory, self._stack = directory, stack
        self.nova = stack.enter_context(Simulated(7))
        etcd = EtcdServer(directory / "etcd", 1)
        etcd.start()
        stack.callback(etcd.stop)
        (directory / "rabbitmq").mkdir()
        broker = stack.enter_context(rabbitmq.RabbitMQ(directory / "rabbitmq"))
        seal.create(directory / "seal.keys")
        self._settings = {
            "store.url": f"etcd://{','.join(etcd.endpoints)}",
            "queue.url": broker.url,
            "seal.key_file": str(directory / "seal.keys"),
        }
        self.workers = [self.start("worker", f"worker{number}") for number in range(2)]
        self.fronts: list[Service] = []

    def start(self, kind: str, name: str, **settings: str) -> Service:
        """Start a front or a worker; it ends with the test."""
        changed = self._settings | {key.replace("_", ".", 1): at for key, at in settings.items()}
        service = Service(kind, self._directory / name, self.nova.url, changed)
        return self._stack.enter_context(service)

    def order(self, number: int) -> Answer:
        """POST with one token, on one front after the other, until it is answered for good."""
        body = {
            "server": {
                "name": f"order-{number}",
                "imageRef": self.nova.image,
                "flavorRef": self.nova.flavor,
            }
        }
        for turn in range(TRIES):
            front = self.fronts[(number + turn) % len(self.fronts)]
            answer = front.call(
                "POST", "/v2.1/servers", body, token="demo:demo", client_token=f"order-{number}"
            )
            if answer.status == 202:
                return answer
            assert answer.status in (409, 503, 504), answer
        raise AssertionError(f"order-{number} was not answered in {TRIES} tries")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


@pytest.mark.timeout(300)
def test_a_killed_worker_costs_nothing_and_doubles_nothing(site: Site) -> None:
    site.fronts = [site.start("api", f"front{number}") for number in range(2)]
    lost = {"method": "POST", "path": "/servers$", "probability": 0.2, "times": 10**9}
    site.nova.faults([lost | {"fault": "drop-after", "seed": 1}])
    with ThreadPoolExecutor(CALLERS) as callers:
        first = [callers.submit(site.order, number) for number in range(TOKENS)]
        again = [callers.submit(site.order, number) for number in range(TOKENS)]
        first[TOKENS // 4].result()
        site.workers[0].restart()
        answers = [(one.result(), other.result()) for one, other in zip(first, again, strict=True)]
    assert all(one.body == other.body for one, other in answers)
    made = [name for effect in site.nova.ledger() for name in effect["names"]]
    assert sorted(made) == sorted(f"order-{number}" for number in range(TOKENS))


@pytest.mark.timeout(180)
def test_a_front_of_several_processes_replaces_one_that_dies(site: Site) -> None:
    front = site.start("api", "front", api_workers="2")
    site.fronts = [front]
    before = {child.pid for child in psutil.Process(front.pid).children()}
    assert len(before) == 2
    psutil.Process(before.pop()).kill()
    wait_until(lambda: len(psutil.Process(front.pid).children()) == 2)
    front.wait_until_ready()
    assert site.order(1).body == site.order(1).body
    assert front.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in before)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_a_store_of_one_process_is_refused(kind: str, tmp_path: Path) -> None:
    configuration = tmp_path / "dedupd.conf"
    configuration.write_text("[auth]\nstrategy = noauth\n[nova]\nendpoint = http://127.0.0.1:1\n")
    done = subprocess.run(
        [DEDUPD, f"--config-file={configuration}", kind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "[store] url names a store of one process" in done.stderr
