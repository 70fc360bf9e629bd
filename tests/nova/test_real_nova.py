"""The launcher of the real Nova does what the tests that build on it take for granted."""

import http.client
import time
import uuid

import psutil
import pytest

from tests.nova import program
from tests.nova.call import Answer
from tests.nova.cloud import DEMO, SETTLE_SECONDS, Fault, Options, RealNova
from tests.nova.conftest import StartNova

SERVERS = "/v2.1/servers"


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def create(nova: RealNova, name: str, microversion: str | None = None, **more: object) -> Answer:
    return nova.call("POST", SERVERS, nova.server_body(name, **more), microversion=microversion)


def names(nova: RealNova, prefix: str) -> list[str]:
    return sorted(row["name"] for row in nova.servers(name=f"^{prefix}"))


def test_says_its_versions(real_nova: RealNova) -> None:
    versions = real_nova.call("GET", "/").json["versions"]
    newest = next(row for row in versions if row["id"] == "v2.1")
    assert newest["status"] == "CURRENT"
    assert tuple(map(int, newest["version"].split("."))) >= (2, 100)


def test_a_server_is_found_by_its_tag_and_becomes_active(real_nova: RealNova) -> None:
    tag = unique("tag")
    answer = create(real_nova, unique("tagged"), "2.52", tags=[tag])
    assert answer.status == 202
    created = answer.json["server"]
    assert [row["id"] for row in real_nova.servers(DEMO, tags=tag)] == [created["id"]]
    assert answer.header("Location") == created["links"][0]["href"]
    assert real_nova.wait_for_server(created["id"])["tags"] == [tag]


def test_a_deleted_server_is_listed_when_asked_for(real_nova: RealNova) -> None:
    name = unique("deleted")
    identifier = create(real_nova, name).json["server"]["id"]
    real_nova.wait_for_server(identifier)
    real_nova.delete_server(identifier)
    assert real_nova.servers(name=name) == []
    rows = real_nova.servers(name=name, deleted=True)
    assert [(row["id"], row["status"]) for row in rows] == [(identifier, "DELETED")]


def test_a_dropped_answer_is_lost_and_the_server_is_there(real_nova: RealNova) -> None:
    name = unique("dropped")
    real_nova.faults(Fault("drop-after", path="/servers$"))
    with pytest.raises(http.client.RemoteDisconnected):
        create(real_nova, name)
    assert names(real_nova, name) == [name]
    assert real_nova.seen("POST") == [("POST", SERVERS)]
    assert create(real_nova, f"{name}-next").status == 202, "the rule was for one request"


def test_a_dropped_request_is_not_carried_out(real_nova: RealNova) -> None:
    name = unique("dropped")
    real_nova.faults(Fault("drop-before", path="/servers$"))
    with pytest.raises(http.client.RemoteDisconnected):
        create(real_nova, name)
    assert names(real_nova, name) == []


@pytest.mark.parametrize(
    ("fault", "status", "carried_out"),
    [("503-after", 503, True), ("500-after", 500, True), ("503-before", 503, False)],
)
def test_an_error_in_place_of_the_answer(
    real_nova: RealNova, fault: str, status: int, carried_out: bool
) -> None:
    name = unique("error")
    real_nova.faults(Fault(fault, path="/servers$"))
    assert create(real_nova, name).status == status
    assert names(real_nova, name) == ([name] if carried_out else [])


@pytest.mark.parametrize("fault", ["delay-before", "delay-after"])
def test_a_delayed_answer(real_nova: RealNova, fault: str) -> None:
    name = unique("delayed")
    real_nova.faults(Fault(fault, path="/servers$", seconds=0.5))
    before = time.monotonic()
    assert create(real_nova, name).status == 202
    assert time.monotonic() - before >= 0.5
    assert names(real_nova, name) == [name]


def test_a_fault_hits_as_many_requests_as_it_says(real_nova: RealNova) -> None:
    real_nova.faults(Fault("418-before", method="GET", path="/flavors$", times=2))
    statuses = [real_nova.call("GET", "/v2.1/flavors").status for _ in range(3)]
    assert statuses == [418, 418, 200]


def test_a_late_commit_takes_effect_after_its_answer(real_nova: RealNova) -> None:
    name = unique("late")
    real_nova.faults(Fault("late-commit", path="/servers$", status=500, seconds=0.5))
    assert create(real_nova, name).status == 500
    assert names(real_nova, name) == []
    deadline = time.monotonic() + SETTLE_SECONDS
    while names(real_nova, name) != [name]:
        assert time.monotonic() < deadline


def test_a_late_commit_may_have_no_answer(real_nova: RealNova) -> None:
    real_nova.faults(Fault("late-commit", method="GET", path="/flavors$", status=0, seconds=0))
    with pytest.raises(http.client.RemoteDisconnected):
        real_nova.call("GET", "/v2.1/flavors")


def test_the_seed_decides_whom_a_fault_spares(real_nova: RealNova) -> None:
    fault = Fault("418-before", method="GET", path="/flavors$", times=99, probability=0.5, seed=1)

    def statuses() -> list[int]:
        real_nova.faults(fault)
        return [real_nova.call("GET", "/v2.1/flavors").status for _ in range(8)]

    first = statuses()
    assert set(first) == {200, 418}
    assert statuses() == first


@pytest.mark.parametrize("rule", [{"fault": "drop"}, {"fault": "503-after", "tims": 2}, {}])
def test_a_wrong_rule_is_refused(real_nova: RealNova, rule: dict[str, object]) -> None:
    assert real_nova.call("PUT", "/__fault__", [rule]).status == 400


def test_keypairs_of_a_user(real_nova: RealNova) -> None:
    user = unique("user")
    body = {"keypair": {"name": "mine"}}
    assert real_nova.call("POST", "/v2.1/os-keypairs", body, token=user).status == 200
    assert [row["name"] for row in real_nova.keypairs(user)] == ["mine"]
    real_nova.delete_keypairs(user)
    assert real_nova.keypairs(user) == []


def test_options(start_nova: StartNova) -> None:
    """Quota, a held cast, a line of nova.conf (pages of one row; all are listed); a clean stop."""
    options = Options(quota=2, hold_cast=0.5, threads=4, settings={"api.max_limit": "1"})
    nova = start_nova(options)
    name = unique("limited")
    before = time.monotonic()
    first = create(nova, f"{name}-1")
    assert time.monotonic() - before >= 0.5, "the 202 waited for the cast"
    second = create(nova, f"{name}-2")
    for answer in (first, second):
        nova.wait_for_server(answer.json["server"]["id"])
    refused = create(nova, f"{name}-3")
    assert refused.status == 403
    assert "Quota exceeded for instances" in refused.json["forbidden"]["message"]
    assert names(nova, name) == [f"{name}-1", f"{name}-2"]
    check_that_a_stop_leaves_nothing(nova)


def check_that_a_stop_leaves_nothing(nova: RealNova) -> None:
    directory = nova._program.directory
    assert all(psutil.pid_exists(pid) for pid in nova.pids)
    nova.stop()
    assert not any(psutil.pid_exists(pid) for pid in nova.pids)
    assert not directory.exists()
    assert nova._program not in program.RUNNING


def test_placement_ends_with_a_killed_nova() -> None:
    with RealNova() as nova:
        placement = psutil.Process(nova.pids[1])
        psutil.Process(nova.pids[0]).kill()
        placement.wait(timeout=10)


def test_a_missing_environment_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUPD_NOVA_VENV", "/nonexistent")
    with pytest.raises(program.NotBuilt, match="tests/nova/real/setup"):
        RealNova()
