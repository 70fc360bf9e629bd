"""Nova's services, and what is told of those in a cell that is down."""

import pytest

from tests.unit.sim.client import ADMIN, Client

PATH = "/os-services"


def test_are_shown_to_administrators_only(client: Client) -> None:
    told = "Policy doesn't allow os_compute_api:os-services:list to be performed."
    assert client.message("GET", PATH) == (403, told)
    assert client.get(PATH, token=ADMIN)["services"] != []


@pytest.mark.parametrize(("version", "id_type"), [("2.1", int), ("2.52", int), ("2.53", str)])
def test_their_ids_become_uuids(client: Client, version: str, id_type: type) -> None:
    rows = client.get(PATH, token=ADMIN, version=version)["services"]
    assert [(row["host"], row["binary"]) for row in rows] == [
        ("compute1", "nova-compute"),
        ("compute2", "nova-compute"),
    ]
    assert {type(row["id"]) for row in rows} == {id_type}
    assert {"forced_down" in row for row in rows} == {version != "2.1"}


def test_of_a_cell_that_is_down(client: Client) -> None:
    client.nova.world.cells_down.add("cell2")
    (up,) = client.get(PATH, token=ADMIN, version="2.68")["services"]
    assert (up["host"], up["status"], up["state"]) == ("compute1", "enabled", "up")
    assert client.get(PATH, token=ADMIN, version="2.69")["services"] == [
        up,
        {"binary": "nova-compute", "host": "compute2", "status": "UNKNOWN"},
    ]
