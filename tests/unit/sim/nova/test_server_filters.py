"""What each filter lets through."""

import pytest

from tests.unit.sim.client import ADMIN, MEMBER, STRANGER, Client

SINCE = "changes-since=2020-01-01T00:00:00"


@pytest.fixture
def client() -> Client:
    client = Client()
    client.create("plain")
    client.create("networked", networks="auto")
    stopped = client.create("stopped")
    client.ask("POST", f"/servers/{stopped}/action", {"os-stop": None})
    gone = client.create("gone")
    client.ask("DELETE", f"/servers/{gone}")
    client.create("foreign", token=STRANGER)
    client.wait(10)
    return client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"plain", "networked", "stopped"}),
        ("status=ACTIVE", {"plain", "networked"}),
        ("status=shutoff", {"stopped"}),
        ("status=ERROR", set()),
        ("ip=192", {"networked"}),
        ("flavor=1&image=none", set()),
        ("flavor=2", set()),
        ("launch_index=7", {"plain", "networked", "stopped"}),
        ("created_at=^2027-01-15 08:00:00", {"plain"}),
        ("task_state=none", set()),
        ("all_tenants=0", {"plain", "networked", "stopped"}),
        (f"{SINCE}Z", {"plain", "networked", "stopped", "gone"}),
        (SINCE, {"plain", "networked", "stopped", "gone"}),
        ("changes-since=2027-01-15T08:00:02Z", {"stopped", "gone"}),
        ("changes-before=2027-01-15T08:00:01Z", {"plain"}),
    ],
)
def test_a_member_s_filters(client: Client, query: str, expected: set[str]) -> None:
    assert set(client.names(query)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("all_tenants=1", {"plain", "networked", "stopped", "foreign"}),
        ("all_tenants=1&project_id=green", {"foreign"}),
        ("all_tenants=1&tenant_id=green", {"foreign"}),
        ("all_tenants=1&name=^foreign$", {"foreign"}),
        ("tenant_id=green", {"plain", "networked", "stopped"}),
        ("project_id=green", {"plain", "networked", "stopped"}),
        ("status=DELETED", {"gone"}),
        ("deleted=yes", {"gone"}),
        (f"{SINCE}Z&deleted=yes", {"gone"}),
        ("host=compute1", {"plain", "networked", "stopped"}),
        ("launch_index=7", set()),
        ("user_id=someone", {"plain", "networked", "stopped"}),
    ],
)
def test_an_administrator_s_filters(client: Client, query: str, expected: set[str]) -> None:
    assert set(client.names(query, token=ADMIN)) == expected


def test_what_only_administrators_may_ask(client: Client) -> None:
    told = client.message("GET", "/servers?all_tenants=1")
    assert told[1].startswith("Policy doesn't allow os_compute_api:servers:index:get_all_tenants")
    told = client.message("GET", "/servers/detail?all_tenants=1")
    assert told[1].startswith("Policy doesn't allow os_compute_api:servers:detail:get_all_tenants")
    told = client.message("GET", "/servers?status=deleted")
    assert told == (403, "Only administrators may list deleted instances")


def test_a_status_that_is_none(client: Client) -> None:
    assert client.names("status=weird", version="2.37") == []
    assert client.message("GET", "/servers?status=weird", version="2.38")[0] == 400


def test_a_look_up_by_tag_or_name_stays_within_the_project(client: Client) -> None:
    client.create("mine", tags=["mark"])
    client.create("mine", tags=["mark"], token=STRANGER)
    for query in ("tags=mark", "name=^mine$", "name=mine"):
        for token in (MEMBER, STRANGER):
            assert client.names(query, token=token) == ["mine"]
        assert client.names(f"{query}&all_tenants=1", token=ADMIN) == ["mine", "mine"]
