"""dedupd's own tokens, through keystoneauth's own plugins."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from keystoneauth1.identity import v3
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from dedupd.cloud import service_user
from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.service_user import KeystoneServiceUser

Users = Callable[[BaseAuthPlugin], KeystoneServiceUser]


class Nothing(BaseAuthPlugin):
    """A plugin that authenticates nobody."""

    def get_token(self, session: Session) -> str | None:
        return None


class Slow(BaseAuthPlugin):
    """A Keystone that does not answer until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def get_token(self, session: Session) -> str | None:
        self.let.wait(30)
        return "late"


@pytest.fixture
async def user() -> AsyncIterator[Users]:
    made: list[KeystoneServiceUser] = []

    def make(plugin: BaseAuthPlugin) -> KeystoneServiceUser:
        made.append(KeystoneServiceUser(plugin))
        return made[-1]

    yield make
    for each in made:
        each.close()


async def test_the_plugin_s_token_is_given(user: Users) -> None:
    keystone = user(Token("http://nova", "a token"))
    assert await keystone.token() == "a token"
    assert await keystone.token() == "a token"


async def test_a_keystone_that_is_away_is_told(user: Users) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v3"
    password = v3.Password(
        url, username="dedupd", password="s3cret", user_domain_name="d", unscoped=True
    )
    with pytest.raises(CannotAsk, match=r"check \[service_user\]") as caught:
        await user(password).token()
    assert "s3cret" not in caught.value.message


async def test_no_token_is_told(user: Users) -> None:
    with pytest.raises(CannotAsk, match=r"Keystone gave no token for the service user; check"):
        await user(Nothing()).token()


async def test_one_that_does_not_answer_is_not_waited_for_for_ever(
    user: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_user, "TOKEN_SECONDS", 0.05)
    slow = Slow()
    with pytest.raises(CannotAsk):
        await user(slow).token()
    slow.let.set()
