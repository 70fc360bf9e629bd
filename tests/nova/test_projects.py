"""With a real Keystone: a token's record belongs to one project, whoever else knows the token."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest

from dedupd.api.auth import IDENTITY_HEADERS
from tests.integration.front import Front
from tests.nova.call import Answer
from tests.nova.cloud import ALT_DEMO, DEMO, READER, RealKeystone, RealNova
from tests.nova.posts import SERVERS

REQUESTS = "/dedupd/v1/requests"


@dataclass(frozen=True)
class Cloud:
    """demo and reader are of one project, alt_demo of another."""

    nova: RealNova
    keystone: RealKeystone
    front: Front

    def post(
        self, user: str, name: str, client_token: str, headers: dict[str, str] | None = None
    ) -> Answer:
        """A server, as a user of Keystone's."""
        return self.front.call(
            "POST",
            SERVERS,
            self.nova.server_body(name),
            token=self.keystone.token(user),
            client_token=client_token,
            headers=headers,
        )

    def get(self, user: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """One of dedupd's own resources."""
        return self.front.call("GET", path, token=self.keystone.token(user), headers=headers)

    def owners(self, name: str) -> list[str]:
        """The projects that have a server of this name."""
        return sorted(row["tenant_id"] for row in self.nova.servers(name=f"^{name}$"))


@pytest.fixture
def cloud(
    nova_behind_keystone: RealNova, real_keystone: RealKeystone, front_behind_keystone: Front
) -> Cloud:
    return Cloud(nova_behind_keystone, real_keystone, front_behind_keystone)


def unique() -> str:
    return f"project-{uuid.uuid4().hex[:12]}"


def test_the_same_token_of_two_projects_is_two_requests(cloud: Cloud) -> None:
    name = unique()
    mine, theirs = cloud.post(DEMO, name, name), cloud.post(ALT_DEMO, name, name)
    assert mine.json["server"]["id"] != theirs.json["server"]["id"]
    assert theirs.header("Idempotent-Replayed") == "false"
    projects = [cloud.keystone.project_id(user) for user in (DEMO, ALT_DEMO)]
    assert cloud.owners(name) == sorted(projects)
    assert cloud.post(DEMO, name, name).body == mine.body
    assert cloud.post(ALT_DEMO, name, name).body == theirs.body


def test_another_project_sees_no_record(cloud: Cloud) -> None:
    """Neither by the token, nor by the record's id, nor in a list; and it cannot cancel it."""
    name = unique()
    cloud.post(DEMO, name, name)
    own = cloud.get(DEMO, f"{REQUESTS}/{name}")
    assert own.json["request"]["state"] == "done"
    identifier = own.json["request"]["id"]
    for path in (name, identifier, f"{identifier}?live=true"):
        assert cloud.get(ALT_DEMO, f"{REQUESTS}/{path}").status == 404
        never = cloud.get(ALT_DEMO, f"{REQUESTS}/{unique()}")
        assert never.json == cloud.get(ALT_DEMO, f"{REQUESTS}/{path}").json
    listed = cloud.get(ALT_DEMO, f"{REQUESTS}?limit=1000").json["requests"]
    assert identifier not in [row["id"] for row in listed]
    token = cloud.keystone.token(ALT_DEMO)
    assert cloud.front.call("DELETE", f"{REQUESTS}/{identifier}", token=token).status == 404


def test_a_colleague_sees_the_record_and_no_secret(cloud: Cloud) -> None:
    name = unique()
    made = cloud.post(DEMO, name, name)
    identifier = made.json["server"]["id"]
    shown = cloud.get(READER, f"{REQUESTS}/{name}?live=true")
    assert shown.json["request"]["resource"]["id"] == identifier
    assert made.json["server"]["adminPass"] not in shown.body.decode()
    repeat = cloud.post(READER, name, name)
    assert repeat.json["server"]["id"] == identifier
    assert repeat.header("Idempotency-Redacted") == "server.adminPass"
    assert made.json["server"]["adminPass"] not in repeat.body.decode()


def test_forged_identity_headers_are_useless(cloud: Cloud) -> None:
    """What a proxy before Nova would set is taken from nobody."""
    name = unique()
    made = cloud.post(DEMO, name, name)
    forged = {
        **{header.decode(): "admin" for header in IDENTITY_HEADERS},
        "X-Identity-Status": "Confirmed",
        "X-Service-Identity-Status": "Confirmed",
        "X-Project-Id": cloud.keystone.project_id(DEMO),
        "X-User-Id": cloud.keystone.user_id(DEMO),
    }
    assert cloud.get(ALT_DEMO, f"{REQUESTS}/{name}", forged).status == 404
    theirs = cloud.post(ALT_DEMO, name, name, forged)
    assert theirs.status == 202
    assert theirs.json["server"]["id"] != made.json["server"]["id"]
    projects = [cloud.keystone.project_id(user) for user in (DEMO, ALT_DEMO)]
    assert cloud.owners(name) == sorted(projects)


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAAB" * 20])
def test_forged_identity_headers_are_no_credentials(token: str, cloud: Cloud) -> None:
    """And nothing is told about the client token, used or not."""
    name = unique()
    cloud.post(DEMO, name, name)
    forged = {header.decode(): "Confirmed" for header in IDENTITY_HEADERS}
    forged["X-Project-Id"] = cloud.keystone.project_id(DEMO)
    body = cloud.nova.server_body(name)
    answers = [
        cloud.front.call(
            "POST", SERVERS, body, token=token, client_token=client_token, headers=forged
        )
        for client_token in (name, unique())
    ]
    assert {answer.status for answer in answers} == {401}
    assert answers[0].body == answers[1].body
    assert not answers[0].header("Link")
    assert cloud.front.call("GET", f"{REQUESTS}/{name}", token=token, headers=forged).status == 401


def test_a_reader_makes_nothing(cloud: Cloud) -> None:
    """Nova's own 403 by policy, kept for this token like any final answer."""
    name = unique()
    refused, repeat = cloud.post(READER, name, name), cloud.post(READER, name, name)
    assert refused.status == repeat.status == 403
    assert refused.body == repeat.body
    assert repeat.header("Idempotent-Replayed") == "true"
    assert cloud.owners(name) == []
