from __future__ import annotations

from collections.abc import Iterator

import pytest

from dedupd.queue.broker import Broker, Command, private_memory
from tests.contract.queues import request_id

GOOD = request_id(1)
NO_IDS = ["", "x", GOOD[:-1], GOOD + "0", "A" * 32, "g" * 32, GOOD + "\n", "ü" * 32, b"\xff" * 32]


@pytest.fixture
def transport() -> type:
    return private_memory()


@pytest.fixture
def broker(transport: type) -> Iterator[Broker]:
    broker = Broker("memory://", "dedupd", transport)
    yield broker
    broker.close()


def taken(broker: Broker, *bodies: str | bytes) -> list[str]:
    """The ids that arrive when there is room for one, after these bodies were published."""
    publishing: list[Command] = [(Broker.publish, (body, None), None) for body in bodies]
    _, arrived = broker.perform([*publishing, (Broker.consume, 1, None)])
    return [id_ for id_, _, _ in arrived]


@pytest.mark.parametrize("body", NO_IDS)
def test_a_message_that_is_no_id_is_dropped_and_logged(
    broker: Broker, transport: type, body: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert taken(broker, body, GOOD) == [GOOD]
    assert "queue dedupd: a message is no request's id, dropped" in caplog.text
    caplog.clear()
    broker.close()
    assert taken(Broker("memory://", "dedupd", transport)) == [GOOD]
    assert not caplog.text


def test_a_long_message_is_not_logged_whole(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    taken(broker, "x" * 100_000)
    assert len(caplog.text) < 500


def test_an_id_as_bytes_is_an_id(broker: Broker) -> None:
    assert taken(broker, GOOD.encode()) == [GOOD]


def test_brokers_share_their_messages_only_through_one_transport() -> None:
    one = private_memory()
    first, same = Broker("memory://", "dedupd", one), Broker("memory://", "dedupd", one)
    other = Broker("memory://", "dedupd", private_memory())
    first.perform([(Broker.publish, (GOOD, None), None)])
    assert not taken(other)
    assert taken(same) == [GOOD]
    for broker in (first, same, other):
        broker.close()


def test_what_one_connection_did_not_acknowledge_goes_to_the_next(
    broker: Broker, transport: type
) -> None:
    publishing: list[Command] = [
        (Broker.publish, (request_id(number), None), None) for number in range(3)
    ]
    _, arrived = broker.perform([*publishing, (Broker.consume, 2, None)])
    broker.perform([(Broker.acknowledge, arrived[0][2], None), (Broker.cancel, None, None)])
    broker.close()
    second = Broker("memory://", "dedupd", transport)
    _, again = second.perform([(Broker.consume, 3, None)])
    assert {id_ for id_, _, _ in again} == {request_id(1), request_id(2)}
    second.close()
