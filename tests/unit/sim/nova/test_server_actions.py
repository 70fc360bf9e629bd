"""What an action does, and what its repeat does."""

from typing import Any

import pytest

from tests.unit.sim.client import ADMIN, READER, STRANGER, Client


def act(client: Client, identity: str, body: Any, **how: Any) -> int:
    return client.ask("POST", f"/servers/{identity}/action", body, **how).status


@pytest.mark.parametrize(
    ("before", "action", "status"),
    [
        ([], "os-stop", "SHUTOFF"),
        (["os-stop"], "os-start", "ACTIVE"),
        ([], "pause", "PAUSED"),
        (["pause"], "unpause", "ACTIVE"),
    ],
)
def test_a_repeat_of_these_is_409(
    client: Client, before: list[str], action: str, status: str
) -> None:
    identity = client.create()
    for name in before:
        assert act(client, identity, {name: None}) == 202
    assert act(client, identity, {action: None}) == 202
    assert client.server(identity)["status"] == status
    assert act(client, identity, {action: None}) == 409
    assert [effect.kind for effect in client.effects] == ["server", *before, action]


def test_a_repeat_of_reboot_and_lock_is_carried_out_again(client: Client) -> None:
    identity = client.create()
    for body in ({"reboot": {"type": "SOFT"}}, {"lock": None}, {"unlock": None}):
        assert act(client, identity, body) == 202
        assert act(client, identity, body) == 202
    assert len(client.effects) == 7


def test_a_stopped_server_is_rebooted_hard_only(client: Client) -> None:
    identity = client.create()
    act(client, identity, {"os-stop": None})
    assert act(client, identity, {"reboot": {"type": "soft"}}) == 409
    assert act(client, identity, {"reboot": {"type": "HARD"}}) == 202
    assert client.server(identity)["status"] == "ACTIVE"


def test_a_repeat_of_create_image_makes_a_second_image(client: Client) -> None:
    identity = client.create()
    body = {"createImage": {"name": "snap", "metadata": {"a": "b"}}}
    path = f"/servers/{identity}/action"
    newer = client.ask("POST", path, body, version="2.45").json()["image_id"]
    older = client.ask("POST", path, body, version="2.44")
    assert older.body == b""
    assert (older.header("location") or "").startswith("http://localhost:9292/images/")
    rows = client.get("/images/detail", version="2.35")["images"]
    snaps = [row for row in rows if row["name"] == "snap"]
    assert len(snaps) == 2
    assert newer in [row["id"] for row in snaps]
    assert snaps[0]["metadata"]["a"] == "b"
    assert len(client.get("/images", version="2.35", token=STRANGER)["images"]) == 1


def test_a_lock_keeps_members_out(client: Client) -> None:
    identity = client.create()
    assert act(client, identity, {"lock": {"locked_reason": "mine"}}) == 202
    row = client.server(identity)
    assert (row["locked"], row["locked_reason"]) == (True, "mine")
    for body in (
        {"os-stop": None},
        {"reboot": {"type": "HARD"}},
        {"createImage": {"name": "x"}},
    ):
        assert act(client, identity, body) == 409
    assert client.ask("POST", f"/servers/{identity}/metadata", {"metadata": {}}).status == 409
    assert act(client, identity, {"os-stop": None}, token=ADMIN) == 202
    assert act(client, identity, {"unlock": None}) == 202
    assert client.server(identity)["locked_reason"] is None


def test_a_lock_has_a_reason_from_2_73_on(client: Client) -> None:
    identity = client.create()
    body = {"lock": {"locked_reason": "mine"}}
    assert act(client, identity, body, version="2.72") == 202
    assert client.server(identity)["locked_reason"] is None
    assert act(client, identity, {"lock": {"why": "mine"}}) == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Malformed request body"),
        ([], "Malformed request body"),
        ({"os-stop": None, "os-start": None}, "Malformed request body"),
        ({"explode": None}, "There is no such action: explode"),
    ],
)
def test_one_known_action(client: Client, body: Any, message: str) -> None:
    identity = client.create()
    told = client.message("POST", f"/servers/{identity}/action", body)
    assert told == (400, message)


@pytest.mark.parametrize(
    "body",
    [
        {"reboot": {}},
        {"reboot": {"type": "gentle"}},
        {"createImage": {}},
        {"createImage": {"name": ""}},
    ],
)
def test_malformed_actions(client: Client, body: Any) -> None:
    assert act(client, client.create(), body) == 400


def test_who_may_act(client: Client) -> None:
    identity = client.create()
    assert act(client, identity, {"os-stop": None}, token=READER) == 403
    assert act(client, identity, {"os-stop": None}, token=STRANGER) == 404
    told = client.message("POST", "/servers/x/action", {"os-stop": None})
    assert told == (404, "Instance x has no mapping to a cell.")
    told = client.message("POST", "/servers/x/action", {"pause": None})
    assert told == (404, "Instance x could not be found.")


def test_what_a_server_without_a_host_refuses(client: Client) -> None:
    identity = client.post_server().json()["server"]["id"]
    assert act(client, identity, {"os-stop": None}) == 404
    assert act(client, identity, {"pause": None}) == 409
    assert act(client, identity, {"lock": None}) == 500
    client.wait(0.2)
    assert act(client, identity, {"os-stop": None}) == 409
