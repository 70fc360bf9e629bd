"""Two fronts and two workers on etcd and RabbitMQ: one effect, whoever is asked or dies."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.integration.simulated import Simulated
from tests.integration.site import Engines, Service, Site, wait_until
from tests.integration.standalone import DEDUPD
from tests.nova.call import Answer

TOKENS = 60
TRIES = 200
CALLERS = 24


@dataclass(frozen=True)
class Scene:
    """A site, and the Nova behind it."""

    site: Site
    nova: Simulated

    def body(self, name: str) -> dict[str, dict[str, str]]:
        """What asks for a server of this name."""
        return {
            "server": {"name": name, "imageRef": self.nova.image, "flavorRef": self.nova.flavor}
        }

    def order(self, number: int) -> Answer:
        """POST with one token, on one front after the other, until it is answered for good."""
        body = self.body(f"order-{number}")
        fronts = self.site.fronts
        for turn in range(TRIES):
            answer = fronts[(number + turn) % len(fronts)].call(
                "POST", "/v2.1/servers", body, token="demo:demo", client_token=f"order-{number}"
            )
            if answer.status == 202:
                return answer
            assert answer.status in (409, 503, 504), answer
        raise AssertionError(f"order-{number} was not answered in {TRIES} tries")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with Engines(tmp_path_factory.mktemp("engines")) as started:
        yield started


@pytest.fixture
def scene(tmp_path: Path, engines: Engines) -> Iterator[Scene]:
    with Simulated(7) as nova, Site(tmp_path, engines, nova.url) as site:
        yield Scene(site, nova)


@pytest.mark.timeout(300)
def test_a_killed_worker_costs_nothing_and_doubles_nothing(scene: Scene) -> None:
    site = scene.site
    site.start(fronts=2, workers=2)
    lost = {"method": "POST", "path": "/servers$", "probability": 0.2, "times": 10**9}
    scene.nova.faults([lost | {"fault": "drop-after", "seed": 1}])
    with ThreadPoolExecutor(CALLERS) as callers:
        first = [callers.submit(scene.order, number) for number in range(TOKENS)]
        again = [callers.submit(scene.order, number) for number in range(TOKENS)]
        first[TOKENS // 4].result()
        site.workers[0].restart()
        answers = [(one.result(), other.result()) for one, other in zip(first, again, strict=True)]
    assert all(one.body == other.body for one, other in answers)
    made = [name for effect in scene.nova.ledger() for name in effect["names"]]
    assert sorted(made) == sorted(f"order-{number}" for number in range(TOKENS))


@pytest.mark.timeout(300)
def test_a_project_that_nova_throttles_keeps_no_other_waiting(scene: Scene) -> None:
    """It has far more requests than the workers hold messages; they go on when Nova takes them."""
    site, nova, few = scene.site, scene.nova, {"nova.max_in_flight": "2"}
    workers = [site.add("worker", few) for _ in range(2)]
    for service in (front := site.add("api"), *workers):
        service.start()
    project = "b" * 32
    path = f"/v2.1/{project}/servers"
    nova.faults([{"fault": "429-before", "method": "POST", "path": path, "times": 10**9}])

    def noisy(number: int, prefer: str) -> Answer:
        return front.call(
            "POST",
            path,
            scene.body(f"noisy-{number}"),
            token=f"demo:{project}",
            client_token=f"noisy-{number}",
            headers={"Prefer": prefer},
        )

    for number in range(TOKENS):
        assert noisy(number, "respond-async").status == 202
    wait_until(lambda: sum(worker.metric("dedupd_put_off_requests") for worker in workers))
    assert scene.order(1).status == 202
    assert len(nova.ledger()) == 1
    nova.faults([])
    for number in range(TOKENS):
        assert noisy(number, "wait=50").json["server"]["id"]
    made = [name for effect in nova.ledger() for name in effect["names"]]
    assert sorted(made[1:]) == sorted(f"noisy-{number}" for number in range(TOKENS))


@pytest.mark.timeout(180)
def test_a_front_of_several_processes_replaces_one_that_dies(scene: Scene) -> None:
    front = scene.site.add("api", {"api.workers": "2"})
    front.start()
    scene.site.start(fronts=0, workers=1)
    before = processes_of(front)
    assert len(before) == 2
    killed = before.pop()
    psutil.Process(killed).kill()
    wait_until(lambda: killed not in processes_of(front) and len(processes_of(front)) == 2)
    front.wait_until_ready()
    assert scene.order(1).body == scene.order(1).body
    assert front.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in before)


def processes_of(front: Service) -> set[int]:
    """The ids of those that serve, or have ended and are not replaced yet."""
    return {child.pid for child in psutil.Process(front.pid).children()}


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
