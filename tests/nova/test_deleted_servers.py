"""A server that is deleted before dedupd could look for it: Nova has forgotten whose it was."""

import uuid

import pytest

from tests.nova.cloud import Fault, RealNova, Row
from tests.nova.conftest import StartFront
from tests.nova.posts import SERVERS, Kind, Sender, at_once, wait_until

SETTINGS = {"nova.send_timeout": "2", "nova.settle_seconds": "4", "nova.retry_seconds": "30"}
KINDS = (Kind("2.96"), Kind("2.1"))
"""Found by its tag, and by its metadata."""


@pytest.fixture
def sender(real_nova: RealNova, start_front: StartFront) -> Sender:
    return Sender(start_front(real_nova.url, SETTINGS), real_nova)


def test_deleted_while_dedupd_was_dead(sender: Sender) -> None:
    names = {unique(): kind for kind in KINDS}
    sender.nova.faults(Fault("delay-after", path="/servers$", times=len(names), seconds=3))
    send_and_go(sender, names)
    wait_until(lambda: len(sender.nova.seen("POST")) == len(names))
    sender.front.kill()
    delete_all(sender, len(names))
    sender.nova.clear_faults()
    sender.front.start()
    check_unknown(sender, names)


def test_deleted_while_nova_could_not_be_asked(sender: Sender) -> None:
    names = {unique(): kind for kind in KINDS}
    sender.nova.faults(
        Fault("503-after", path="/servers$", times=len(names)),
        Fault("503-before", method="GET", path="/servers/detail$", times=10**6),
    )
    send_and_go(sender, names)
    delete_all(sender, len(names))
    sender.nova.clear_faults()
    check_unknown(sender, names)


def unique() -> str:
    return f"deleted-{uuid.uuid4().hex[:12]}"


def send_and_go(sender: Sender, names: dict[str, Kind]) -> None:
    for name, kind in names.items():
        accepted = sender.post(kind, name, name, headers={"Prefer": "respond-async"})
        assert accepted.status == 202
        assert accepted.header("Preference-Applied") == "respond-async"


def delete_all(sender: Sender, count: int) -> None:
    """Wait for the project's servers, and delete each once it is out of the scheduler's hands.

    Nova keeps no trace at all of one that is deleted before that.
    """
    nova = sender.nova

    def listed() -> list[str]:
        rows: list[Row] = nova.call("GET", SERVERS, token=sender.token).json["servers"]
        return [str(row["id"]) for row in rows]

    wait_until(lambda: len(listed()) == count)
    for identifier in listed():
        nova.wait_for_server(identifier)
        nova.delete_server(identifier)


def check_unknown(sender: Sender, names: dict[str, Kind]) -> None:
    """Every repeat is told so, and nothing was sent again."""
    for _ in range(2):
        answers = at_once(lambda name: sender.post(names[name], name, name), names)
        assert {answer.status for answer in answers} == {502}
        assert {answer.header("Idempotency-Status") for answer in answers} == {"unknown"}
        for answer in answers:
            assert "made since and deleted" in answer.json["badGateway"]["message"]
    assert sender.nova.seen("POST") == []
    assert sender.names() == []
    assert sorted(sender.deleted()) == sorted(names)
