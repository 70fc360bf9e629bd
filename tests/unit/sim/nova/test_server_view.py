"""What a server looks like, by microversion and role."""

import pytest

from tests.unit.sim.client import ADMIN, Client

SINCE = {
    "locked": 9,
    "description": 19,
    "tags": 26,
    "trusted_image_certificates": 63,
    "server_groups": 71,
    "locked_reason": 73,
    "OS-EXT-SRV-ATTR:hostname": 90,
    "pinned_availability_zone": 96,
    "scheduler_hints": 100,
}


@pytest.mark.parametrize(("name", "since"), SINCE.items())
def test_what_microversions_have_added(client: Client, name: str, since: int) -> None:
    identity = client.create()
    assert name not in client.server(identity, version=f"2.{since - 1}")
    assert name in client.server(identity, version=f"2.{since}")


def test_the_list_has_no_groups(client: Client) -> None:
    client.create()
    (row,) = client.get("/servers/detail")["servers"]
    assert "server_groups" not in row
    assert "locked_reason" in row


def test_what_only_administrators_see(client: Client) -> None:
    identity = client.create()
    mine, theirs = client.server(identity), client.server(identity, token=ADMIN)
    assert theirs["OS-EXT-SRV-ATTR:instance_name"] == "instance-00000001"
    assert theirs["host_status"] == "UP"
    assert not {"OS-EXT-SRV-ATTR:host", "host_status"} & set(mine)
    oldest = client.server(identity, token=ADMIN, version="2.2")
    assert "OS-EXT-SRV-ATTR:reservation_id" not in oldest


def test_the_flavor_is_spelt_out_from_2_47_on(client: Client) -> None:
    identity = client.create()
    assert client.server(identity, version="2.46")["flavor"]["id"] == "1"
    assert client.server(identity, version="2.47")["flavor"]["original_name"] == "m1.nano"


def test_volumes_tell_their_fate_from_2_3_on(client: Client) -> None:
    device = {"boot_index": 0, "uuid": "vol", "source_type": "volume"}
    identity = client.create(imageRef="", block_device_mapping_v2=[device])
    key = "os-extended-volumes:volumes_attached"
    assert client.server(identity, version="2.2")[key] == [{"id": "vol"}]
    expected = [{"id": "vol", "delete_on_termination": False}]
    assert client.server(identity, version="2.3")[key] == expected
