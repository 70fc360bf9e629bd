"""The simulated Nova as a process: faults on the wire, the ledger, its end."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dedupd.sim import SimulatedNova
from dedupd.sim.app import SimulatedNovaApp
from dedupd.sim.nova.world import IMAGE

SECONDS = 20.0
SERVER = {"name": "web", "flavorRef": "1", "networks": "none"}


class Process:
    """`python -m dedupd.sim`, and a caller of it that never sends twice."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "dedupd.sim", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.facts = json.loads(self.process.stdout.readline())

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=SECONDS)
        return self.process.returncode

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.facts["port"], timeout=SECONDS)
        headers = {"X-Auth-Token": "someone:blue", "OpenStack-API-Version": "compute 2.96"}
        try:
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def create(self) -> int:
        wish = SERVER | {"imageRef": self.facts["image"]}
        return self.ask("POST", "/v2.1/servers", {"server": wish})[0]

    def faults(self, *rules: object) -> None:
        assert self.ask("PUT", "/__fault__", rules)[0] == 200

    def ledger(self, query: str = "") -> Any:
        status, body = self.ask("GET", f"/__ledger__{query}")
        assert status == 200
        return json.loads(body)

    def effects(self) -> int:
        count: int = self.ledger()["count"]
        return count

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it has not come true"


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    started = Process("--seed=1")
    yield started
    assert started.stop() == 0


def test_ready_line(process: Process) -> None:
    assert process.facts["ready"] is True
    assert process.facts["pid"] == process.process.pid
    assert process.facts["compute_url"] == f"http://127.0.0.1:{process.facts['port']}/v2.1"


@pytest.mark.parametrize(("fault", "effects"), [("drop-before", 0), ("drop-after", 1)])
def test_a_drop_closes_without_a_byte(process: Process, fault: str, effects: int) -> None:
    before = process.effects()
    process.faults({"fault": fault, "path": "/servers$"})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        process.create()
    assert process.effects() == before + effects
    assert process.create() == 202


@pytest.mark.parametrize(("fault", "effects"), [("503-before", 0), ("500-after", 1)])
def test_an_injected_status(process: Process, fault: str, effects: int) -> None:
    before = process.effects()
    process.faults({"fault": fault, "path": "/servers$"})
    assert process.create() == int(fault[:3])
    assert process.effects() == before + effects


@pytest.mark.parametrize("fault", ["delay-before", "delay-after"])
def test_a_delay_keeps_the_answer(process: Process, fault: str) -> None:
    process.faults({"fault": fault, "path": "/servers$", "seconds": 0.3})
    began = time.monotonic()
    assert process.create() == 202
    assert time.monotonic() - began >= 0.3


def test_a_late_commit_answers_first(process: Process) -> None:
    before = process.effects()
    process.faults({"fault": "late-commit", "path": "/servers$", "seconds": 0.5})
    assert process.create() == 503
    assert process.effects() == before
    process.wait_for(lambda: process.effects() == before + 1)


def test_a_late_commit_may_answer_nothing(process: Process) -> None:
    before = process.effects()
    process.faults({"fault": "late-commit", "path": "/servers$", "seconds": 0, "status": 0})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        process.create()
    process.wait_for(lambda: process.effects() == before + 1)


def test_a_bad_rule_is_told(process: Process) -> None:
    status, body = process.ask("PUT", "/__fault__", [{"fault": "explode"}])
    assert status == 400
    assert "unknown fault" in json.loads(body)["error"]
    status, body = process.ask("GET", "/__fault__")
    assert status == 200
    assert set(json.loads(body)) == {"rules", "seen"}


def test_the_ledger_can_be_read_from_a_point_on(process: Process) -> None:
    process.faults()
    process.create()
    count = process.effects()
    process.create()
    ledger = process.ledger(f"?after={count}")
    assert ledger["count"] == count + 1
    (effect,) = ledger["effects"]
    assert (effect["kind"], effect["names"], effect["project"]) == ("server", ["web"], "blue")
    assert ledger["counters"]["POST servers 202"] >= count


async def test_a_body_in_many_pieces_is_one_body() -> None:
    nova = SimulatedNova()
    body = json.dumps({"server": SERVER | {"imageRef": IMAGE}}).encode()
    pieces = [{"body": body[:9], "more_body": True}, {"body": b"", "more_body": True}]
    pieces += [{"body": body[9:]}]
    headers = [(b"x-auth-token", b"someone"), (b"openstack-api-version", b"compute 2.96")]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/v2.1/servers",
        "headers": headers,
    }
    scope |= {"raw_path": b"/v2.1/servers", "query_string": b"ignored=1"}
    sent: list[Any] = []

    async def receive() -> Any:
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await SimulatedNovaApp(nova)(scope, receive, send)
    assert sent[0]["status"] == 202
    assert len(nova.ledger) == 1
