"""One token is one effect in a real Nova, and one answer; what a repeat gets after each outcome."""

import uuid
from collections.abc import Iterator

import pytest

from tests.integration.front import Front
from tests.nova.call import Answer
from tests.nova.cloud import Fault, Options, RealNova, Row
from tests.nova.conftest import StartFront, StartNova
from tests.nova.posts import (
    KEYPAIRS,
    REPLAYED,
    SERVERS,
    Kind,
    Sender,
    at_once,
    fits,
    public_key,
    replayed,
)

CALLERS = 50
TOKENS = 200
SAME_FOR_ALL = (
    "location",
    "content-type",
    "vary",
    "openstack-api-version",
    "x-openstack-nova-api-version",
    "idempotency-status",
    "link",
)
"""Headers that the first caller has too, whose answer is no replay."""

PLAIN = Kind("2.96")
PATIENT = {"nova.send_timeout": "60", "nova.max_in_flight": "8"}


@pytest.fixture(scope="module")
def front(_worker_nova: RealNova, start_front_for_module: StartFront) -> Front:
    """One that waits for Nova, however busy it is, and sends no more at once than it can take."""
    return start_front_for_module(_worker_nova.url, PATIENT)


@pytest.fixture(scope="module")
def hasty(_worker_nova: RealNova, start_front_for_module: StartFront) -> Front:
    """One that gives an answer up soon."""
    settings = {"nova.send_timeout": "2", "nova.settle_seconds": "0"}
    return start_front_for_module(_worker_nova.url, settings)


@pytest.fixture
def sender(front: Front, real_nova: RealNova) -> Iterator[Sender]:
    sender = Sender(front, real_nova)
    yield sender
    sender.clean_up()


def unique() -> str:
    return f"once-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(
    "kind",
    [Kind("2.1"), PLAIN, Kind("2.2", KEYPAIRS)],
    ids=["server 2.1", "server 2.96", "generated keypair"],
)
def test_fifty_at_once_make_one_and_get_one_answer(kind: Kind, sender: Sender) -> None:
    name = unique()
    answers = at_once(lambda _: sender.post(kind, name, name), range(CALLERS))
    assert len({answer.body for answer in answers}) == 1
    assert {answer.status for answer in answers} == {201 if kind.makes_keypair else 202}
    for header in SAME_FOR_ALL:
        assert len({tuple(answer.all_headers(header)) for answer in answers}) == 1, header
    first = [answer for answer in answers if answer.header("Idempotent-Replayed") == "false"]
    repeats = [answer for answer in answers if answer.header("Idempotent-Replayed") == "true"]
    assert (len(first), len(repeats)) == (1, CALLERS - 1)
    assert all(replayed(answer) == replayed(repeats[0]) for answer in repeats)
    original = repeats[0].header("X-Openstack-Original-Request-Id")
    assert original == first[0].header("X-Openstack-Request-Id")
    assert sender.names() == [name]
    assert len(sender.nova.seen("POST")) == 1
    if kind.makes_keypair:
        made = first[0].json["keypair"]
        assert fits(made["private_key"], sender.nova.keypairs(sender.user)[0]["public_key"])


def test_a_replay_has_these_headers_and_the_date(sender: Sender) -> None:
    name = unique()
    sender.post(PLAIN, name, name)
    repeat = sender.post(PLAIN, name, name)
    expected = {*REPLAYED, "date"}
    assert {header.lower() for header, _ in repeat.headers} == expected


@pytest.mark.timeout(240)
def test_two_hundred_tokens_make_two_hundred_servers(
    start_nova: StartNova, start_front: StartFront
) -> None:
    """In a Nova of its own, which would build them for a minute afterwards."""
    nova = start_nova(Options())
    sender = Sender(start_front(nova.url, PATIENT), nova)
    names = [f"{unique()}-{number}" for number in range(TOKENS)]
    answers: list[Answer] = []
    for start in range(0, TOKENS, 20):
        some = names[start : start + 20]
        answers += at_once(lambda name: until_answered(sender, name), some)
    assert {answer.status for answer in answers} == {202}
    rows = sender.nova.servers(project_id=sender.project)
    assert {row["name"]: row["id"] for row in rows} == {
        name: answer.json["server"]["id"] for name, answer in zip(names, answers, strict=True)
    }
    assert len(sender.nova.seen("POST")) == len(rows) == TOKENS


def until_answered(sender: Sender, name: str) -> Answer:
    """As a client does: what has not finished by the end of the hold is asked for once more."""
    while (answer := sender.post(PLAIN, name, name)).status in (409, 504):
        assert answer.header("Idempotency-Status") == "in-progress", answer
    return answer


def test_the_answer_is_what_nova_says_without_dedupd(sender: Sender) -> None:
    """But for the headers that dedupd adds, and the Host that Nova names in its links."""
    body = sender.nova.server_body(unique())
    through = sender.front.call("POST", SERVERS, body, token=sender.token, client_token=unique())
    host = {"Host": sender.front.address}
    direct = sender.nova.call("POST", SERVERS, body, token=sender.token, headers=host)
    mine, theirs = sender.form(through), sender.form(direct)
    added = ("idempotent-replayed", "idempotency-status", "link")
    assert mine.without(added) == theirs
    assert len(list(through.all_headers("date"))) == 1


REFUSED = {
    "400": (SERVERS, {"server": {"name": ""}}, None),
    "403 by policy": (SERVERS, {"server": {"name": "x"}}, "reader"),
    "404": (f"{SERVERS}/{uuid.uuid4()}/action", {"reboot": {"type": "SOFT"}}, None),
    "406": (SERVERS, {"server": {}}, None),
    "409": (KEYPAIRS, {"keypair": {"name": "there already", "public_key": public_key()}}, None),
}


@pytest.mark.parametrize("status", REFUSED)
def test_what_nova_refuses_for_good_is_kept_and_replayed(status: str, sender: Sender) -> None:
    path, body, roles = REFUSED[status]
    token = sender.token + (f":{roles}" if roles else "")
    microversion = "2.999" if status == "406" else "2.1"
    if status == "403 by policy":
        body = sender.nova.server_body("forbidden")
    if status == "409":
        sender.nova.call("POST", KEYPAIRS, body, token=sender.token)
    client_token = unique()

    def post() -> Answer:
        return sender.front.call(
            "POST", path, body, token=token, client_token=client_token, microversion=microversion
        )

    direct = sender.nova.call("POST", path, body, token=token, microversion=microversion)
    sender.nova.clear_faults()
    first, repeat = post(), post()
    assert first.status == repeat.status == direct.status == int(status[:3])
    assert first.body == repeat.body == direct.body
    assert first.header("Idempotency-Status") == "stored"
    assert repeat.header("Idempotent-Replayed") == "true"
    assert len(sender.nova.seen("POST")) == 1


def test_a_quota_that_is_full_keeps_nothing(start_nova: StartNova, start_front: StartFront) -> None:
    with_limit = start_nova(Options(quota=1))
    sender = Sender(start_front(with_limit.url), with_limit)
    first, second = unique(), unique()
    made = sender.post(PLAIN, first, first)
    identifier = made.json["server"]["id"]
    with_limit.wait_for_server(identifier)
    refused = sender.post(PLAIN, second, second)
    assert refused.status == 403
    assert "Quota exceeded" in refused.json["forbidden"]["message"]
    assert refused.header("Idempotency-Status") == "released"
    assert sender.names() == [first]
    with_limit.delete_server(identifier)
    assert sender.post(PLAIN, second, second).status == 202
    assert sender.names() == [second]
    assert sender.post(PLAIN, first, first).body == made.body, "kept, though it was deleted since"
    assert sender.names() == [second]


def test_without_credentials_nothing_is_kept(sender: Sender) -> None:
    name = unique()
    body = sender.nova.server_body(name)
    refused = sender.front.call("POST", SERVERS, body, token="", client_token=name)
    assert refused.status == 401
    assert sender.nova.seen("POST") == []
    made = sender.post(Kind(), name, name)
    assert (made.status, made.header("Idempotent-Replayed")) == (202, "false")


def test_another_body_under_the_same_token(sender: Sender) -> None:
    name = unique()
    sender.post(PLAIN, name, name)
    differs = sender.post(PLAIN, f"{name}-x", name)
    assert differs.status == 422
    assert "server.name" in differs.json["unprocessableEntity"]["message"]
    assert sender.names() == [name]


def test_a_password_is_for_its_owner_only(sender: Sender) -> None:
    name = unique()
    made = sender.post(PLAIN, name, name)
    colleague = f"another:{sender.project}"
    shown = sender.front.call(
        "POST",
        SERVERS,
        sender.nova.server_body(name),
        token=colleague,
        client_token=name,
        microversion="2.96",
    )
    assert shown.header("Idempotency-Redacted") == "server.adminPass"
    server: Row = made.json["server"]
    del server["adminPass"]
    assert shown.json == {"server": server}


@pytest.mark.parametrize("fault", ["503-after", "drop-after", "drop-before"])
@pytest.mark.parametrize("action", ["reboot", "createImage"])
def test_an_action_is_sent_once_and_never_again(
    fault: str, action: str, real_nova: RealNova, hasty: Front
) -> None:
    """Nothing tells later whether it was carried out, so its outcome stays unknown."""
    nova, front, name = real_nova, hasty, unique()
    sender = Sender(front, nova)
    server = sender.post(PLAIN, name, None).json["server"]["id"]
    nova.wait_for_server(server)
    body = {"reboot": {"type": "SOFT"}} if action == "reboot" else {"createImage": {"name": name}}
    nova.faults(Fault(fault, path="/action$"))

    def post() -> Answer:
        path = f"{SERVERS}/{server}/action"
        return front.call("POST", path, body, token=sender.token, client_token=name)

    answers = [post(), *at_once(lambda _: post(), range(3))]
    front.restart()
    answers.append(post())
    assert {answer.status for answer in answers} == {502}
    assert {answer.header("Idempotency-Status") for answer in answers} == {"unknown"}
    assert len(nova.seen("POST")) == 1
    record = front.call("GET", f"/dedupd/v1/requests/{name}", token=sender.token)
    assert record.json["request"]["state"] == "unknown"
