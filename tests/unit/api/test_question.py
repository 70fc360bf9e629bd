"""A token-tagged POST, understood: what tells it from others, and what a claim would keep."""

from __future__ import annotations

from typing import Any

import pytest

from dedupd import token
from dedupd.api import question
from dedupd.api.auth import Identity
from dedupd.api.question import Question
from dedupd.errors import BadRequest
from dedupd.exchange import header
from dedupd.ports import Stored
from dedupd.request import State
from dedupd.sealed import open_payload
from tests.unit.site import KEYPAIRS, KEYS, REGION, SERVERS

ALICE = Identity(user_id="alice", project_id="p1")
BODY = b'{ "server": {"name": "vm"} }'


def asked(
    *fields: tuple[bytes, bytes],
    path: str = SERVERS,
    query: str = "",
    body: bytes = BODY,
    identity: Identity = ALICE,
    client_token: str = "foo",
    client: Any = ("192.0.2.7", 1),
) -> Question:
    scope = {
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"nova"), (b"x-auth-token", b"t"), *fields],
        "client": client,
        "scheme": "https",
    }
    return question.read(scope, identity, client_token, body, key=KEYS.identity, region=REGION)


def test_its_id_is_that_of_token_and_project() -> None:
    assert asked().id == token.identify(KEYS.identity, REGION, "p1", "foo")
    assert asked().id == asked(path="/v2.1/x", body=b"").id
    assert asked().id != asked(client_token="bar").id
    assert asked().id != asked(identity=Identity("alice", "p2")).id


def test_a_claim_keeps_what_is_needed_and_no_value_in_the_open() -> None:
    record, payload = asked(path=SERVERS, query="a=%2F").draft(KEYS, 1000.0)
    assert (record.project_id, record.user_id, record.created_at) == ("p1", "alice", 1000.0)
    assert (record.route, record.path, record.state) == ("server create", SERVERS, State.QUEUED)
    assert record.parts.keys() == {"path", "microversion", "query", "server.name"}
    opened = open_payload(KEYS, Stored(record, payload))
    assert opened.call.method == "POST"
    assert opened.call.target == f"{SERVERS}?a=%2F"
    assert opened.call.body == BODY
    assert len(opened.seed) == 16
    assert b'"vm"' in BODY  # with its quotes: two letters alone are met by chance
    assert b'"vm"' not in payload


def test_no_two_claims_are_alike() -> None:
    (one, first), (other, second) = asked().draft(KEYS, 1.0), asked().draft(KEYS, 1.0)
    assert one.birth != other.birth
    seeds = {
        open_payload(KEYS, Stored(record, payload)).seed
        for record, payload in ((one, first), (other, second))
    }
    assert len(seeds) == 2


def kept(*fields: tuple[bytes, bytes], **more: Any) -> tuple[tuple[bytes, bytes], ...]:
    record, payload = asked(*fields, **more).draft(KEYS, 1.0)
    return open_payload(KEYS, Stored(record, payload)).call.headers


@pytest.mark.parametrize(
    "name",
    [
        *(b"x-client-token", b"idempotency-key", b"prefer", b"accept-encoding"),
        *(b"content-length", b"connection", b"transfer-encoding", b"expect"),
        *(b"x-project-id", b"x_user_id", b"x-roles"),
    ],
)
def test_what_is_not_for_nova_is_left_out(name: bytes) -> None:
    assert header(kept((name, b"1")), name) is None


@pytest.mark.parametrize(
    "name", [b"x-auth-token", b"host", b"accept", b"user-agent", b"openstack-api-version"]
)
def test_the_rest_is_not(name: bytes) -> None:
    fields = () if name in (b"x-auth-token", b"host") else ((name, b"compute 2.1"),)
    assert header(kept(*fields), name) is not None


def test_nova_learns_who_called() -> None:
    fields = kept((b"x-forwarded-for", b"198.51.100.1"))
    assert header(fields, b"x-forwarded-for") == b"198.51.100.1, 192.0.2.7"
    assert header(fields, b"x-forwarded-proto") == b"https"
    assert header(fields, b"x-forwarded-host") == b"nova"
    assert header(kept(client=None), b"x-forwarded-for") is None


def test_credentials_are_no_part_of_the_fingerprint() -> None:
    one = asked().fingerprint
    assert asked((b"x-service-token", b"s"), (b"user-agent", b"x")).fingerprint == one
    assert asked(identity=Identity("bob", "p1", ("admin",))).fingerprint == one
    assert asked((b"openstack-api-version", b"compute 2.2")).fingerprint != one


def test_what_nova_keeps_for_each_user_has_the_user_in_it() -> None:
    keypair = b'{"keypair": {"name": "kp"}}'
    alice = asked(path=KEYPAIRS, body=keypair).fingerprint
    bob = asked(path=KEYPAIRS, body=keypair, identity=Identity("bob", "p1")).fingerprint
    assert alice.digest != bob.digest


def test_a_header_that_would_reach_nova_as_another_is_refused() -> None:
    with pytest.raises(BadRequest, match="The value of the header x-foo is not UTF-8"):
        asked((b"x-foo", b"\xff")).draft(KEYS, 1.0)


@pytest.mark.parametrize("more", [{"body": b"{"}, {"path": KEYPAIRS, "body": b""}])
def test_a_body_that_cannot_be_read_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        asked(**more)
