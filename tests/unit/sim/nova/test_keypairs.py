"""Key pairs."""

import pytest
from cryptography.hazmat.primitives import serialization

from tests.unit.sim.client import ADMIN, READER, STRANGER, Client

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVdAJGq4yC3QjCgyrtYB5NwvcYBGBzEvEYTvEPVz1jh someone"


def imported(client: Client, name: str = "k", version: str = "2.96", **more: object) -> int:
    body = {"keypair": {"name": name, "public_key": PUBLIC} | more}
    return client.ask("POST", "/os-keypairs", body, version=version).status


def test_a_generated_private_key_fits_its_public_key(client: Client) -> None:
    body = {"keypair": {"name": "k"}}
    row = client.ask("POST", "/os-keypairs", body, version="2.1").json()["keypair"]
    private = serialization.load_pem_private_key(row["private_key"].encode(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    assert row["public_key"] == f"{public.decode()} Generated-by-Nova"
    shown = client.get("/os-keypairs/k")["keypair"]
    assert shown["fingerprint"] == row["fingerprint"]
    assert "private_key" not in shown


def test_status_and_type_by_version(client: Client) -> None:
    assert imported(client, "a", "2.1") == 200
    assert imported(client, "b", "2.2") == 201
    assert imported(client, "c", "2.2", type="ssh") == 201
    assert "type" not in client.get("/os-keypairs/a", version="2.1")["keypair"]
    assert client.get("/os-keypairs/a", version="2.2")["keypair"]["type"] == "ssh"
    assert client.ask("DELETE", "/os-keypairs/a", version="2.1").status == 202
    assert client.ask("DELETE", "/os-keypairs/b", version="2.2").status == 204


def test_none_is_generated_from_2_92_on(client: Client) -> None:
    body = {"keypair": {"name": "k"}}
    assert client.message("POST", "/os-keypairs", body, version="2.92")[0] == 400
    assert imported(client, version="2.92") == 201


def test_a_repeat_is_409_and_changes_nothing(client: Client) -> None:
    assert imported(client) == 201
    body = {"keypair": {"name": "k", "public_key": PUBLIC}}
    told = client.message("POST", "/os-keypairs", body)
    assert told == (409, "Key pair 'k' already exists.")
    assert len(client.effects) == 1


def test_they_belong_to_the_user_whatever_the_project(client: Client) -> None:
    imported(client)
    assert client.ask("GET", "/os-keypairs/k", token="someone:green").status == 200
    assert client.ask("GET", "/os-keypairs/k", token="other:blue").status == 404
    assert client.post_server(key_name="k", token="other:blue").status == 400
    assert client.post_server(key_name="k").status == 202


def test_another_user_s_are_for_administrators_from_2_10_on(client: Client) -> None:
    body = {"keypair": {"name": "k", "public_key": PUBLIC, "user_id": "someone"}}
    assert client.ask("POST", "/os-keypairs", body, token=STRANGER).status == 403
    assert client.ask("POST", "/os-keypairs", body, token=ADMIN, version="2.9").status == 400
    assert client.ask("POST", "/os-keypairs", body, token=ADMIN).status == 201
    path = "/os-keypairs?user_id=someone"
    assert len(client.get(path, token=ADMIN)["keypairs"]) == 1
    assert client.get(path, token=ADMIN, version="2.9")["keypairs"] == []
    assert client.ask("GET", path, token=STRANGER).status == 403
    assert client.ask("DELETE", "/os-keypairs/k?user_id=someone", token=ADMIN).status == 204


@pytest.mark.parametrize(
    ("keypair", "version", "message"),
    [
        ({"name": "k/x", "public_key": PUBLIC}, "2.96", "does not match"),
        ({"name": "k@.x", "public_key": PUBLIC}, "2.91", "does not match"),
        ({"name": " k", "public_key": PUBLIC}, "2.96", "An invalid 'name' value"),
        ({"name": "", "public_key": PUBLIC}, "2.96", "should be non-empty"),
        ({"name": "k", "public_key": "junk"}, "2.96", "failed to generate fingerprint"),
        ({"name": "k", "public_key": "ssh-rsa AAAA"}, "2.96", "failed to generate fingerprint"),
        ({"name": "k", "public_key": "ssh-rsa"}, "2.96", "failed to generate fingerprint"),
        ({"name": "k", "type": "x509"}, "2.2", "no x509"),
        ({"name": "k", "type": "dsa"}, "2.2", "is not one of"),
        ({"name": "k", "type": "ssh"}, "2.1", "Additional properties"),
    ],
)
def test_what_is_refused(
    client: Client, keypair: dict[str, str], version: str, message: str
) -> None:
    told = client.message("POST", "/os-keypairs", {"keypair": keypair}, version=version)
    assert told[0] == 400
    assert message in told[1]
    assert client.effects == []


def test_special_characters_from_2_92_on(client: Client) -> None:
    assert imported(client, "k@.x") == 201


def test_quota() -> None:
    client = Client(key_pairs_quota=1)
    assert imported(client, "a") == 201
    body = {"keypair": {"name": "b", "public_key": PUBLIC}}
    told = client.message("POST", "/os-keypairs", body)
    assert told == (403, "Quota exceeded, too many key pairs.")


def test_pages_from_2_35_on(client: Client) -> None:
    for name in ("c", "a", "b"):
        imported(client, name)
    page = client.get("/os-keypairs?limit=2")
    assert [row["keypair"]["name"] for row in page["keypairs"]] == ["a", "b"]
    path = page["keypairs_links"][0]["href"].removeprefix("http://nova:8774/v2.1")
    page = client.get(path)
    assert [row["keypair"]["name"] for row in page["keypairs"]] == ["c"]
    assert "keypairs_links" not in page
    assert len(client.get("/os-keypairs?limit=2", version="2.34")["keypairs"]) == 3
    told = client.message("GET", "/os-keypairs?marker=x")
    assert told == (400, "Marker x could not be found.")
    assert client.ask("GET", "/os-keypairs?foo=1", version="2.75").status == 400


def test_what_is_not_there(client: Client) -> None:
    told = client.message("GET", "/os-keypairs/k", token=READER)
    assert told == (404, "Keypair k not found for user onlooker")
    assert client.message("DELETE", "/os-keypairs/a%20b")[1].startswith("Keypair a b not found")
