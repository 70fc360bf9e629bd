"""A server that is deleted before dedupd could look for it: Nova has forgotten whose it was."""

import uuid

import pytest

from tests.conftest import StartStandalone
from tests.nova.cloud import Fault, RealNova, Row
from tests.nova.posts import SERVERS, Kind, Sender, at_once, wait_until

SETTINGS = {"nova.send_timeout": "2", "nova.settle_seconds": "4", "nova.retry_seconds": "30"}
KINDS = {"tagged": Kind("2.96"), "by metadata": Kind("2.1")}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_deleted_while_dedupd_was_dead(
    kind: Kind, real_nova: RealNova, start_standalone: StartStandalone
) -> None:
    sender = Sender(start_standalone(real_nova.url, SETTINGS), real_nova)
    name = unique()
    real_nova.faults(Fault("delay-after", path="/servers$", seconds=3))
    send_and_go(sender, kind, name)
    wait_until(lambda: real_nova.seen("POST"))
    sender.front.kill()
    delete(sender)
    real_nova.clear_faults()
    sender.front.start()
    check_unknown(sender, kind, name)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_deleted_while_nova_could_not_be_asked(
    kind: Kind, real_nova: RealNova, start_standalone: StartStandalone
) -> None:
    sender = Sender(start_standalone(real_nova.url, SETTINGS), real_nova)
    name = unique()
    real_nova.faults(
        Fault("503-after", path="/servers$"),
        Fault("503-before", method="GET", path="/servers/detail$", times=10**6),
    )
    send_and_go(sender, kind, name)
    delete(sender)
    real_nova.clear_faults()
    check_unknown(sender, kind, name)


def unique() -> str:
    return f"deleted-{uuid.uuid4().hex[:12]}"


def send_and_go(sender: Sender, kind: Kind, name: str) -> None:
    accepted = sender.post(kind, name, name, headers={"Prefer": "respond-async"})
    assert accepted.status == 202
    assert accepted.header("Preference-Applied") == "respond-async"


def delete(sender: Sender) -> None:
    """Wait for the project's one server, and delete it once it is out of the scheduler's hands.

    Nova keeps no trace at all of one that is deleted before that.
    """
    nova = sender.nova

    def listed() -> list[Row]:
        answer = nova.call("GET", SERVERS, token=sender.token)
        rows: list[Row] = answer.json["servers"]
        return rows

    wait_until(listed)
    identifier = listed()[0]["id"]
    nova.wait_for_server(identifier)
    nova.delete_server(identifier)


def check_unknown(sender: Sender, kind: Kind, name: str) -> None:
    """Every repeat is told so, and nothing was sent again."""
    answers = [sender.post(kind, name, name)]
    answers += at_once(lambda _: sender.post(kind, name, name), range(3))
    assert {answer.status for answer in answers} == {502}
    assert {answer.header("Idempotency-Status") for answer in answers} == {"unknown"}
    message = answers[0].json["badGateway"]["message"]
    assert "made since and deleted" in message
    assert sender.nova.seen("POST") == []
    assert sender.names() == []
    assert sender.deleted() == [name]
