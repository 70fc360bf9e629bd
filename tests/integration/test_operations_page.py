"""The commands of docs/operations.md for RabbitMQ, as they stand there."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.queues import Inbox, queue_at, request_id
from tests.engines.rabbitmq import PASSWORD, RabbitMQ
from tests.integration.site import wait_until

pytestmark = pytest.mark.timeout(300)
"""Seconds: RabbitMQ has that long to start on a machine that is busy with other tests."""

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
PERSON = "operator"
"""In the place of the page's user, whose name is taken in the RabbitMQ of the tests."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


def commands(heading: str) -> list[list[str]]:
    """The arguments of every rabbitmqctl in the examples of a section."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^    rabbitmqctl (.+)$", section, re.MULTILINE)
    told = [re.sub(r"(add_user|--vhost dedupd) dedupd\b", rf"\1 {PERSON}", line) for line in lines]
    return [
        shlex.split(line.replace("$PASSWORD", PASSWORD), comments=True, posix=True) for line in told
    ]


async def test_whom_the_page_permits_may_do_all_that_dedupd_does_and_no_more(
    broker: RabbitMQ,
) -> None:
    for command in (setting_up := commands("RabbitMQ")):
        broker.control(*command)
    assert [command[0] for command in setting_up] == ["add_vhost", "add_user", "set_permissions"]
    url = f"amqp://{PERSON}:{PASSWORD}@127.0.0.1:{broker.port}/dedupd"
    queue, inbox = queue_at(url, name="dedupd"), Inbox(acknowledge=True)
    await queue.open()
    await queue.consume(inbox, 1)
    await queue.publish(request_id(1))
    assert await inbox.until(1) == [request_id(1)]
    [listing] = commands("At three in the morning")
    row = "dedupd\tquorum\t0\t1"  # RabbitMQ counts anew every 5 s
    await asyncio.to_thread(wait_until, lambda: row in broker.control(*listing).splitlines())
    await queue.close()
    permitted = broker.control("list_user_permissions", PERSON)
    assert [row.split("\t")[0] for row in permitted.splitlines()[1:]] == ["dedupd"]
