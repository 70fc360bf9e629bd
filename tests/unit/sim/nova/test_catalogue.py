"""Flavors, images and limits."""

from dedupd.sim.nova.world import IMAGE
from tests.unit.sim.client import Client


def test_flavors(client: Client) -> None:
    assert [row["id"] for row in client.get("/flavors")["flavors"]] == ["1", "2", "3", "42"]
    assert client.get("/flavors/detail", version="2.1")["flavors"][0]["swap"] == ""
    newest = client.get("/flavors/1")["flavor"]
    assert (newest["swap"], newest["description"], newest["extra_specs"]) == (0, None, {})
    assert client.message("GET", "/flavors/x") == (404, "Flavor x could not be found.")


def test_images(client: Client) -> None:
    (row,) = client.get("/images", version="2.1")["images"]
    assert row["id"] == IMAGE
    shown = client.get(f"/images/{IMAGE}", version="2.35")["image"]
    assert shown["created"] == "2011-01-01T01:02:03Z"
    assert client.message("GET", "/images/x", version="2.1") == (404, "Image not found.")


def test_limits_count_what_is_used() -> None:
    client = Client(instances_quota=5)
    client.post_server("web", min_count=2)
    absolute = client.get("/limits")["limits"]["absolute"]
    assert (absolute["maxTotalInstances"], absolute["totalInstancesUsed"]) == (5, 2)
    assert (absolute["totalRAMUsed"], absolute["totalCoresUsed"]) == (128, 2)
    assert "maxPersonality" not in absolute
    assert "maxPersonality" in client.get("/limits", version="2.56")["limits"]["absolute"]
