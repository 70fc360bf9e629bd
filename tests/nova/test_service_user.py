"""The caller's Keystone token ends before a lost answer is looked up: the service user does it."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.integration.front import Front
from tests.nova.call import Answer, call
from tests.nova.cloud import ADMIN, DEMO, Fault, Options, RealKeystone, RealNova
from tests.nova.conftest import StartFront
from tests.nova.posts import KINDS, Form, at_once, fits, wait_until

REQUEST_IDS = ("x-openstack-request-id", "x-compute-request-id")
DELAY = 6.0
"""Seconds: more than [nova] send_timeout here."""

QUICK = {"nova.send_timeout": "4", "auth.cache_seconds": "60"}

NAMES = (
    "2.1",
    "2.96",
    "project in the path",
    "three, 2.96",
    "reservation, 2.1",
    "/v2",
    "generated, 2.1",
    "generated, /v2",
    "imported, 2.1",
    "imported, 2.92",
    "imported, /v2",
)


@dataclass(frozen=True)
class Cloud:
    """A Nova behind a Keystone, and a dedupd before both."""

    nova: RealNova
    keystone: RealKeystone
    front: Front

    def post_all(self, token: str, prefix: str) -> dict[str, Answer]:
        """One of each kind, all at once, by the user demo."""
        project = self.keystone.project_id(DEMO)

        def post(numbered: tuple[int, str]) -> Answer:
            number, kind = numbered[0], KINDS[numbered[1]]
            name = f"{prefix}{number}"
            return self.front.call(
                "POST",
                kind.path_in(project),
                kind.body(self.nova, name),
                token=token,
                client_token=name,
                microversion=kind.microversion,
            )

        return dict(zip(NAMES, at_once(post, enumerate(NAMES)), strict=True))

    def form(self, answer: Answer) -> Form:
        """What the answer has in common with that to another POST of its kind."""
        return Form.of(answer, {self.keystone.project_id(DEMO): "<project>"})

    def names(self, prefix: str) -> list[str]:
        """What it has under this prefix, as Nova tells an administrator."""
        rows = self.nova.servers(name=f"^{prefix}")
        rows += self.nova.keypairs(self.keystone.user_id(DEMO))
        return sorted(str(row["name"]) for row in rows if row["name"].startswith(prefix))


@pytest.fixture(scope="module")
def forgetful_nova(real_keystone: RealKeystone) -> Iterator[RealNova]:
    """One that asks Keystone every time, so that a revoked token ends at once."""
    options = Options(settings={"keystone_authtoken.token_cache_time": "-1"})
    with RealNova(options, real_keystone) as nova:
        yield nova


@pytest.fixture
def nova(forgetful_nova: RealNova) -> RealNova:
    forgetful_nova.clear_faults()
    return forgetful_nova


@pytest.fixture
def cloud(nova: RealNova, real_keystone: RealKeystone, start_front: StartFront) -> Cloud:
    """dedupd has a service user here."""
    settings = {**real_keystone.options("keystone_authtoken", "service_user"), **QUICK}
    return Cloud(nova, real_keystone, start_front(nova.url, settings))


def revoke(keystone: RealKeystone, token: str) -> None:
    headers = {"X-Auth-Token": keystone.token(ADMIN), "X-Subject-Token": token}
    assert call("DELETE", f"{keystone.auth_url}/auth/tokens", headers=headers).status == 204


def unique() -> str:
    return f"service-{uuid.uuid4().hex[:8]}-"


def test_it_finds_what_was_lost(cloud: Cloud) -> None:
    """One effect each, and the answer that was lost."""
    prefix = unique()
    usual = cloud.post_all(cloud.keystone.token(DEMO), unique())
    token = cloud.keystone.token(DEMO)
    cloud.nova.faults(
        Fault("delay-after", path="/(servers|os-keypairs)$", times=len(NAMES), seconds=DELAY)
    )
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cloud.post_all, token, prefix)
        wait_until(lambda: len(cloud.nova.seen("POST")) == len(NAMES))
        revoke(cloud.keystone, token)
        lost = waiting.result()
    for name, kind in KINDS.items():
        if name not in lost:
            continue
        missing = REQUEST_IDS if kind.makes_keypair else ()
        assert cloud.form(lost[name]) == cloud.form(usual[name]).without(missing), name
    again = cloud.post_all(cloud.keystone.token(DEMO), prefix)
    check_all_there(cloud, prefix, again)
    for name, answer in lost.items():
        assert again[name].body == answer.body


def check_all_there(cloud: Cloud, prefix: str, answers: dict[str, Answer]) -> None:
    """One of each kind, and private keys that fit."""
    expected = []
    for number, name in enumerate(NAMES):
        copies = KINDS[name].effects
        several = [f"{prefix}{number}-{place}" for place in range(1, copies + 1)]
        expected += several if copies > 1 else [f"{prefix}{number}"]
    assert cloud.names(prefix) == sorted(expected)
    keypairs = {row["name"]: row for row in cloud.nova.keypairs(cloud.keystone.user_id(DEMO))}
    for name, answer in answers.items():
        assert answer.status < 300, name
        if KINDS[name].generates_key:
            made = answer.json["keypair"]
            assert fits(made["private_key"], keypairs[made["name"]]["public_key"])


def test_without_one_the_outcome_stays_unknown(
    nova: RealNova, real_keystone: RealKeystone, start_front: StartFront
) -> None:
    settings = {
        **real_keystone.options("keystone_authtoken"),
        **QUICK,
        "nova.settle_seconds": "1",
        "nova.retry_seconds": "1",
    }
    cloud = Cloud(nova, real_keystone, start_front(nova.url, settings))
    prefix, token = unique(), real_keystone.token(DEMO)
    path = "/(servers|os-keypairs)$"
    cloud.nova.faults(Fault("delay-after", path=path, times=len(NAMES), seconds=DELAY))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cloud.post_all, token, prefix)
        wait_until(lambda: len(cloud.nova.seen("POST")) == len(NAMES))
        revoke(real_keystone, token)
        lost = waiting.result()
    again = cloud.post_all(real_keystone.token(DEMO), prefix)
    for answers in (lost, again):
        assert {answer.status for answer in answers.values()} == {502}
        statuses = {answer.header("Idempotency-Status") for answer in answers.values()}
        assert statuses == {"unknown"}
    assert len(cloud.nova.seen("POST")) == len(NAMES)


def test_a_token_that_nova_refuses_keeps_nothing(cloud: Cloud) -> None:
    """dedupd believes a token for some seconds more; Nova's 401 is told, and a repeat executes."""
    name, keystone = unique(), cloud.keystone
    token = keystone.token(DEMO)
    kind = KINDS["2.96"]

    def post(token: str) -> Answer:
        body = kind.body(cloud.nova, name)
        return cloud.front.call("POST", kind.path, body, token=token, client_token=name)

    warm = cloud.front.call("GET", "/dedupd/v1/requests", token=token)
    assert warm.status == 200
    revoke(keystone, token)
    refused = post(token)
    assert (refused.status, refused.header("Idempotency-Status")) == (401, "released")
    made = post(keystone.token(DEMO))
    assert (made.status, made.header("Idempotent-Replayed")) == (202, "false")
    assert cloud.names(name) == [name]
