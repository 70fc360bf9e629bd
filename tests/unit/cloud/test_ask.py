"""Asking Nova: as the caller, with the service user beside it or in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dedupd.cloud.ask import Asker, CannotAsk, document, query
from dedupd.exchange import Answer, Headers
from dedupd.microversion import Microversion
from dedupd.ports import NotSent
from dedupd.sim.faults import Rule
from tests.unit.site import AUTH, HOST, SERVERS, Site

VIRTUAL_TIME = True

HEADERS: Headers = (
    (b"host", HOST.encode()),
    (b"x-auth-token", AUTH.encode()),
    (b"content-type", b"application/json"),
    (b"accept", b"text/html"),
    (b"x-openstack-nova-api-version", b"2.1"),
    (b"openstack-api-version", b"compute 2.1"),
    (b"x-forwarded-host", b"api.example.org"),
    (b"user-agent", b"sdk"),
)
VERSION = Microversion(2, 69)


class ServiceUser:
    """Has a token, or none."""

    def __init__(self, token: str | None = "dedupd:service:admin") -> None:
        self._token = token

    async def token(self) -> str:
        if self._token is None:
            raise CannotAsk("Keystone gave no token for the service user.")
        return self._token


Make = Callable[..., Asker]


@pytest.fixture
def asker(site: Site) -> Make:
    def made(service_user: ServiceUser | None = None, headers: Headers = HEADERS) -> Asker:
        return Asker(site.cloud, headers, service_user, 10.0)

    return made


class TestAsCaller:
    async def test_asks_with_the_caller_s_token_and_the_version_wanted(
        self, site: Site, asker: Make
    ) -> None:
        answer = await asker().as_caller(SERVERS, VERSION)
        assert answer.status == 200
        [sent] = site.cloud.sent
        assert (sent.call.method, sent.call.target, sent.call.body) == ("GET", SERVERS, b"")
        assert sent.header("x-auth-token") == AUTH
        assert sent.header("openstack-api-version") == "compute 2.69"
        assert sent.header("accept") == "application/json"
        assert sent.header("host") == HOST
        assert sent.header("x-forwarded-host") == "api.example.org"
        for name in ("content-type", "x-openstack-nova-api-version", "x-service-token"):
            assert sent.header(name) is None

    async def test_without_a_version_none_is_asked_for(self, site: Site, asker: Make) -> None:
        await asker().as_caller(SERVERS, None)
        assert site.cloud.sent[0].header("openstack-api-version") is None

    async def test_any_method_will_do(self, site: Site, asker: Make) -> None:
        answer = await asker().as_caller(f"{SERVERS}/none", VERSION, method="DELETE")
        assert answer.status == 404
        assert site.cloud.sent[0].call.method == "DELETE"

    async def test_the_service_user_s_token_stands_beside_it(self, site: Site, asker: Make) -> None:
        await asker(ServiceUser("dedupd")).as_caller(SERVERS, VERSION)
        assert site.cloud.sent[0].header("x-service-token") == "dedupd"
        assert site.cloud.sent[0].header("x-auth-token") == AUTH

    async def test_in_the_place_of_one_that_the_caller_sent(self, site: Site, asker: Make) -> None:
        headers = (*HEADERS, (b"x-service-token", b"theirs"))
        await asker(ServiceUser("dedupd"), headers).as_caller(SERVERS, VERSION)
        assert site.cloud.sent[0].header("x-service-token") == "dedupd"
        await asker(None, headers).as_caller(SERVERS, VERSION)
        assert site.cloud.sent[1].header("x-service-token") == "theirs"

    async def test_a_caller_without_a_token_asks_without(self, site: Site, asker: Make) -> None:
        answer = await asker(headers=HEADERS[:1]).as_caller(SERVERS, VERSION)
        assert answer.status == 401


class TestAsService:
    async def test_asks_with_the_service_user_s_own_token(self, site: Site, asker: Make) -> None:
        made = asker(ServiceUser("dedupd:service:admin"))
        assert made.has_service_user
        answer = await made.as_service(f"{SERVERS}?all_tenants=1", VERSION)
        assert answer.status == 200
        assert site.cloud.sent[0].header("x-auth-token") == "dedupd:service:admin"

    async def test_without_the_caller_s_service_token(self, site: Site, asker: Make) -> None:
        headers = (*HEADERS, (b"x-service-token", b"theirs"))
        await asker(ServiceUser(), headers).as_service(SERVERS, VERSION)
        assert site.cloud.sent[0].header("x-service-token") is None

    async def test_cannot_where_there_is_none(self, site: Site, asker: Make) -> None:
        made = asker()
        assert not made.has_service_user
        with pytest.raises(CannotAsk, match=r"configure \[service_user\]"):
            await made.as_service(SERVERS, VERSION)
        assert not site.cloud.sent

    async def test_nor_where_keystone_gives_no_token(self, site: Site, asker: Make) -> None:
        made = asker(ServiceUser(None))
        for ask in (made.as_service, made.as_caller):
            with pytest.raises(CannotAsk, match="Keystone gave no token"):
                await ask(SERVERS, VERSION)
        assert not site.cloud.sent


class TestTransient:
    @pytest.mark.parametrize("fault", ["503-before", "500-before", "429-before", "drop-before"])
    async def test_what_passes_is_asked_again(self, site: Site, asker: Make, fault: str) -> None:
        site.cloud.torment(Rule(fault=fault, times=3))
        assert (await asker().as_caller(SERVERS, VERSION)).status == 200
        assert len(site.cloud.sent) == 4

    @pytest.mark.parametrize("fault", ["503-before", "drop-before"])
    async def test_what_does_not_is_told(self, site: Site, asker: Make, fault: str) -> None:
        site.cloud.torment(Rule(fault=fault, times=10))
        began = site.clock()
        with pytest.raises(CannotAsk, match=f"GET {SERVERS}: ") as caught:
            await asker().as_caller(f"{SERVERS}?name=secret", VERSION)
        assert "secret" not in caught.value.message
        assert len(site.cloud.sent) == 4
        assert site.clock() - began < 8

    async def test_silence_too(self, site: Site, asker: Make) -> None:
        site.cloud.torment(Rule(fault="delay-after", seconds=11, times=10))
        with pytest.raises(CannotAsk, match="no answer in time"):
            await asker().as_caller(SERVERS, VERSION)

    async def test_operators_are_told_where_it_is_not_reached(
        self, site: Site, asker: Make
    ) -> None:
        async def away(_: object) -> None:
            raise NotSent("Nova cannot be reached.", operators="Nova at http://nova: refused")

        site.cloud.before_send = away
        with pytest.raises(CannotAsk, match="Nova at http://nova: refused"):
            await asker().as_caller(SERVERS, VERSION)

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
    async def test_a_definite_answer_is_one(self, site: Site, asker: Make, status: int) -> None:
        site.cloud.torment(Rule(fault=f"{status}-before"))
        assert (await asker().as_caller(SERVERS, VERSION)).status == status
        assert len(site.cloud.sent) == 1


def test_a_query_is_encoded() -> None:
    assert query("/x", {}) == "/x"
    assert query("/x", {"name": "^a b&c$", "limit": 3}) == "/x?name=%5Ea+b%26c%24&limit=3"


class TestDocument:
    def test_reads_json(self) -> None:
        assert document(Answer(200, (), b'{"a": 1}'), "Asking") == {"a": 1}

    @pytest.mark.parametrize("status", [201, 302, 401, 404, 500])
    def test_takes_no_other_status(self, status: int) -> None:
        with pytest.raises(CannotAsk, match=f"Asking: Nova answered {status}"):
            document(Answer(status, (), b"{}"), "Asking")

    @pytest.mark.parametrize("body", [b"", b"<html>", b'"\xff"', b"[" * 5000])
    def test_nor_what_is_not_json(self, body: bytes) -> None:
        with pytest.raises(CannotAsk, match="Asking: Nova's answer is not JSON"):
            document(Answer(200, (), body), "Asking")


class TestAfresh:
    async def test_asks_over_connections_of_its_own_and_as_the_same(
        self, site: Site, asker: Make
    ) -> None:
        asks = asker(ServiceUser("dedupd"))
        await asks.as_caller(SERVERS, VERSION)
        await asks.afresh(30.0).as_caller(SERVERS, VERSION)
        usual, behind = site.cloud.sent
        assert (usual.afresh, behind.afresh) == (False, True)
        assert behind.call == usual.call

    async def test_waits_for_as_long_as_it_is_told_and_does_not_come_again(
        self, site: Site, asker: Make
    ) -> None:
        site.cloud.torment(Rule(fault="drop-before"), Rule(fault="delay-after", seconds=29))
        asks = asker().afresh(30.0)
        with pytest.raises(CannotAsk):
            await asks.as_caller(SERVERS, VERSION)
        assert (await asks.as_caller(SERVERS, VERSION)).status == 200
        assert [sent.afresh for sent in site.cloud.sent] == [True, True]

    async def test_once_it_was_answered_it_asks_as_usual(self, site: Site, asker: Make) -> None:
        """A look may take fifty questions: one that fails must not spoil it."""
        asks = asker().afresh(30.0)
        await asks.as_caller(SERVERS, VERSION)
        site.cloud.torment(Rule(fault="503-before", times=3))
        assert (await asks.as_caller(SERVERS, VERSION)).status == 200
        assert [sent.afresh for sent in site.cloud.sent] == [True, *[False] * 4]
