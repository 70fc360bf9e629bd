"""Keypairs of a real Nova: whose they are, and that one that was there before is left alone."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.front import Front
from tests.nova.call import Answer
from tests.nova.cloud import ADMIN, Fault, RealNova, Row
from tests.nova.conftest import StartFront
from tests.nova.posts import KEYPAIRS, Kind, Sender, at_once, fits, public_key

GENERATED = Kind("2.2", KEYPAIRS)
IMPORTED = Kind("2.92", KEYPAIRS, {"public_key": public_key()})


@pytest.fixture(scope="module")
def front(_worker_nova: RealNova, start_front_for_module: StartFront) -> Front:
    settings = {"nova.connect_timeout": "1", "nova.send_timeout": "5", "nova.settle_seconds": "3"}
    return start_front_for_module(_worker_nova.url, settings)


@pytest.fixture
def sender(front: Front, real_nova: RealNova) -> Sender:
    return Sender(front, real_nova)


def unique() -> str:
    return f"key-{uuid.uuid4().hex[:12]}"


KINDS = [GENERATED, IMPORTED]
FAULTS = ["503-after", "drop-after", "drop-before"]


def test_those_that_existed_before_are_left_alone(sender: Sender) -> None:
    """Also where Nova's 409 is lost: what was there is never taken for what was sent."""
    named = {unique(): kind for kind in KINDS for _ in [None, *FAULTS]}
    before = {name: make(sender, name) for name in named}
    sender.nova.faults(*(Fault(fault, path="/os-keypairs$", times=len(KINDS)) for fault in FAULTS))

    def post(name: str) -> Answer:
        return sender.post(named[name], name, name)

    answers, repeats = at_once(post, named), at_once(post, named)
    assert {answer.status for answer in answers} == {409}
    for name, answer, repeat in zip(named, answers, repeats, strict=True):
        message = answer.json["conflictingRequest"]["message"]
        assert message == f"Key pair '{name}' already exists."
        assert repeat.body == answer.body
    rows = sender.nova.keypairs(sender.user)
    assert {row["name"]: row["fingerprint"] for row in rows} == before
    verbs = [verb for verb, _ in sender.nova.seen()]
    assert "DELETE" not in verbs
    assert verbs.count("POST") == len(named) + len(KINDS) * len(FAULTS)


def make(sender: Sender, name: str) -> str:
    """Import a key of its own, past dedupd; its fingerprint."""
    body = {"keypair": {"name": name, "public_key": public_key()}}
    made = sender.nova.call("POST", KEYPAIRS, body, token=sender.token)
    return str(made.json["keypair"]["fingerprint"])


def test_another_user_of_the_project_gets_none(sender: Sender) -> None:
    """Nova keeps keypairs by user: the same request is another one from somebody else."""
    name = unique()
    sender.post(GENERATED, name, name)
    colleague = Sender(sender.front, sender.nova, project=sender.project)
    refused = colleague.post(GENERATED, name, name)
    assert refused.status == 422
    assert "user" in refused.json["unprocessableEntity"]["message"]
    assert "private" not in refused.body.decode()
    assert sender.names() == [name]
    assert colleague.names() == []


@pytest.mark.parametrize("generated", [True, False])
def test_one_that_an_administrator_makes_for_somebody(generated: bool, sender: Sender) -> None:
    nova, name = sender.nova, unique()
    more: Row = {} if generated else {"public_key": public_key()}
    body = {"keypair": {"name": name, "user_id": sender.user, **more}}
    nova.faults(Fault("503-after", path="/os-keypairs$"))

    def post() -> Answer:
        return sender.front.call(
            "POST", KEYPAIRS, body, token=ADMIN, client_token=name, microversion="2.10"
        )

    made, repeat = post(), post()
    assert made.status == 201
    assert made.body == repeat.body
    keypair = made.json["keypair"]
    assert keypair["user_id"] == sender.user
    [in_nova] = nova.keypairs(sender.user)
    assert in_nova["fingerprint"] == keypair["fingerprint"]
    assert not generated or fits(keypair["private_key"], in_nova["public_key"])
    assert name not in {row["name"] for row in nova.keypairs(ADMIN)}


def test_a_certificate(sender: Sender) -> None:
    """Its private key, too, is in the answer only, so that it is made anew."""
    nova, name = sender.nova, unique()
    kind = Kind("2.2", KEYPAIRS, {"type": "x509"})
    nova.faults(Fault("drop-after", path="/os-keypairs$"))
    made, repeat = sender.post(kind, name, name), sender.post(kind, name, name)
    assert made.status == 201
    assert made.body == repeat.body
    keypair: dict[str, Any] = made.json["keypair"]
    assert keypair["private_key"]
    assert [row["fingerprint"] for row in nova.keypairs(sender.user)] == [keypair["fingerprint"]]


def test_one_that_may_not_be_deleted_stays_unknown(
    real_nova: RealNova, start_front: StartFront
) -> None:
    """Its private key is lost and it cannot be made anew: nobody is told that all is well."""
    settings = {"nova.send_timeout": "2", "nova.settle_seconds": "1", "nova.retry_seconds": "1"}
    sender = Sender(start_front(real_nova.url, settings), real_nova)
    name = unique()
    forbidden = Fault("403-before", method="DELETE", path="/os-keypairs/", times=1000)
    real_nova.faults(Fault("503-after", path="/os-keypairs$"), forbidden)
    answer = sender.post(GENERATED, name, name)
    assert (answer.status, answer.header("Idempotency-Status")) == (502, "unknown")
    assert name in json.dumps(answer.json)
    assert sender.names() == [name]
    assert real_nova.seen("POST") == [("POST", KEYPAIRS)]


@pytest.fixture(autouse=True)
def _leave_no_keypairs(sender: Sender) -> Iterator[None]:
    yield
    sender.nova.clear_faults()
    sender.nova.delete_keypairs(sender.user)
