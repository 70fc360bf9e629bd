"""A server that is deleted before dedupd could look for it: Nova has forgotten whose it was."""

import time
import uuid
from collections.abc import Callable

import pytest

from tests.conftest import StartStandalone
from tests.integration.standalone import Standalone
from tests.nova.cloud import Fault, RealNova
from tests.nova.posts import SERVERS, Kind, Sender, at_once

SECONDS = 30.0
_POLL_SECONDS = 0.05
SETTINGS = {"nova.send_timeout": "2", "nova.settle_seconds": "4"}


def wait_until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {SECONDS} s"
        time.sleep(_POLL_SECONDS)


@pytest.mark.parametrize("microversion", ["2.1", "2.96"])
@pytest.mark.parametrize("killed", [True, False], ids=["while dedupd is dead", "while it looks"])
def test_its_outcome_is_unknown_and_it_is_not_made_again(
    microversion: str, killed: bool, real_nova: RealNova, start_standalone: StartStandalone
) -> None:
    nova, front = real_nova, start_standalone(real_nova.url, SETTINGS)
    sender = Sender(front, nova)
    name = f"deleted-{uuid.uuid4().hex[:12]}"
    kind = Kind(microversion)
    hidden = Fault("503-before", method="GET", path="/servers/detail$", times=10**6)
    nova.faults(Fault("503-after", path="/servers$"), hidden)
    accepted = front.call(
        "POST",
        SERVERS,
        nova.server_body(name),
        token=sender.token,
        client_token=name,
        microversion=microversion,
        headers={"Prefer": "respond-async"},
    )
    assert accepted.status == 202
    delete_meanwhile(nova, front if killed else None, sender.token)
    answers = [sender.post(kind, name, name), *at_once(sender_post(sender, kind), [name] * 3)]
    assert {answer.status for answer in answers} == {502}
    assert {answer.header("Idempotency-Status") for answer in answers} == {"unknown"}
    assert nova.seen("POST") == []
    assert sender.names() == []
    assert sender.deleted() == [name]


def sender_post(sender: Sender, kind: Kind) -> Callable[[str], object]:
    return lambda name: sender.post(kind, name, name)
