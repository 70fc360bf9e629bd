"""What an operator does to fronts and workers: started early, stopped late, asked how they are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.engines.ports import is_free
from tests.integration.simulated import Simulated
from tests.integration.site import Engines, Service, Site, wait_until
from tests.integration.standalone import DEDUPD
from tests.nova.call import Answer, call

SERVERS = "/v2.1/servers"
USER = {"X-Auth-Token": "demo:demo"}
STOP = {"worker.stop_seconds": "2"}


@dataclass(frozen=True)
class Scene:
    """A site, the Nova behind it, and callers that wait in the background."""

    site: Site
    nova: Simulated
    callers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def post(self, front: Service, name: str, *, tagged: bool = True) -> Answer:
        """A POST /servers; its name is its client token too."""
        server = {"name": name, "imageRef": self.nova.image, "flavorRef": self.nova.flavor}
        return front.call(
            "POST",
            SERVERS,
            {"server": server},
            token="demo:demo",
            client_token=name if tagged else None,
        )

    def begin(self, front: Service, name: str, *, tagged: bool = True) -> Future[Answer]:
        """The same, not waited for."""
        return self.callers.submit(self.post, front, name, tagged=tagged)

    def made(self, name: str) -> int:
        """How often Nova made a server of this name."""
        return sum(effect["names"].count(name) for effect in self.nova.ledger())

    def slow(self, seconds: float) -> None:
        """Let Nova take so long for each POST from now on."""
        delay = {"method": "POST", "path": "/servers$", "fault": "delay-after", "times": 1000}
        self.nova.faults([{**delay, "seconds": seconds}])

    def posts_seen(self) -> int:
        """How many POSTs have reached Nova since its faults were set."""
        seen = call("GET", f"{self.nova.url}/__fault__").json["seen"]
        return sum(method == "POST" for method, *_ in seen)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with Engines(tmp_path_factory.mktemp("engines")) as started:
        yield started


@pytest.fixture
def scene(tmp_path: Path, engines: Engines) -> Iterator[Scene]:
    with Simulated(3) as nova, Site(tmp_path, engines, nova.url, STOP) as site:
        yield Scene(site, nova)


def readiness(service: Service) -> tuple[int, dict[str, str]]:
    answer = service.call("GET", "/healthz/ready")
    return answer.status, answer.json["checks"]


def names_etcd(service: Service) -> bool:
    """Whether it says what it waits for, to anybody; where that is, it does not."""
    return readiness(service)[1]["store"] == "The etcd cluster does not answer."


def wait_until_listening(service: Service) -> None:
    port = int(service.address.rpartition(":")[2])
    wait_until(lambda: not is_free(port))
    assert service.call("GET", "/healthz/live").status == 200


@pytest.mark.timeout(240)
def test_engines_may_come_later(scene: Scene, engines: Engines) -> None:
    """Meanwhile a front passes on what has no token, and refuses what has one."""
    engines.etcd.stop()
    engines.rabbitmq.stop()
    front, worker = scene.site.add("api"), scene.site.add("worker")
    for service in (front, worker):
        service.launch()
        wait_until_listening(service)
        status, checks = readiness(service)
        assert status == 503
        assert all(checks[name] != "ok" for name in ("store", "queue"))
        wait_until(partial(names_etcd, service))
    assert scene.post(front, "plain", tagged=False).status == 202
    refused = scene.post(front, "early")
    assert (refused.status, refused.header("Idempotency-Status")) == (503, "released")
    assert "has not reached its store" in refused.json["serviceUnavailable"]["message"]
    engines.etcd.restart()
    engines.rabbitmq.start()
    for service in (front, worker):
        service.wait_until_ready()
    assert scene.post(front, "early").status == 202
    assert (scene.made("plain"), scene.made("early")) == (1, 1)


@pytest.mark.timeout(240)
def test_who_still_waits_for_engines_can_be_stopped(scene: Scene, engines: Engines) -> None:
    engines.rabbitmq.stop()
    front, worker = scene.site.add("api"), scene.site.add("worker")
    for service in (front, worker):
        service.launch()
        wait_until_listening(service)
        assert service.stop() == 0
    engines.rabbitmq.start()


@pytest.mark.timeout(240)
def test_of_a_queue_of_which_only_the_name_is_left_the_worker_says_so(scene: Scene) -> None:
    """A front could not know, and no other front would do better; the worker mends it."""
    scene.site.start(fronts=1, workers=0)
    [front], worker = scene.site.fronts, scene.site.add("worker")
    scene.site.engines.rabbitmq.mute(scene.site.queue)
    worker.launch()
    wait_until_listening(worker)
    assert readiness(worker)[0] == 503
    assert readiness(front)[0] == 200
    worker.wait_until_ready()
    assert "is there but serves nobody" in worker.log()
    assert scene.post(front, "after").status == 202


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_a_refused_password_ends_it_and_is_not_logged(kind: str, scene: Scene) -> None:
    url = scene.site.engines.rabbitmq.url
    service = scene.site.add(kind, {"queue.url": re.sub(":[^:@]+@", ":wr0ng@", url)})
    service.launch()
    assert service.wait() == 1
    assert "correct user and password in [queue] url" in service.log()
    assert "wr0ng" not in service.log()


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_whose_region_has_another_name_has_no_part_in_it(kind: str, scene: Scene) -> None:
    """It would take used tokens for new ones, and send one region's requests to another's Nova."""
    scene.site.start(fronts=1, workers=0)
    service = scene.site.add(kind, {"region_name": "regionOne"})
    service.launch()
    assert service.wait() == 1
    assert "the region RegionOne alone, and [DEFAULT] region_name is regionOne" in service.log()


def test_a_front_that_stops_tells_those_who_wait_that_their_requests_go_on(scene: Scene) -> None:
    front, other = scene.site.add("api"), scene.site.add("api")
    front.start()
    other.start()
    first = scene.begin(front, "held")
    wait_until(lambda: front.metric("dedupd_waiting_callers") == 1)
    repeat = scene.begin(front, "held")
    wait_until(lambda: front.metric("dedupd_waiting_callers") == 2)
    assert front.stop() == 0
    answers = [first.result(), repeat.result()]
    assert sorted(answer.status for answer in answers) == [409, 504]
    assert {answer.header("Idempotency-Status") for answer in answers} == {"in-progress"}
    assert all(answer.header("Retry-After") for answer in answers)
    assert "Traceback" not in front.log()
    scene.site.start(fronts=0, workers=1)
    assert scene.post(other, "held").status == 202
    assert scene.made("held") == 1


def test_a_front_that_stops_lets_end_what_ends_in_time(scene: Scene) -> None:
    scene.site.start(fronts=1, workers=1)
    [front] = scene.site.fronts
    scene.slow(1.0)
    answers = [scene.begin(front, "tagged"), scene.begin(front, "plain", tagged=False)]
    wait_until(lambda: scene.posts_seen() == 2)
    assert front.stop() == 0
    assert [answer.result().status for answer in answers] == [202, 202]


def test_what_is_passed_on_and_takes_too_long_is_told_that_nobody_knows(scene: Scene) -> None:
    scene.site.start(fronts=1, workers=0)
    [front] = scene.site.fronts
    scene.slow(30.0)
    answer = scene.begin(front, "plain", tagged=False)
    wait_until(lambda: scene.posts_seen() == 1)
    assert front.stop() == 0
    assert answer.result().status == 504
    message = answer.result().json["gatewayTimeout"]["message"]
    assert message.endswith("Whether the request was carried out is not known.")
    assert "Traceback" not in front.log()


def test_a_worker_that_stops_finishes_what_it_sent(scene: Scene) -> None:
    scene.site.start(fronts=1, workers=1)
    [front], [worker] = scene.site.fronts, scene.site.workers
    scene.slow(1.0)
    answers = [scene.begin(front, f"sent-{number}") for number in range(4)]
    wait_until(lambda: scene.posts_seen() == 4)
    assert worker.stop() == 0
    assert [answer.result().status for answer in answers] == [202] * 4
    assert [scene.made(f"sent-{number}") for number in range(4)] == [1] * 4


@pytest.mark.timeout(180)
def test_what_a_worker_cannot_finish_another_one_does(scene: Scene) -> None:
    """Its own end comes when it said it would, and while it stops it says that it is not ready."""
    scene.site.start(fronts=1, workers=1)
    [front], [worker] = scene.site.fronts, scene.site.workers
    scene.slow(5.0)
    answer = scene.begin(front, "cut")
    wait_until(lambda: scene.posts_seen() == 1)
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: readiness(worker)[1]["worker"] != "ok")
    assert worker.wait() == 0
    scene.site.start(fronts=0, workers=1)
    wait_until(answer.done)
    assert answer.result().status == 202
    assert scene.made("cut") == 1


def test_a_second_signal_cuts_it_short(scene: Scene) -> None:
    scene.site.start(fronts=1, workers=0)
    [front] = scene.site.fronts
    answer = scene.begin(front, "held")
    wait_until(lambda: front.metric("dedupd_waiting_callers") == 1)
    for _ in range(2):
        os.kill(front.pid, signal.SIGTERM)
        wait_until(lambda: "Shutting down" in front.log())
    assert front.wait() == -signal.SIGTERM
    assert isinstance(answer.exception(), OSError)


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_sighup_reads_the_logging_options_again(kind: str, scene: Scene) -> None:
    service = scene.site.add(kind)
    service.start()
    os.kill(service.pid, signal.SIGHUP)
    wait_until(lambda: "The configuration files were read again" in service.log())


class TestSeveralProcesses:
    """One front of two processes."""

    @pytest.fixture
    def front(self, scene: Scene) -> Service:
        front = scene.site.add("api", {"api.workers": "2"})
        front.start()
        wait_until(lambda: front.log().count("Ready") == 2)
        return front

    def test_whichever_is_asked_counts_for_all(self, scene: Scene, front: Service) -> None:
        """Also for one that died."""
        scene.site.start(fronts=0, workers=1)
        for number in range(10):
            assert scene.post(front, f"counted-{number}").status == 202
        assert {front.metric("dedupd_answers_total") for _ in range(10)} == {10}
        psutil.Process(front.pid).children()[0].kill()
        wait_until(lambda: front.log().count("Ready") == 3)
        assert {front.metric("dedupd_answers_total") for _ in range(10)} == {10}

    def test_sighup_is_for_all(self, front: Service) -> None:
        os.kill(front.pid, signal.SIGHUP)
        wait_until(lambda: front.log().count("The configuration files were read again") == 2)
        assert front.call("GET", "/healthz/ready").status == 200

    def test_when_the_first_is_killed_the_others_stop(self, front: Service) -> None:
        serving = psutil.Process(front.pid).children()
        assert len(serving) == 2
        front.kill()
        gone, _ = psutil.wait_procs(serving, timeout=60)
        assert len(gone) == 2

    def test_an_address_that_is_taken_is_said_once(
        self, scene: Scene, front: Service, tmp_path: Path
    ) -> None:
        configuration = (front.directory / "dedupd.conf").read_text()
        for taken in (configuration, configuration.replace("workers = 2", "workers = 1")):
            path = tmp_path / "taken.conf"
            path.write_text(taken)
            done = subprocess.run(
                [DEDUPD, f"--config-file={path}", "api"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 1
            assert "cannot be listened on: Address already in use" in done.stderr
