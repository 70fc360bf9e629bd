"""A server's life: BUILD, ACTIVE, renamed, deleted."""

import pytest

from tests.unit.sim.client import ADMIN, READER, STRANGER, Client


def test_a_server_is_active_after_the_build_time(client: Client) -> None:
    identity = client.post_server().json()["server"]["id"]
    row = client.server(identity, token=ADMIN)
    assert (row["status"], row["OS-EXT-STS:task_state"]) == ("BUILD", "scheduling")
    assert row["OS-EXT-SRV-ATTR:host"] is None
    client.wait(0.2)
    row = client.server(identity, token=ADMIN)
    assert (row["status"], row["OS-EXT-STS:task_state"]) == ("BUILD", "spawning")
    assert row["OS-EXT-SRV-ATTR:host"] == "compute1"
    client.wait(0.3)
    row = client.server(identity)
    assert (row["status"], row["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert row["OS-SRV-USG:launched_at"] == "2027-01-15T08:00:00.500000"


def test_it_is_listed_before_it_is_built(client: Client) -> None:
    client.post_server("web", tags=["mark"])
    assert client.names("tags=mark") == ["web"]
    assert client.names("status=BUILD") == ["web"]


def test_a_deleted_server_keeps_its_row_but_not_its_tags(client: Client) -> None:
    identity = client.create("web", tags=["mark"], metadata={"k": "v"})
    assert client.ask("DELETE", f"/servers/{identity}").status == 204
    assert client.ask("GET", f"/servers/{identity}").status == 404
    assert client.names("name=web") == []
    since = "changes-since=2020-01-01T00:00:00Z"
    (row,) = client.get(f"/servers/detail?{since}&name=^web$")["servers"]
    assert (row["status"], row["tags"], row["metadata"]) == ("DELETED", [], {"k": "v"})
    assert client.names(f"{since}&tags=mark") == []
    assert [effect.method for effect in client.effects] == ["POST", "DELETE"]


def test_deleted_before_it_is_scheduled_it_leaves_no_trace(client: Client) -> None:
    identity = client.post_server("web", tags=["mark"]).json()["server"]["id"]
    assert client.ask("DELETE", f"/servers/{identity}").status == 204
    assert client.names("changes-since=2020-01-01T00:00:00Z") == []
    assert client.names("deleted=1", token=ADMIN) == []
    assert client.ask("GET", f"/servers/{identity}/os-instance-actions").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_project_does_not_see_it(client: Client, method: str) -> None:
    identity = client.create()
    body = {"server": {"name": "x"}} if method == "PUT" else None
    told = client.message(method, f"/servers/{identity}", body, token=STRANGER)
    assert told == (404, f"Instance {identity} could not be found.")
    assert client.message("GET", "/servers/nosuch")[0] == 404


def test_a_reader_only_reads(client: Client) -> None:
    identity = client.create()
    assert client.server(identity, token=READER)["name"] == "web"
    body = {"server": {"name": "x"}}
    assert client.ask("PUT", f"/servers/{identity}", body, token=READER).status == 403
    assert client.ask("DELETE", f"/servers/{identity}", token=READER).status == 403
    assert client.ask("GET", "/servers", token="x:blue:outsider").status == 403


def test_rename(client: Client) -> None:
    identity = client.create("old")
    body = {"server": {"name": "new", "description": "said"}}
    row = client.ask("PUT", f"/servers/{identity}", body).json()["server"]
    assert (row["name"], row["description"]) == ("new", "said")
    assert client.names("name=^new$") == ["new"]
    assert client.names("name=^old$") == []


def test_the_answer_to_a_rename_is_whole_from_2_75_on(client: Client) -> None:
    identity = client.create(networks="auto")
    body = {"server": {"name": "new"}}
    older = client.ask("PUT", f"/servers/{identity}", body, version="2.74").json()["server"]
    newer = client.ask("PUT", f"/servers/{identity}", body, version="2.75").json()["server"]
    assert "OS-EXT-STS:vm_state" not in older
    assert "OS-EXT-STS:vm_state" in newer
    assert "OS-EXT-IPS:type" not in older["addresses"]["private"][0]


def test_a_locked_server_is_deleted_by_an_administrator_only(client: Client) -> None:
    identity = client.create()
    client.ask("POST", f"/servers/{identity}/action", {"lock": None})
    told = client.message("DELETE", f"/servers/{identity}")
    assert told == (409, f"Instance {identity} is locked")
    assert client.ask("DELETE", f"/servers/{identity}", token=ADMIN).status == 204
