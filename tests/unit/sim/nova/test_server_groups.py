"""Server groups."""

from typing import Any

import pytest

from tests.unit.sim.client import ADMIN, READER, STRANGER, Client


def create(client: Client, **how: Any) -> Any:
    body = {"server_group": {"name": "g", "policy": "affinity"}}
    return client.ask("POST", "/os-server-groups", body, **how).json()["server_group"]


def test_a_repeat_makes_another_of_the_same_name(client: Client) -> None:
    first, second = create(client), create(client)
    assert first["id"] != second["id"]
    rows = client.get("/os-server-groups")["server_groups"]
    assert [row["name"] for row in rows] == ["g", "g"]
    assert [effect.kind for effect in client.effects] == ["server_group", "server_group"]


def test_the_form_by_version(client: Client) -> None:
    assert create(client)["policy"] == "affinity"
    oldest = client.get("/os-server-groups", version="2.12")["server_groups"][0]
    assert (oldest["policies"], oldest["metadata"]) == (["affinity"], {})
    assert "project_id" not in oldest
    assert client.get("/os-server-groups", version="2.13")["server_groups"][0]["project_id"]
    body = {"server_group": {"name": "g", "policies": ["soft-affinity"]}}
    assert client.ask("POST", "/os-server-groups", body, version="2.14").status == 400
    assert client.ask("POST", "/os-server-groups", body, version="2.15").status == 200


def test_whose_they_are(client: Client) -> None:
    mine, other = create(client), create(client, token=STRANGER)
    assert client.ask("GET", f"/os-server-groups/{other['id']}").status == 404
    assert client.ask("GET", f"/os-server-groups/{other['id']}", token=ADMIN).status == 200
    everything = client.get("/os-server-groups?all_projects=1", token=ADMIN)["server_groups"]
    assert len(everything) == 2
    assert len(client.get("/os-server-groups?all_projects=1")["server_groups"]) == 1
    path = f"/os-server-groups/{mine['id']}"
    assert client.ask("DELETE", path, token=READER).status == 403
    assert client.ask("DELETE", path).status == 204
    assert client.message("DELETE", path)[0] == 404


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [("limit=x", "2.96", 400), ("foo=1", "2.75", 400), ("foo=1", "2.74", 200)],
)
def test_query(client: Client, query: str, version: str, status: int) -> None:
    assert client.ask("GET", f"/os-server-groups?{query}", version=version).status == status


def test_pages(client: Client) -> None:
    ids = [create(client)["id"] for _ in range(3)]
    rows = client.get("/os-server-groups?offset=1&limit=1")["server_groups"]
    assert [row["id"] for row in rows] == [ids[1]]


def test_quota() -> None:
    client = Client(server_groups_quota=1)
    create(client)
    body = {"server_group": {"name": "g", "policy": "affinity"}}
    told = client.message("POST", "/os-server-groups", body)
    assert told == (403, "Quota exceeded, too many server groups.")
