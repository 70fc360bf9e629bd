"""What counts in the query of GET /servers, for whom, since when: the measured facts."""

from urllib.parse import quote

import pytest

from tests.unit.sim.client import ADMIN, MEMBER, Client

EVERY = ["fab", "fa"]


@pytest.fixture
def client() -> Client:
    client = Client()
    client.create("fa", tags=["t1", "t2"], metadata={"k": "v"})
    client.create("fab", tags=["t1"])
    return client


METADATA = "metadata=" + quote('{"k":"v"}')


@pytest.mark.parametrize(
    ("token", "query", "version", "expected"),
    [
        (MEMBER, METADATA, "2.1", EVERY),
        (MEMBER, METADATA, "2.96", EVERY),
        (ADMIN, METADATA, "2.1", 400),
        (ADMIN, METADATA, "2.96", 400),
        (MEMBER, "tags=t2", "2.25", EVERY),
        (ADMIN, "tags=t2", "2.25", EVERY),
        (MEMBER, "tags=t2", "2.26", ["fa"]),
        (MEMBER, "tags-any=t2,x", "2.26", ["fa"]),
        (MEMBER, "not-tags=t1,t2", "2.26", ["fab"]),
        (MEMBER, "not-tags-any=t2,x", "2.26", ["fab"]),
        (MEMBER, "name=^fa$", "2.1", ["fa"]),
        (MEMBER, "name=fa", "2.96", EVERY),
        (MEMBER, "name=FA", "2.96", []),
        (MEMBER, "uuid=x", "2.96", EVERY),
        (MEMBER, "description=x", "2.96", EVERY),
        (MEMBER, "host=x", "2.96", EVERY),
        (ADMIN, "uuid=x", "2.1", []),
        (ADMIN, "description=x", "2.96", EVERY),
        (ADMIN, "host=x", "2.1", []),
        (MEMBER, "foo=1", "2.74", EVERY),
        (MEMBER, "foo=1", "2.75", 400),
        (ADMIN, "foo=1", "2.74", EVERY),
        (ADMIN, "foo=1", "2.75", 400),
        (MEMBER, "_x=1", "2.96", EVERY),
        (ADMIN, "_x=1", "2.96", 400),
        (MEMBER, "user_id=x", "2.82", EVERY),
        (MEMBER, "user_id=x", "2.83", []),
        (MEMBER, "hostname=x", "2.89", EVERY),
        (MEMBER, "hostname=x", "2.90", []),
        (MEMBER, "ip6=x", "2.4", EVERY),
        (MEMBER, "ip6=x", "2.5", []),
        (MEMBER, "changes-before=2020-01-01T00:00:00Z", "2.65", EVERY),
        (MEMBER, "changes-before=2020-01-01T00:00:00Z", "2.66", []),
        (MEMBER, "locked=x", "2.72", EVERY),
        (MEMBER, "locked=x", "2.73", 400),
        (MEMBER, "locked=true", "2.73", []),
        (MEMBER, "locked=no", "2.73", EVERY),
        (MEMBER, "deleted=1", "2.96", EVERY),
        (ADMIN, "deleted=1", "2.96", []),
        (MEMBER, "name=[", "2.96", 400),
        (MEMBER, "name=", "2.96", 400),
        (MEMBER, "limit=-1", "2.96", 400),
        (MEMBER, "sort_key=locked", "2.72", 400),
        (MEMBER, "sort_key=nosuch", "2.96", 400),
        (MEMBER, "changes-since=today", "2.96", 400),
    ],
)
def test_filter(
    client: Client, token: str, query: str, version: str, expected: list[str] | int
) -> None:
    answer = client.ask("GET", f"/servers?{query}", token=token, version=version)
    if isinstance(expected, int):
        assert answer.status == expected
    else:
        assert answer.status == 200
        assert [row["name"] for row in answer.json()["servers"]] == expected
