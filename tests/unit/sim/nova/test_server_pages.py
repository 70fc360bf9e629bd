"""Order and pages of GET /servers."""

import re

import pytest

from tests.unit.sim.client import ADMIN, STRANGER, Client


def test_newest_first(client: Client) -> None:
    for name in ("a", "b", "c"):
        client.create(name)
    assert client.names() == ["c", "b", "a"]


def test_within_one_second_by_id(client: Client) -> None:
    client.post_server("web", min_count=5)
    ids = [row["id"] for row in client.get("/servers")["servers"]]
    assert ids == sorted(ids)


def test_what_has_no_host_stands_before_all_others() -> None:
    client = Client(schedule_seconds=5.0, build_seconds=5.0)
    older = client.create("a")
    client.wait(5.0)
    client.post_server("b")
    assert client.names("sort_key=display_name&sort_dir=asc") == ["b", "a"]
    assert client.names(f"sort_key=display_name&sort_dir=asc&marker={older}") == []
    client.wait(6.0)
    assert client.names("sort_key=display_name&sort_dir=asc") == ["a", "b"]


def test_sorting(client: Client) -> None:
    for name in ("b", "c", "a"):
        client.create(name)
    assert client.names("sort_key=display_name") == ["c", "b", "a"]
    assert client.names("sort_key=display_name&sort_dir=asc") == ["a", "b", "c"]
    query = "sort_key=launch_index&sort_dir=asc&sort_key=display_name"
    assert client.names(query) == ["a", "b", "c"]
    for key in ("updated_at", "created_at"):
        assert client.names(f"sort_key={key}&sort_dir=asc") == ["b", "c", "a"]
    for key in ("hostname", "uuid", "user_id", "host"):
        assert sorted(client.names(f"sort_key={key}")) == ["a", "b", "c"]


@pytest.mark.parametrize("collection", ["servers", "servers/detail"])
def test_every_page_can_be_walked(client: Client, collection: str) -> None:
    client.post_server("web", min_count=7, tags=["mark"])
    client.create("other")
    path, names = f"/{collection}?limit=3&tags=mark", []
    while path:
        document = client.get(path)
        names += [row["name"] for row in document["servers"]]
        links = document.get("servers_links", [])
        path = links[0]["href"].removeprefix("http://nova:8774/v2.1") if links else ""
    assert sorted(names) == [f"web-{number}" for number in range(1, 8)]


def test_the_cloud_limits_the_page() -> None:
    client = Client(page_limit=2)
    client.post_server("web", min_count=3)
    for query in ("", "limit=50"):
        document = client.get(f"/servers?{query}")
        assert len(document["servers"]) == 2
        assert document["servers_links"][0]["rel"] == "next"
    assert client.get("/servers?limit=0") == {"servers": []}


def test_markers(client: Client) -> None:
    first, second = client.create("a"), client.create("b")
    assert client.names(f"marker={second}") == ["a"]
    assert client.names(f"marker={second}&name=a") == ["a"]
    assert client.names(f"marker={first}") == []
    assert client.message("GET", "/servers?marker=x") == (400, "marker [x] not found")


class TestCellDown:
    """What is in a cell that is down is left out, and shown in a bare list where there is room."""

    HIDDEN = ("created", "id", "links", "security_groups", "status", "tenant_id")

    def client(self, others: int, page_limit: int = 3) -> Client:
        client = Client(page_limit=page_limit)
        world = client.nova.world
        for name in ("hidden", "hidden"):
            world.servers[client.create(name, tags=["mark"])].cell = "cell2"
        for _ in range(others):
            client.create("other")
        world.cells_down.add("cell2")
        return client

    @pytest.mark.parametrize(("others", "shown", "full"), [(0, 2, 0), (1, 2, 1), (2, 1, 1)])
    def test_shows_as_many_as_there_is_room_for(self, others: int, shown: int, full: int) -> None:
        document = self.client(others).get("/servers/detail")
        hidden = document["servers"][:shown]
        assert [(tuple(sorted(row)), row["status"]) for row in hidden] == [
            (self.HIDDEN, "UNKNOWN")
        ] * shown
        assert [row["name"] for row in document["servers"][shown:]] == ["other"] * others
        assert len(document.get("servers_links", [])) == full

    def test_shows_none_where_the_page_is_full(self) -> None:
        client = self.client(3)
        document = client.get("/servers/detail")
        assert [row["name"] for row in document["servers"]] == ["other"] * 3
        assert document["servers_links"][0]["href"].endswith(document["servers"][-1]["id"])
        document = client.get("/servers/detail?all_tenants=1", token=ADMIN)
        assert [row["name"] for row in document["servers"]] == ["other"] * 3

    def test_without_details(self) -> None:
        rows = self.client(0).get("/servers")["servers"]
        assert [sorted(row) for row in rows] == [["id", "links", "status"]] * 2

    @pytest.mark.parametrize("query", ["limit=9", "tags=mark", "sort_key=uuid", "name=hidden"])
    def test_only_in_a_bare_list(self, query: str) -> None:
        client = self.client(0, page_limit=9)
        assert client.get(f"/servers/detail?{query}")["servers"] == []
        assert client.get("/servers/detail", version="2.68")["servers"] == []
        assert len(client.get("/servers/detail", version="2.69")["servers"]) == 2

    def test_nothing_of_other_projects(self) -> None:
        client = self.client(0)
        assert client.get("/servers/detail", token=STRANGER)["servers"] == []
        assert client.get("/servers/detail?all_tenants=1", token=ADMIN)["servers"] != []

    def test_what_has_no_host_is_in_no_cell(self) -> None:
        client = Client(schedule_seconds=5.0, build_seconds=5.0)
        client.post_server("web")
        client.nova.world.cells_down.add("cell1")
        assert client.names() == ["web"]
        client.wait(6)
        assert [row["status"] for row in client.get("/servers")["servers"]] == ["UNKNOWN"]


@pytest.mark.parametrize("name", ["a.b", "a-b", "a b", "a+b", "a\\b", "^a$", "ü"])
def test_an_exact_name_is_found_however_it_is_written(client: Client, name: str) -> None:
    client.create(name)
    client.create("axb")
    client.create(f"{name}x")
    identity = client.ask("GET", "!/v2.1/servers?name=%5E" + _quoted(re.escape(name)) + "%24")
    assert [row["name"] for row in identity.json()["servers"]] == [name]


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_a_pattern_that_is_not_one_name_is_searched(client: Client) -> None:
    client.create("a.b")
    client.create("axb")
    assert sorted(client.names("name=^a.b$")) == ["a.b", "axb"]
    assert sorted(client.names("name=^(a.b|c)$")) == ["a.b", "axb"]
