"""The commands of docs/operations.md, as they stand there: RabbitMQ's, and the log's."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import subprocess
import sys
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


@pytest.mark.parametrize("logging_is_set_up", [False, True])
def test_what_the_page_looks_for_in_the_journal_is_there(
    tmp_path: Path, logging_is_set_up: bool
) -> None:
    """The journal gives every line of a unit's stderr the same priority."""
    sought = re.search(r"journalctl .* --grep '(.+)'$", PAGE.read_text(), re.MULTILINE)
    assert sought
    command = [sys.executable, "-m", "dedupd", "standalone", "--state-path", str(tmp_path)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}" if logging_is_set_up else "nowhere"
        settings = os.environ | {"OS_API__LISTEN": place}
        ended = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.search(sought[1], ended.stderr.splitlines()[-1])
