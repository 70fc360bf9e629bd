"""The pipeline: credentials, versions, routing, common headers."""

import pytest

from dedupd.sim import Answer, SimulatedNova
from tests.unit.sim.client import MEMBER, Client


def headers(answer: Answer, name: str) -> list[str]:
    return [value for key, value in answer.headers if key.lower() == name]


def test_versions_need_no_credentials(client: Client) -> None:
    versions = client.get("!/", token="", version=None)["versions"]
    assert [row["version"] for row in versions] == ["", "2.104"]
    assert versions[1]["links"][0]["href"] == "http://nova:8774/v2.1/"
    one = client.get("!/v2.1/", token="", version=None)["version"]
    assert one["media-types"][0]["type"] == "application/vnd.openstack.compute+json;version=2.1"
    assert client.get("!/v2", token="", version=None)["version"]["id"] == "v2.0"


def test_a_path_under_no_version_offers_both(client: Client) -> None:
    answer = client.ask("GET", "!/v3/servers")
    assert answer.status == 300
    hrefs = [row["links"][0]["href"] for row in answer.json()["choices"]]
    assert hrefs == ["http://nova:8774/v2/v3/servers", "http://nova:8774/v2.1/v3/servers"]


def test_no_token_is_401_before_anything_else(client: Client) -> None:
    answer = client.ask("GET", "/nosuch", token="", version="banana")
    assert answer.status == 401
    assert answer.json()["error"]["title"] == "Unauthorized"
    assert headers(answer, "www-authenticate")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((("OpenStack-API-Version", "compute 2.60"),), "2.60"),
        ((("OpenStack-API-Version", "volume 3.60"),), "2.1"),
        ((("OpenStack-API-Version", "volume 3.60, compute 2.7"),), "2.7"),
        ((("X-OpenStack-Nova-API-Version", "2.27"),), "2.27"),
        (
            (("X-OpenStack-Nova-API-Version", "2.27"), ("openstack-api-version", "compute 2.9")),
            "2.9",
        ),
        ((("OpenStack-API-Version", "compute latest"),), "2.104"),
        ((), "2.1"),
    ],
)
def test_version_headers(client: Client, asked: tuple[tuple[str, str], ...], told: str) -> None:
    answer = client.ask("GET", "/servers", version=None, headers=asked)
    assert answer.status == 200
    assert headers(answer, "openstack-api-version") == [f"compute {told}"]
    assert headers(answer, "x-openstack-nova-api-version") == [told]
    assert headers(answer, "vary") == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]


def test_unsupported_and_malformed_versions(client: Client) -> None:
    answer = client.ask("GET", "/servers", version="2.999")
    assert answer.status == 406
    assert answer.json()["computeFault"]["code"] == 406
    assert headers(answer, "openstack-api-version") == ["compute 2.999"]
    answer = client.ask("GET", "/servers", version="banana")
    assert answer.status == 400
    assert headers(answer, "openstack-api-version") == []


def test_the_oldest_api_has_no_version_headers(client: Client) -> None:
    answer = client.ask("GET", "!/v2/servers")
    assert answer.status == 200
    assert headers(answer, "openstack-api-version") == []


def test_request_ids_are_new_each_time_and_said_twice(client: Client) -> None:
    first, second = client.ask("GET", "/servers"), client.ask("GET", "/servers")
    (identity,) = headers(first, "x-openstack-request-id")
    assert identity.startswith("req-")
    assert headers(first, "x-compute-request-id") == [identity]
    assert headers(second, "x-openstack-request-id") != [identity]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/json"),
        ("*/*", "text/html; charset=UTF-8"),
        ("", "text/plain; charset=UTF-8"),
    ],
)
def test_an_unknown_url_is_404_in_the_form_asked_for(
    client: Client, accept: str, content_type: str
) -> None:
    for path in ("/nosuch", "/servers/", "/servers/x/y/z/a"):
        answer = client.ask("GET", path, headers=[("Accept", accept)])
        assert answer.status == 404
        assert answer.header("content-type") == content_type
        assert b"The resource could not be found." in answer.body


def test_a_route_of_another_microversion_is_404_in_nova_s_form(client: Client) -> None:
    identity = client.create()
    told = client.message("GET", f"/servers/{identity}/tags", version="2.25")
    assert told == (404, "The resource could not be found.")
    assert client.message("GET", "/images", version="2.36")[0] == 404


def test_the_project_may_stand_in_the_path(client: Client) -> None:
    project = "0123abcd"
    answer = client.ask("GET", f"/{project}/servers", token=f"someone:{project}")
    assert answer.status == 200
    status, message = client.message("GET", f"/{project}/servers")
    assert status == 400
    assert "doesn't match" in message


def test_a_body_over_the_limit_is_413(client: Client) -> None:
    assert client.ask("POST", "/servers", b"x" * 114_689).status == 413
    assert client.ask("POST", "/servers", b"x" * 114_688).status == 400


def test_what_is_not_json(client: Client) -> None:
    assert client.message("POST", "/servers", b"{") == (400, "Malformed request body")
    assert client.message("POST", "/servers", b"\xff")[0] == 500
    assert client.message("POST", "/servers") == (400, "None is not of type 'object'")


def test_the_same_seed_clock_and_requests_give_the_same_answers() -> None:
    def run(seed: int) -> list[Answer]:
        nova = SimulatedNova(clock=lambda: 5.0, seed=seed)
        body = b'{"server": {"name": "a", "flavorRef": "1", "imageRef": "%s"}}'
        image = b"155d900f-4e14-4e4c-a73d-069cbf4541e6"
        token = [("X-Auth-Token", MEMBER)]
        created = nova.handle("POST", "/v2.1/servers", token, body % image)
        return [created, nova.handle("GET", "/v2.1/servers/detail", token)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_counters_tell_method_resource_and_status(client: Client) -> None:
    client.post_server()
    client.ask("GET", "/servers/none")
    client.ask("GET", "/nosuch")
    expected = {"POST servers 202": 1, "GET servers 404": 1, "GET other 404": 1}
    assert dict(client.nova.counters) == expected
