"""Who a caller is, as a real Keystone says."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dedupd.api.auth import IDENTITY_HEADERS, Identity, KeystoneAuthenticator
from dedupd.conf import load
from dedupd.errors import Forbidden, Unauthorized, Unavailable
from tests.nova.call import Answer, call
from tests.nova.cloud import ADMIN, ALT_DEMO, DEMO, PASSWORD, READER, RealKeystone

Connect = Callable[..., KeystoneAuthenticator]
Fields = list[tuple[bytes, bytes]]

CONFIGURATION = """
[auth]
strategy = keystone
[keystone_authtoken]
auth_type = password
auth_url = {auth_url}
username = dedupd
password = {password}
user_domain_id = default
project_name = service
project_domain_id = default
"""


@pytest.fixture
async def connect(real_keystone: RealKeystone, tmp_path: Path) -> AsyncIterator[Connect]:
    """Make authenticators that ask the real Keystone."""
    made: list[KeystoneAuthenticator] = []
    path = tmp_path / "dedupd.conf"
    path.write_text(CONFIGURATION.format(auth_url=real_keystone.auth_url, password=PASSWORD))

    def to(*, cache: float = 0, timeout: float = 30) -> KeystoneAuthenticator:
        options = load([path]).options
        made.append(KeystoneAuthenticator(options, cache_seconds=cache, timeout_seconds=timeout))
        return made[-1]

    yield to
    for authenticator in made:
        await authenticator.close()


@pytest.fixture
def authenticator(connect: Connect) -> KeystoneAuthenticator:
    """One that remembers nothing."""
    return connect()


def fields(token: str, service_token: str | None = None) -> Fields:
    given = [(b"x-auth-token", token.encode())]
    return given + ([(b"x-service-token", service_token.encode())] if service_token else [])


def ask(
    keystone: RealKeystone, method: str, path: str, body: object = None, **headers: str
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = call(method, keystone.auth_url + path, body, sent)
    assert answer.status < 300, answer
    return answer


def log_in(keystone: RealKeystone, user: str, scope: object) -> str:
    who = {"name": user, "domain": {"id": "default"}, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": who}}
    body = {"auth": {"identity": identity, "scope": scope}}
    token = ask(keystone, "POST", "/auth/tokens", body).header("X-Subject-Token")
    assert token
    return token


def revoke(keystone: RealKeystone, token: str) -> None:
    admin = keystone.token(ADMIN)
    ask(keystone, "DELETE", "/auth/tokens", X_Auth_Token=admin, X_Subject_Token=token)


def application_token(keystone: RealKeystone, **more: object) -> str:
    """A token of demo's for an application credential of its own."""
    path = f"/users/{keystone.user_id(DEMO)}/application_credentials"
    wanted = {"name": uuid.uuid4().hex, "secret": PASSWORD, **more}
    body: dict[str, Any] = {"application_credential": wanted}
    made = ask(keystone, "POST", path, body, X_Auth_Token=keystone.token(DEMO)).json
    credential = {"id": made["application_credential"]["id"], "secret": PASSWORD}
    identity = {"methods": ["application_credential"], "application_credential": credential}
    answer = ask(keystone, "POST", "/auth/tokens", {"auth": {"identity": identity}})
    token = answer.header("X-Subject-Token")
    assert token
    return token


async def test_a_valid_token(
    real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    identity = await authenticator.authenticate(fields(real_keystone.token(DEMO)))
    assert identity.user_id == real_keystone.user_id(DEMO)
    assert identity.project_id == real_keystone.project_id(DEMO)
    assert set(identity.roles) == {"member", "reader"}
    assert identity.expires_at is not None
    assert identity.expires_at > time.time()


async def test_users_and_projects_are_told_apart(
    real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    async def who(user: str) -> Identity:
        return await authenticator.authenticate(fields(real_keystone.token(user)))

    demo, reader, other = await who(DEMO), await who(READER), await who(ALT_DEMO)
    assert demo.project_id == reader.project_id != other.project_id
    assert len({demo.user_id, reader.user_id, other.user_id}) == 3


@pytest.mark.parametrize("token", ["nonsense", "gAAAAAB" * 20])
async def test_an_invalid_token(
    token: str, real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    with pytest.raises(Unauthorized, match="does not accept these credentials") as caught:
        await authenticator.authenticate(fields(token))
    challenge = f'Keystone uri="{real_keystone.auth_url}"'
    assert caught.value.headers["WWW-Authenticate"] == challenge


async def test_a_revoked_token(
    real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    token = real_keystone.token(DEMO)
    await authenticator.authenticate(fields(token))
    revoke(real_keystone, token)
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(fields(token))


async def test_a_token_is_believed_for_a_while_and_a_refusal_never(
    real_keystone: RealKeystone, connect: Connect
) -> None:
    caching = connect(cache=60)
    token = real_keystone.token(DEMO)
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await caching.authenticate(fields(token + "x"))
    first = await caching.authenticate(fields(token))
    revoke(real_keystone, token)
    assert await caching.authenticate(fields(token)) is first
    with pytest.raises(Unauthorized):
        await caching.authenticate(fields(token, real_keystone.token("dedupd", "service")))


async def test_identity_headers_of_a_client_count_for_nothing(
    real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    forged = [(name, b"Confirmed") for name in sorted(IDENTITY_HEADERS)]
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(forged)
    with pytest.raises(Unauthorized):
        await authenticator.authenticate([*forged, *fields("nonsense")])
    honest = fields(real_keystone.token(DEMO))
    identity = await authenticator.authenticate([*forged, *honest])
    assert identity.project_id == real_keystone.project_id(DEMO)
    assert set(identity.roles) == {"member", "reader"}


@pytest.mark.parametrize(
    "scope", ["unscoped", {"system": {"all": True}}, {"domain": {"id": "default"}}]
)
async def test_a_token_without_a_project(
    scope: object, real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    if scope == {"domain": {"id": "default"}}:
        grant_domain_role(real_keystone)
    token = log_in(real_keystone, ADMIN, scope)
    with pytest.raises(Forbidden, match="belongs to no project"):
        await authenticator.authenticate(fields(token))


def grant_domain_role(keystone: RealKeystone) -> None:
    token = keystone.token(ADMIN)
    roles = ask(keystone, "GET", "/roles?name=admin", X_Auth_Token=token).json["roles"]
    path = f"/domains/default/users/{keystone.user_id(ADMIN)}/roles/{roles[0]['id']}"
    ask(keystone, "PUT", path, X_Auth_Token=token)


async def test_a_service_token_must_be_a_services(
    real_keystone: RealKeystone, authenticator: KeystoneAuthenticator
) -> None:
    token = real_keystone.token(DEMO)
    service = real_keystone.token("dedupd", "service")
    identity = await authenticator.authenticate(fields(token, service))
    assert identity.user_id == real_keystone.user_id(DEMO)
    for bad in ("nonsense", real_keystone.token(ALT_DEMO)):
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(fields(token, bad))


async def test_an_expired_token_counts_beside_a_services_only(
    real_keystone: RealKeystone, connect: Connect
) -> None:
    authenticator = connect(cache=60)
    end = datetime.now(UTC) + timedelta(seconds=3)
    token = application_token(real_keystone, expires_at=end.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    service = real_keystone.token("dedupd", "service")
    await asyncio.sleep(end.timestamp() + 1 - time.time())  # Keystone rounds to whole seconds
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(fields(token))
        identity = await authenticator.authenticate(fields(token, service))
        assert identity.user_id == real_keystone.user_id(DEMO)
        assert identity.expires_at is not None
        assert identity.expires_at < time.time()


async def test_access_rules_are_checked_for_every_request(
    real_keystone: RealKeystone, connect: Connect
) -> None:
    authenticator = connect(cache=60)
    rule = {"method": "POST", "path": "/v2.1/servers", "service": "compute"}
    token = fields(application_token(real_keystone, access_rules=[rule]))
    for _ in range(2):
        identity = await authenticator.authenticate(token, "POST", "/v2.1/servers")
        assert identity.user_id == real_keystone.user_id(DEMO)
        for method, path in (("POST", "/v2.1/os-keypairs"), ("GET", "/v2.1/servers")):
            with pytest.raises(Unauthorized, match=f"allow {method} {path}"):
                await authenticator.authenticate(token, method, path)


async def test_many_at_once(real_keystone: RealKeystone, connect: Connect) -> None:
    authenticator = connect(cache=60)
    users = [DEMO, ALT_DEMO, READER] * 30
    tokens = {user: fields(real_keystone.token(user)) for user in set(users)}
    found = await asyncio.gather(*(authenticator.authenticate(tokens[user]) for user in users))
    for user, identity in zip(users, found, strict=True):
        assert identity.user_id == real_keystone.user_id(user)


async def test_keystone_stalls_and_comes_back(
    real_keystone: RealKeystone, connect: Connect
) -> None:
    token = fields(real_keystone.token(DEMO))
    identity = await connect().authenticate(token)
    authenticator = connect(timeout=1)
    process = real_keystone._program.process.pid
    os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="Keystone cannot be asked"):
            await authenticator.authenticate(token)
    finally:
        os.kill(process, signal.SIGCONT)
    assert await connect().authenticate(token) == identity


async def test_keystone_ends(tmp_path: Path) -> None:
    with RealKeystone() as keystone:
        path = tmp_path / "ended.conf"
        path.write_text(CONFIGURATION.format(auth_url=keystone.auth_url, password=PASSWORD))
        token = fields(keystone.token(DEMO))
        options = load([path]).options
        authenticator = KeystoneAuthenticator(options, cache_seconds=0, timeout_seconds=30)
        await authenticator.authenticate(token)
    with pytest.raises(Unavailable):
        await authenticator.authenticate(token)
    await authenticator.close()


async def test_our_own_credentials_are_wrong(real_keystone: RealKeystone, tmp_path: Path) -> None:
    path = tmp_path / "wrong.conf"
    path.write_text(CONFIGURATION.format(auth_url=real_keystone.auth_url, password="wrong"))
    options = load([path]).options
    authenticator = KeystoneAuthenticator(options, cache_seconds=0, timeout_seconds=30)
    with pytest.raises(Unavailable):
        await authenticator.authenticate(fields(real_keystone.token(DEMO)))
    await authenticator.close()
