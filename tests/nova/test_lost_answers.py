"""Whatever happens to the answer of a create, one effect is left, and the caller gets the answer.

Each test sends one POST of every kind at once, loses what it says of all of them, and counts in
Nova itself.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.integration.front import Front
from tests.nova.call import Answer
from tests.nova.cloud import ADMIN, Fault, RealNova
from tests.nova.conftest import ONE_PROCESS, SERVICES, StartArranged
from tests.nova.posts import (
    KEYPAIR_KINDS,
    KINDS,
    SERVER_KINDS,
    Form,
    Sender,
    fits,
    replayed,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)
"""Seconds: Nova carries twenty requests out at once here, and each may be looked for in it."""

HOLD_SECONDS = 150
"""For as long a caller is held: one create has taken a minute there, beside other work."""

AFTER = ("drop-after", "503-after", "500-after", "delay-after")
BEFORE = ("drop-before", "503-before")
REQUEST_IDS = ("x-openstack-request-id", "x-compute-request-id")
PACED = {
    "api.hold_seconds": f"{HOLD_SECONDS}",
    "nova.connect_timeout": "2",
    "nova.send_timeout": "12",
    "nova.settle_seconds": "12",
}
"""Seconds for which an answer is waited for, and for which what was sent may take to settle."""

WORKERS = {ONE_PROCESS: 1, SERVICES: 2}

TOGETHER = 4
"""How many are sent at once, by all workers. This Nova is one process, which on a busy machine
takes seconds for each create: twelve together took it longer than they had to settle."""

DELAY = 15.0
"""Seconds: more than send_timeout."""

SERVICE_USER = {
    "service_user.auth_type": "admin_token",
    "service_user.endpoint": "http://127.0.0.1:9",
    "service_user.token": ADMIN,
}


ARRANGED = {
    "one process, caller alone": (ONE_PROCESS, {}),
    "one process, service user": (ONE_PROCESS, SERVICE_USER),
    "services, service user": (SERVICES, SERVICE_USER),
}


@pytest.fixture(scope="module", params=ARRANGED.values(), ids=list(ARRANGED))
def front(
    request: pytest.FixtureRequest, _worker_nova: RealNova, start_arranged_for_module: StartArranged
) -> Front:
    """One that gives an answer up after a while, and then believes that nothing is coming."""
    arrangement, settings = request.param
    in_flight = {"nova.max_in_flight": f"{TOGETHER // WORKERS[arrangement]}"}
    return start_arranged_for_module(arrangement, _worker_nova.url, settings | PACED | in_flight)


@pytest.fixture
def sender(front: Front, real_nova: RealNova) -> Iterator[Sender]:
    sender = Sender(front, real_nova, seconds=HOLD_SECONDS + 10.0)
    yield sender
    sender.clean_up()


@pytest.fixture(scope="module")
def usual(_worker_nova: RealNova, start_arranged_for_module: StartArranged) -> dict[str, Form]:
    """The form of every kind's answer when nothing is lost, however long Nova takes."""
    patience = {"nova.send_timeout": "100", "api.hold_seconds": f"{HOLD_SECONDS}"}
    patient = start_arranged_for_module(ONE_PROCESS, _worker_nova.url, patience)
    sender = Sender(patient, _worker_nova, seconds=HOLD_SECONDS + 10.0)
    answers = sender.post_all(KINDS, f"usual-{uuid.uuid4().hex[:8]}-")
    sender.clean_up()
    return {kind: sender.form(answer) for kind, answer in answers.items()}


def faults(kind: str) -> list[Fault]:
    """It happens to the first POST of every kind."""
    return [
        Fault(kind, path="/servers$", times=len(SERVER_KINDS), seconds=DELAY),
        Fault(kind, path="/os-keypairs$", times=len(KEYPAIR_KINDS), seconds=DELAY),
    ]


@pytest.mark.parametrize("fault", [*AFTER, *BEFORE])
def test_one_effect_and_the_answer_that_was_lost(
    fault: str, sender: Sender, real_nova: RealNova, usual: dict[str, Form]
) -> None:
    real_nova.faults(*faults(fault))
    prefix = f"lost-{uuid.uuid4().hex[:8]}-"
    answers = sender.post_all(KINDS, prefix)
    for name, answer in answers.items():
        adopted = was_adopted(sender, f"{prefix}{list(KINDS).index(name)}")
        assert adopted or fault in BEFORE
        lost = adopted and KINDS[name].makes_keypair
        assert sender.form(answer) == expected(usual[name], lost=lost), name
    check_sent(real_nova, again=fault in BEFORE)
    check_effects(sender, prefix)
    check_secrets(sender, answers)
    if fault in AFTER:
        check_lost(real_nova, answers)
    check_repeats(sender, prefix, answers)


def test_killed_while_nova_works(
    sender: Sender, real_nova: RealNova, usual: dict[str, Form]
) -> None:
    """Started again, dedupd finds what became of each, and whoever repeats gets that answer."""
    real_nova.faults(*faults("delay-after"))
    prefix = f"killed-{uuid.uuid4().hex[:8]}-"
    accepted = sender.post_all(KINDS, prefix, {"Prefer": "respond-async"})
    assert {answer.status for answer in accepted.values()} == {202}
    wait_until(lambda: len(real_nova.seen("POST")) >= len(KINDS), seconds=HOLD_SECONDS)
    sender.front.restart()
    answers = sender.post_all(KINDS, prefix)
    for name, answer in answers.items():
        assert answer.header("Idempotent-Replayed") == "true"
        form = sender.form(answer)
        assert (form.status, form.body) == (usual[name].status, usual[name].body), name
    check_sent(real_nova, again=False)
    check_effects(sender, prefix)
    check_secrets(sender, answers)
    check_lost(real_nova, answers)


def expected(usual: Form, *, lost: bool) -> Form:
    """Nova tells nobody the request id of a keypair's create, so a lost one stays lost."""
    return usual.without(REQUEST_IDS) if lost else usual


def was_adopted(sender: Sender, client_token: str) -> bool:
    """Whether the answer was put together from what is in Nova.

    A second POST may be answered too late on a busy machine, though nothing befell it.
    """
    path = f"/dedupd/v1/requests/{client_token}"
    record = sender.front.call("GET", path, token=sender.token).json["request"]
    return "adopted" in [attempt["outcome"] for attempt in record["attempts"]]


def check_sent(nova: RealNova, *, again: bool) -> None:
    """What went to Nova: each POST once more where it had no effect; and nothing is deleted."""
    verbs = [(verb, path.rpartition("/")[2]) for verb, path in nova.seen()]
    times = 2 if again else 1
    assert verbs.count(("POST", "servers")) == len(SERVER_KINDS) * times
    assert verbs.count(("POST", "os-keypairs")) == len(KEYPAIR_KINDS) * times
    assert "DELETE" not in [verb for verb, _ in verbs]


def check_effects(sender: Sender, prefix: str) -> None:
    """Each name is there once, or numbered as often as was asked for, and was never there else."""
    expected = []
    for number, kind in enumerate(KINDS.values()):
        name = f"{prefix}{number}"
        several = [f"{name}-{place}" for place in range(1, kind.effects + 1)]
        expected += several if kind.effects > 1 else [name]
    assert sender.names() == sorted(expected)
    assert sender.deleted() == []


def check_secrets(sender: Sender, answers: dict[str, Answer]) -> None:
    """Passwords and private keys are there, and a private key is that of the keypair in Nova."""
    in_nova = {row["name"]: row for row in sender.nova.keypairs(sender.user)}
    for name, kind in KINDS.items():
        body = answers[name].json
        if kind.generates_key:
            made = body["keypair"]
            assert fits(made["private_key"], in_nova[made["name"]]["public_key"]), name
            assert made["fingerprint"] == in_nova[made["name"]]["fingerprint"]
        elif "server" in body and "adminPass" in kind.more:
            assert body["server"]["adminPass"] == kind.more["adminPass"]


def check_lost(nova: RealNova, answers: dict[str, Answer]) -> None:
    """Each is the very answer that was lost, adminPass included; but for a private key, which
    dedupd has drawn and Nova is never told."""
    lost = nova.lost()
    for name, answer in answers.items():
        assert (answer.body.decode() in lost) is not KINDS[name].generates_key, name


def check_repeats(sender: Sender, prefix: str, answers: dict[str, Answer]) -> None:
    """Every repeat gets the same, byte for byte."""
    first, second = sender.post_all(KINDS, prefix), sender.post_all(KINDS, prefix)
    for name, answer in answers.items():
        assert first[name].body == answer.body
        assert replayed(first[name]) == replayed(second[name])
        request_id = answer.header("X-Openstack-Request-Id")
        assert first[name].header("X-Openstack-Original-Request-Id") == request_id
