"""Tags, metadata and the history of a server."""

import pytest

from tests.unit.sim.client import ADMIN, READER, STRANGER, Client


def test_tags_are_replaced_as_a_whole_and_found_by(client: Client) -> None:
    identity = client.create("web", tags=["old"])
    answer = client.ask("PUT", f"/servers/{identity}/tags", {"tags": ["b", "a", "a"]})
    assert answer.json() == {"tags": ["a", "b"]}
    assert client.get(f"/servers/{identity}/tags") == {"tags": ["a", "b"]}
    assert client.names("tags=a,b") == ["web"]
    assert client.names("tags=old") == []


def test_one_tag(client: Client) -> None:
    identity = client.create()
    path = f"/servers/{identity}/tags"
    assert client.ask("GET", f"{path}/a").status == 404
    answer = client.ask("PUT", f"{path}/a")
    assert answer.status == 201
    assert answer.header("location") == f"http://nova:8774/v2.1{path}/a"
    assert client.ask("PUT", f"{path}/a").status == 204
    assert client.ask("GET", f"{path}/a").status == 204
    assert client.ask("PUT", f"{path}/a,b").status == 400


def test_fifty_tags_are_all(client: Client) -> None:
    identity = client.create(tags=[f"t{number}" for number in range(50)])
    status, message = client.message("PUT", f"/servers/{identity}/tags/more")
    assert (status, message) == (400, "The number of tags exceeded the per-server limit 50")
    assert client.post_server(tags=[f"t{number}" for number in range(51)]).status == 400


def test_whose_tags(client: Client) -> None:
    identity = client.create(tags=["a"])
    path = f"/servers/{identity}/tags"
    assert client.ask("GET", path, token=STRANGER).status == 403
    assert client.ask("PUT", path, {"tags": []}, token=READER).status == 403
    assert client.get(path, token=ADMIN) == {"tags": ["a"]}
    assert client.message("GET", "/servers/x/tags")[1] == "Instance x has no mapping to a cell."
    client.ask("DELETE", f"/servers/{identity}")
    assert client.message("GET", path)[1] == f"Instance {identity} could not be found."


def test_what_a_server_without_a_host_refuses(client: Client) -> None:
    identity = client.post_server(tags=["a"], metadata={"k": "v"}).json()["server"]["id"]
    assert client.ask("GET", f"/servers/{identity}/tags").status == 404
    assert client.ask("GET", f"/servers/{identity}/tags/a").status == 404
    assert client.ask("PUT", f"/servers/{identity}/tags/b").status == 409
    assert client.ask("PUT", f"/servers/{identity}/tags", {"tags": []}).status == 409
    assert client.get(f"/servers/{identity}/metadata") == {"metadata": {}}
    assert client.ask("POST", f"/servers/{identity}/metadata", {"metadata": {}}).status == 409
    assert client.get(f"/servers/{identity}/os-instance-actions") == {"instanceActions": []}


def test_metadata_is_added_to(client: Client) -> None:
    identity = client.create(metadata={"a": "1"})
    path = f"/servers/{identity}/metadata"
    answer = client.ask("POST", path, {"metadata": {"b": "2"}})
    assert answer.json() == client.get(path) == {"metadata": {"a": "1", "b": "2"}}
    assert client.effects[-1].kind == "metadata"
    more = {"metadata": {f"k{number}": "" for number in range(127)}}
    assert client.message("POST", path, more)[0] == 403
    assert client.ask("POST", path, {"metadata": {}}, token=READER).status == 403


def test_history_is_newest_first_and_outlives_the_server(client: Client) -> None:
    answer = client.post_server()
    identity = answer.json()["server"]["id"]
    client.wait()
    client.ask("POST", f"/servers/{identity}/action", {"os-stop": None})
    client.ask("DELETE", f"/servers/{identity}")
    path = f"/servers/{identity}/os-instance-actions"
    rows = client.get(path)["instanceActions"]
    assert [row["action"] for row in rows] == ["delete", "stop", "create"]
    assert rows[-1]["request_id"] == answer.header("x-openstack-request-id")
    assert client.ask("GET", path, version="2.20").status == 404
    assert client.ask("GET", path, token=STRANGER).status == 404


@pytest.mark.parametrize(
    ("version", "token", "events", "updated"),
    [
        ("2.50", "someone:blue", False, False),
        ("2.50", ADMIN, True, False),
        ("2.51", "someone:blue", True, False),
        ("2.58", "someone:blue", True, True),
    ],
)
def test_one_action(client: Client, version: str, token: str, events: bool, updated: bool) -> None:
    identity = client.create()
    path = f"/servers/{identity}/os-instance-actions"
    request_id = client.get(path)["instanceActions"][0]["request_id"]
    row = client.get(f"{path}/{request_id}", version=version, token=token)["instanceAction"]
    assert ("events" in row, "updated_at" in row) == (events, updated)
    assert client.message("GET", f"{path}/req-none") == (404, "Action req-none not found")
