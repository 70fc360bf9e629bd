"""POST /servers."""

import pytest

from dedupd.sim.nova.world import IMAGE, NETWORK, PORT, VOLUME
from tests.unit.sim.client import ADMIN, READER, STRANGER, Client


def test_the_answer_names_the_server_and_its_password(client: Client) -> None:
    answer = client.post_server(tags=["mark"], metadata={"k": "v"})
    assert answer.status == 202
    server = answer.json()["server"]
    assert answer.header("location") == f"http://nova:8774/v2.1/servers/{server['id']}"
    assert server["links"][0]["href"] == answer.header("location")
    assert len(server["adminPass"]) == 12
    assert client.server(server["id"])["tags"] == ["mark"]


def test_a_password_given_is_echoed(client: Client) -> None:
    assert client.post_server(adminPass="given").json()["server"]["adminPass"] == "given"


def test_the_ledger_keeps_what_the_effect_can_be_counted_by(client: Client) -> None:
    answer = client.post_server("web", min_count=2, tags=["mark"], metadata={"k": "v"})
    (effect,) = client.effects
    assert effect.resources[0] == answer.json()["server"]["id"]
    assert effect.names == ("web-1", "web-2")
    assert (effect.tags, effect.metadata) == (("mark",), {"k": "v"})
    assert (effect.method, effect.path, effect.kind) == ("POST", "/v2.1/servers", "server")
    assert (effect.user, effect.project, effect.time) == ("someone", "blue", client.now)
    assert effect.request_id == answer.header("x-openstack-request-id")


def test_a_refused_create_has_no_effect(client: Client) -> None:
    assert client.post_server(flavorRef="none").status == 400
    assert client.effects == []
    assert client.nova.alive("blue") == 0


def test_multi_create_numbers_names_and_shares_reservation_and_tags(client: Client) -> None:
    answer = client.post_server("web", min_count=3, tags=["mark"], return_reservation_id=True)
    (reservation,) = answer.json().values()
    assert list(answer.json()) == ["reservation_id"]
    assert answer.header("location") is None
    assert sorted(client.names("tags=mark")) == ["web-1", "web-2", "web-3"]
    rows = client.get("/servers/detail", token=ADMIN)["servers"]
    assert {row["OS-EXT-SRV-ATTR:reservation_id"] for row in rows} == {reservation}
    assert sorted(row["OS-EXT-SRV-ATTR:launch_index"] for row in rows) == [0, 1, 2]


def test_quota_makes_what_it_can_but_not_less_than_asked() -> None:
    client = Client(instances_quota=3)
    assert client.post_server("web", min_count=1, max_count=5).status == 202
    assert client.nova.alive("blue") == 3
    status, message = client.message("POST", "/servers", _body("more"))
    assert status == 403
    assert message == (
        "Quota exceeded for instances: Requested 1, but already used 3 of 3 instances"
    )
    assert client.post_server(token=STRANGER).status == 202


def test_without_a_quota_a_request_still_cannot_fill_the_memory() -> None:
    client = Client()
    assert client.post_server("web", max_count=10**20).status == 202
    assert client.nova.alive("blue") == 1000
    assert client.post_server("web", min_count=10**20).status == 403


def test_deleting_gives_quota_back() -> None:
    client = Client(instances_quota=1)
    identity = client.create()
    assert client.ask("DELETE", f"/servers/{identity}").status == 204
    assert client.post_server().status == 202


def _body(name: str, **more: object) -> object:
    wish = {"name": name, "imageRef": IMAGE, "flavorRef": "1", "networks": "none"}
    return {"server": wish | more}


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        ({"min_count": 3, "max_count": 2}, 400, "min_count must be <= max_count"),
        ({"flavorRef": "huge"}, 400, "Flavor huge could not be found."),
        ({"imageRef": VOLUME}, 400, "Can not find requested image"),
        ({"imageRef": ""}, 400, "Missing imageRef attribute"),
        ({"key_name": "none"}, 400, "Invalid key_name provided."),
        ({"networks": [{"uuid": VOLUME}]}, 400, f"Network {VOLUME} could not be found."),
        ({"networks": [{"port": VOLUME}]}, 400, f"Port id {VOLUME} could not be found."),
        ({"availability_zone": "mars"}, 400, "The requested availability zone is not available"),
        (
            {"security_groups": [{"name": "open"}], "networks": "auto"},
            400,
            "no security_group open",
        ),
        (
            {"metadata": {f"k{number}": "" for number in range(129)}},
            403,
            "Maximum number of metadata items exceeds 128",
        ),
    ],
)
def test_what_is_missing(
    client: Client, more: dict[str, object], status: int, message: str
) -> None:
    assert client.message("POST", "/servers", _body("web", **more)) == (status, message)


def test_policy_comes_after_the_form(client: Client) -> None:
    status, message = client.message("POST", "/servers", _body("web"), token=READER)
    assert status == 403
    assert message == "Policy doesn't allow os_compute_api:servers:create to be performed."
    assert client.message("POST", "/servers", {"server": {}}, token=READER)[0] == 400


def test_tags_need_2_52_and_networks_2_37(client: Client) -> None:
    assert client.post_server(tags=["a"], version="2.51").status == 400
    assert client.post_server(tags=["a"], version="2.52").status == 202
    body = _body("web")
    del body["server"]["networks"]  # type: ignore[index]
    assert client.ask("POST", "/servers", body, version="2.36").status == 202
    assert client.ask("POST", "/servers", body, version="2.37").status == 400


def test_a_port_is_used_once_and_free_again_after_deletion(client: Client) -> None:
    identity = client.create(networks=[{"port": PORT}])
    assert client.post_server(networks=[{"port": PORT}]).status == 409
    client.ask("DELETE", f"/servers/{identity}")
    assert client.post_server(networks=[{"port": PORT}]).status == 202


def test_an_address_shows_once_the_server_is_built(client: Client) -> None:
    answer = client.post_server(networks=[{"uuid": NETWORK}])
    identity = answer.json()["server"]["id"]
    assert client.server(identity)["addresses"] == {}
    client.wait()
    (address,) = client.server(identity)["addresses"]["private"]
    assert address["addr"].startswith("192.168.")
    assert client.server(identity)["security_groups"] == [{"name": "default"}]


def test_security_groups_are_echoed(client: Client) -> None:
    groups = [{"name": "default"}]
    answer = client.post_server(security_groups=groups, networks="auto")
    assert answer.json()["server"]["security_groups"] == groups


def test_boot_from_volume(client: Client) -> None:
    device = {
        "boot_index": 0,
        "uuid": VOLUME,
        "source_type": "volume",
        "delete_on_termination": True,
    }
    identity = client.create(imageRef="", block_device_mapping_v2=[device])
    row = client.server(identity)
    assert row["image"] == ""
    attached = row["os-extended-volumes:volumes_attached"]
    assert attached == [{"id": VOLUME, "delete_on_termination": True}]


def test_a_group_named_in_the_hints_gets_the_member(client: Client) -> None:
    body = {"server_group": {"name": "g", "policy": "affinity"}}
    client.ask("POST", "/os-server-groups", body)
    group = client.ask("POST", "/os-server-groups", body).json()["server_group"]["id"]
    identity = ""
    for hint in (group, [group]):
        body = _body("web") | {"os:scheduler_hints": {"group": hint}}  # type: ignore[operator]
        identity = client.ask("POST", "/servers", body).json()["server"]["id"]
        assert client.server(identity)["server_groups"] == [group]
    assert len(client.get(f"/os-server-groups/{group}")["server_group"]["members"]) == 2
    client.ask("DELETE", f"/servers/{identity}")
    assert len(client.get(f"/os-server-groups/{group}")["server_group"]["members"]) == 1
    body = _body("web") | {"os:scheduler_hints": {"group": VOLUME}}  # type: ignore[operator]
    assert client.ask("POST", "/servers", body).status == 400


def test_the_description_is_the_name_below_2_19(client: Client) -> None:
    older = client.create("old", version="2.18", networks=[])
    newer = client.create("new")
    assert client.server(older)["description"] == "old"
    assert client.server(newer)["description"] is None


@pytest.mark.parametrize(
    ("name", "hostname"),
    [("Web_1.x", "web-1-x"), ("-a b-", "a-b"), ("ü7", "7"), ("a" * 70, "a" * 63)],
)
def test_host_name(client: Client, name: str, hostname: str) -> None:
    identity = client.create(name)
    assert client.server(identity)["OS-EXT-SRV-ATTR:hostname"] == hostname


def test_a_host_name_given_is_kept(client: Client) -> None:
    identity = client.create("web", hostname="other")
    assert client.server(identity)["OS-EXT-SRV-ATTR:hostname"] == "other"
