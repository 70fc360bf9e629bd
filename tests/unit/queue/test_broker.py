from __future__ import annotations

from collections.abc import Iterator

import pytest

from dedupd.queue.broker import Broker, private_memory
from tests.contract.queues import request_id

GOOD = request_id(1)


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker("memory://", "dedupd", private_memory())
    yield broker
    broker.close()


@pytest.mark.parametrize(
    "body",
    ["", "x", GOOD[:-1], GOOD + "0", GOOD.upper().replace("0", "A"), GOOD + "\n", "ü" * 32]
    + [b"\xff" * 32, "g" * 32, '{"id": 1}'],
)
def test_a_message_that_is_no_id_is_dropped_and_logged(
    broker: Broker, body: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, arrived = broker.perform(
        [(Broker.publish, body, None), (Broker.publish, GOOD, None), (Broker.consume, 1, None)]
    )
    assert [id_ for id_, _ in arrived] == [GOOD]
    assert "queue dedupd: a message is no request's id, dropped" in caplog.text
    broker.close()
    assert waiting(broker) == [GOOD]


def waiting(broker: Broker) -> list[str]:
    """What the transport holds for the next connection."""
    transport = broker._connection.transport_cls
    return [message["body"] for message in transport.Channel.queues["dedupd"].queue]


def test_a_long_message_is_not_logged_whole(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.perform([(Broker.publish, "x" * 100_000, None), (Broker.consume, 1, None)])
    assert len(caplog.text) < 500


def test_an_id_as_bytes_is_an_id(broker: Broker) -> None:
    _, arrived = broker.perform([(Broker.publish, GOOD.encode(), None), (Broker.consume, 1, None)])
    assert [id_ for id_, _ in arrived] == [GOOD]


def test_private_transports_share_nothing_and_one_shares_all() -> None:
    transport = private_memory()
    one, same = (Broker("memory://", "dedupd", transport) for _ in range(2))
    other = Broker("memory://", "dedupd", private_memory())
    one.perform([(Broker.publish, GOOD, None)])
    assert same.perform([(Broker.consume, 1, None)])[1]
    assert not other.perform([(Broker.consume, 1, None)])[1]
    for broker in (one, same, other):
        broker.close()


def test_what_one_connection_did_not_acknowledge_goes_to_the_next() -> None:
    transport = private_memory()
    first = Broker("memory://", "dedupd", transport)
    publishing = [(Broker.publish, request_id(number), None) for number in range(3)]
    _, arrived = first.perform([*publishing, (Broker.consume, 2, None)])
    first.perform([(Broker.acknowledge, arrived[0][1], None), (Broker.cancel, None, None)])
    first.close()
    second = Broker("memory://", "dedupd", transport)
    _, again = second.perform([(Broker.consume, 3, None)])
    assert {id_ for id_, _ in again} == {request_id(1), request_id(2)}
    second.close()
