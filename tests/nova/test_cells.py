"""What Nova tells of a cell that is down: all that dedupd goes by when it has found nothing."""

import contextlib
import sqlite3
import uuid

import pytest

from tests.nova.cloud import DEMO, Options, RealNova, Row
from tests.nova.conftest import StartNova

MICROVERSION = "2.69"
"""That of the look-ups."""

PAGE = 2


@pytest.fixture
def nova(start_nova: StartNova) -> RealNova:
    """One that lists few servers at once."""
    return start_nova(Options(settings={"api.max_limit": str(PAGE)}))


def test_a_full_page_has_no_room_for_what_is_hidden(nova: RealNova) -> None:
    created = create(nova)
    nova.wait_for_server(created)
    assert "servers_links" not in bare(nova)
    assert {row["status"] for row in services(nova)} == {"enabled"}
    lose_the_cell(nova)
    told = bare(nova)
    (hidden,) = told["servers"]
    assert sorted(hidden) == [
        "created",
        "id",
        "links",
        "security_groups",
        "status",
        "tenant_id",
    ]
    assert (hidden["id"], hidden["status"]) == (created, "UNKNOWN")
    assert "servers_links" not in told
    down = [row for row in services(nova) if row["status"] == "UNKNOWN"]
    assert [sorted(row) for row in down] == [["binary", "host", "status"]]
    waiting = {create(nova) for _ in range(PAGE)}
    told = bare(nova)
    assert {row["id"] for row in told["servers"]} == waiting
    assert [link["rel"] for link in told["servers_links"]] == ["next"]


def test_services_are_told_to_administrators_only(real_nova: RealNova) -> None:
    answer = real_nova.call("GET", "/v2.1/os-services", token=DEMO, microversion=MICROVERSION)
    assert answer.status == 403


def create(nova: RealNova) -> str:
    body = nova.server_body(f"cells-{uuid.uuid4().hex[:12]}")
    answer = nova.call("POST", "/v2.1/servers", body)
    assert answer.status == 202, answer
    return str(answer.json["server"]["id"])


def bare(nova: RealNova) -> Row:
    answer = nova.call("GET", "/v2.1/servers/detail", microversion=MICROVERSION)
    assert answer.status == 200, answer
    return dict(answer.json)


def services(nova: RealNova) -> list[Row]:
    answer = nova.call("GET", "/v2.1/os-services", token=nova.admin, microversion=MICROVERSION)
    assert answer.status == 200, answer
    return list(answer.json["services"])


def lose_the_cell(nova: RealNova) -> None:
    """Nova's questions to the cell's database fail from now on."""
    database = nova._program.directory / "nova_cell1.sqlite"
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        for table in ("instances", "services"):
            connection.execute(f"ALTER TABLE {table} RENAME TO lost_{table}")
        connection.commit()
