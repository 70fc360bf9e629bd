"""Keypairs of a real Nova: whose they are, and that one that was there before is left alone."""

import dataclasses
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.front import Front
from tests.nova.call import Answer
from tests.nova.cloud import ADMIN, Fault, RealNova, Row
from tests.nova.conftest import StartFront
from tests.nova.posts import KEYPAIRS, Kind, Sender, at_once, fits, public_key, wait_until

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


def test_a_certificate_whose_answer_is_lost_stays_unknown(
    real_nova: RealNova, start_front: StartFront
) -> None:
    """Nova makes its private key, and nobody can have that again; it is not deleted either."""
    patient = Sender(start_front(real_nova.url, {"nova.send_timeout": "60"}), real_nova)
    hasty = {"nova.send_timeout": "2", "nova.settle_seconds": "1", "nova.retry_seconds": "1"}
    sender = dataclasses.replace(patient, front=start_front(real_nova.url, hasty))
    heard, lost = unique(), unique()
    kind = Kind("2.2", KEYPAIRS, {"type": "x509"})
    made, repeat = patient.post(kind, heard, heard), patient.post(kind, heard, heard)
    assert made.status == 201
    assert made.body == repeat.body
    assert made.json["keypair"]["private_key"]
    real_nova.faults(Fault("503-after", path="/os-keypairs$"))
    answer = sender.post(kind, lost, lost)
    assert (answer.status, answer.header("Idempotency-Status")) == (502, "unknown")
    assert lost in json.dumps(answer.json)
    assert sorted(sender.names()) == sorted([heard, lost])
    assert "DELETE" not in [verb for verb, _ in real_nova.seen()]
    real_nova.delete_keypairs(sender.user)


def test_one_that_somebody_makes_meanwhile_is_left_alone(sender: Sender) -> None:
    """Under the same name, by hand, before a lost POST is sent again."""
    name = unique()
    sender.nova.faults(Fault("drop-before", path="/os-keypairs$"))
    with ThreadPoolExecutor() as threads:
        posting = threads.submit(sender.post, GENERATED, name, name)
        wait_until(lambda: sender.nova.seen("POST"))
        fingerprint = make(sender, name)
        answer = posting.result()
    assert answer.status == 409
    rows = sender.nova.keypairs(sender.user)
    assert [(row["name"], row["fingerprint"]) for row in rows] == [(name, fingerprint)]
    assert "DELETE" not in [verb for verb, _ in sender.nova.seen()]


@pytest.mark.parametrize("kind", [Kind(None, KEYPAIRS), GENERATED, Kind("2.91", KEYPAIRS)])
def test_it_is_told_as_nova_tells_of_one_that_it_has_generated(kind: Kind, sender: Sender) -> None:
    drawn = sender.post(kind, unique(), unique())
    generated = sender.post(kind, unique(), None)
    assert (drawn.status, sender.form(drawn).body) == (
        generated.status,
        sender.form(generated).body,
    )


def test_from_292_on_nova_refuses(sender: Sender) -> None:
    name = unique()
    answer = sender.post(Kind("2.92", KEYPAIRS), name, name)
    assert answer.status == 400
    assert "public_key" in answer.json["badRequest"]["message"]
    assert sender.names() == []


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_the_private_key_fits_whatever_is_lost(sender: Sender, fault: str | None) -> None:
    name = unique()
    if fault is not None:
        sender.nova.faults(Fault(fault, path="/os-keypairs$"))
    made, repeat = sender.post(GENERATED, name, name), sender.post(GENERATED, name, name)
    assert made.status == 201
    assert made.body == repeat.body
    [row] = sender.nova.keypairs(sender.user)
    assert fits(made.json["keypair"]["private_key"], row["public_key"])
    assert "DELETE" not in [verb for verb, _ in sender.nova.seen()]


@pytest.fixture(autouse=True)
def _leave_no_keypairs(sender: Sender) -> Iterator[None]:
    yield
    sender.nova.clear_faults()
    sender.nova.delete_keypairs(sender.user)
