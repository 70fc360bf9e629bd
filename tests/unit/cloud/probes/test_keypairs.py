"""POST /os-keypairs: one name once for each user; what is lost with the answer is the key."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes.base import Absent, Errand, Finding, Found, Spoiled, Undecided
from dedupd.cloud.probes.keypairs import CLOCK_SKEW, KeypairProbe
from dedupd.exchange import Answer, Call
from dedupd.ports import Cloud
from dedupd.request import Resource
from dedupd.sim.faults import Rule
from dedupd.sim.nova.keys import generate_rsa_key
from tests.unit.cloud.probes.errands import SERVICE, Expired, asker_of, errand_of
from tests.unit.site import KEYPAIRS, PROJECT, Site

VIRTUAL_TIME = True

KEY, OTHER_KEY = generate_rsa_key().public_key, generate_rsa_key().public_key
GENERATED = {"keypair": {"name": "kp"}}
IMPORTED = {"keypair": {"name": "kp", "public_key": KEY}}
ADMIN = f"root:{PROJECT}:admin"
PROBE = KeypairProbe()


def errand(site: Site, document: Any = None, **what: Any) -> Errand:
    usual: dict[str, Any] = {"path": KEYPAIRS, "version": "2.2", "existed": False}
    return errand_of(site, GENERATED if document is None else document, **(usual | what))


async def made(site: Site, wanted: Errand) -> Answer:
    site.cloud.carry_out(PROBE.prepare(wanted))
    await asyncio.sleep(1)
    answer = site.cloud.made[-1]
    assert answer.status in (200, 201), answer.body
    return answer


async def looked(
    site: Site, wanted: Errand, cloud: Cloud | None = None, *, service: bool = False
) -> Finding:
    return await PROBE.look(wanted, asker_of(site, wanted, cloud, service=service))


async def existed(
    site: Site, wanted: Errand, cloud: Cloud | None = None, *, service: bool = False
) -> bool | None:
    return await PROBE.existed(wanted, asker_of(site, wanted, cloud, service=service))


def kept(site: Site, user: str = "alice") -> list[str]:
    return list(site.cloud.nova._world.keypairs.get(user, {}))


@pytest.mark.parametrize("document", [GENERATED, IMPORTED])
def test_it_goes_out_as_it_came(site: Site, document: Any) -> None:
    """Its name is its mark."""
    wanted = errand(site, document)
    assert PROBE.prepare(wanted) == wanted.payload.call


VERSIONS = [
    pytest.param(KEYPAIRS, None, id="2.1"),
    pytest.param(KEYPAIRS, "2.2", id="2.2"),
    pytest.param(KEYPAIRS, "2.10", id="2.10"),
    pytest.param(KEYPAIRS, "2.91", id="2.91"),
    pytest.param(f"/v2.1/{PROJECT}/os-keypairs", "2.2", id="project"),
    pytest.param("/v2/os-keypairs", "2.91", id="v2"),
]


class TestExisted:
    @pytest.mark.parametrize(("path", "version"), VERSIONS)
    async def test_says_whether_the_user_has_one_of_that_name(
        self, site: Site, path: str, version: str | None
    ) -> None:
        wanted = errand(site, path=path, version=version)
        assert await existed(site, wanted) is False
        await made(site, wanted)
        assert await existed(site, wanted) is True
        assert {sent.call.method for sent in site.cloud.sent} == {"GET"}

    async def test_another_user_s_does_not_count(self, site: Site) -> None:
        await made(site, errand(site, auth=f"bob:{PROJECT}"))
        assert await existed(site, errand(site)) is False

    async def test_for_another_user_that_one_s_do(self, site: Site) -> None:
        document = {"keypair": {"name": "kp", "user_id": "alice"}}
        wanted = errand(site, document, auth=ADMIN, version="2.10")
        await made(site, errand(site, auth=ADMIN))
        assert await existed(site, wanted) is False
        await made(site, errand(site))
        assert await existed(site, wanted) is True

    async def test_below_210_a_user_counts_for_nothing(self, site: Site) -> None:
        document = {"keypair": {"name": "kp", "user_id": "bob"}}
        await made(site, errand(site))
        assert await existed(site, errand(site, document, version="2.9")) is True

    @pytest.mark.parametrize("name", ["a b", "a/b", "ü", "a.b@c", "50%"])
    async def test_names_are_quoted(self, site: Site, name: str) -> None:
        await existed(site, errand(site, {"keypair": {"name": name}}))
        [sent] = site.cloud.sent
        assert sent.path.count("/") == KEYPAIRS.count("/") + 1
        assert " " not in sent.call.target

    async def test_the_service_user_asks_where_the_caller_s_token_has_ended(
        self, site: Site
    ) -> None:
        wanted = errand(site)
        assert await existed(site, wanted, Expired(site), service=True) is False
        await made(site, wanted)
        assert await existed(site, wanted, Expired(site), service=True) is True
        assert {sent.header("x-auth-token") for sent in site.cloud.sent} == {SERVICE}

    async def test_without_one_it_is_not_known(self, site: Site) -> None:
        assert await existed(site, errand(site), Expired(site)) is None

    async def test_nova_may_not_tell(self, site: Site) -> None:
        site.cloud.torment(Rule(fault="503-before", times=10))
        with pytest.raises(CannotAsk):
            await existed(site, errand(site))

    @pytest.mark.parametrize("document", [{}, [], {"keypair": None}, {"keypair": {"name": 1}}])
    async def test_what_names_none_is_not_asked_for(self, site: Site, document: Any) -> None:
        assert await existed(site, errand(site, raw=msgspec.json.encode(document))) is None
        assert not site.cloud.sent


class TestLook:
    @pytest.mark.parametrize(("path", "version"), VERSIONS)
    async def test_an_imported_key_is_adopted(
        self, site: Site, path: str, version: str | None
    ) -> None:
        wanted = errand(site, IMPORTED, path=path, version=version)
        lost = await made(site, wanted)
        finding = await looked(site, wanted)
        assert isinstance(finding, Found)
        assert finding.answer.status == lost.status
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)
        assert list(msgspec.json.decode(finding.answer.body)["keypair"]) == list(
            msgspec.json.decode(lost.body)["keypair"]
        )
        for name in (b"content-type", b"openstack-api-version", b"vary"):
            assert finding.answer.header(name) == lost.header(name)
        assert PROBE.resource(wanted, lost) == finding.resource

    async def test_in_nova_s_own_spelling(self, site: Site) -> None:
        wanted = errand(site, IMPORTED)
        await made(site, wanted)
        finding = await looked(site, wanted)
        assert isinstance(finding, Found)
        assert finding.answer.body.startswith(b'{"keypair": {"type": "ssh", "name": "kp", ')

    async def test_blanks_at_its_end_do_not_matter(self, site: Site) -> None:
        wanted = errand(site, {"keypair": {"name": "kp", "public_key": KEY + "\n"}})
        await made(site, errand(site, IMPORTED))
        assert isinstance(await looked(site, wanted), Found)

    @pytest.mark.parametrize("before", [False, None])
    async def test_another_key_of_that_name_was_never_ours(
        self, site: Site, before: bool | None
    ) -> None:
        await made(site, errand(site, {"keypair": {"name": "kp", "public_key": OTHER_KEY}}))
        assert await looked(site, errand(site, IMPORTED, existed=before)) == Absent()

    @pytest.mark.parametrize("document", [GENERATED, IMPORTED])
    async def test_what_was_there_before_is_not_ours(self, site: Site, document: Any) -> None:
        """Then Nova's answer was, and will be, 409."""
        await made(site, errand(site, IMPORTED))
        assert await looked(site, errand(site, document, existed=True)) == Absent()

    @pytest.mark.parametrize("document", [GENERATED, IMPORTED])
    @pytest.mark.parametrize("before", [True, False, None])
    async def test_none_is_none(self, site: Site, document: Any, before: bool | None) -> None:
        assert await looked(site, errand(site, document, existed=before)) == Absent()

    async def test_a_generated_key_is_spoiled(self, site: Site) -> None:
        wanted = errand(site)
        await made(site, wanted)
        finding = await looked(site, wanted)
        link = f"{KEYPAIRS}/kp"
        assert finding == Spoiled(
            Resource("keypair", "kp", "kp", link), "its private key went with the lost answer"
        )

    async def test_unless_it_may_have_been_there_before(self, site: Site) -> None:
        await made(site, errand(site))
        assert isinstance(await looked(site, errand(site, existed=None)), Undecided)

    async def test_or_was_made_too_long_before(self, site: Site) -> None:
        """The question before the send may have met a Nova that was behind."""
        await made(site, errand(site))
        await asyncio.sleep(CLOCK_SKEW + 1)
        assert isinstance(await looked(site, errand(site)), Undecided)

    async def test_or_was_never_sent(self, site: Site) -> None:
        await made(site, errand(site))
        assert isinstance(await looked(site, errand(site, attempts=())), Undecided)

    async def test_what_names_none_cannot_be_found(self, site: Site) -> None:
        assert isinstance(await looked(site, errand(site, raw=b"{}")), Undecided)

    async def test_names_are_stripped_as_v2_does(self, site: Site) -> None:
        document = {"keypair": {"name": " kp ", "public_key": KEY}}
        await made(site, errand(site, IMPORTED))
        finding = await looked(site, errand(site, document, path="/v2/os-keypairs"))
        assert isinstance(finding, Found)
        assert finding.resource.id == "kp"

    @pytest.mark.parametrize("document", [GENERATED, IMPORTED])
    async def test_the_service_user_finds_the_same(self, site: Site, document: Any) -> None:
        wanted = errand(site, document)
        await made(site, wanted)
        seen = await looked(site, wanted)
        assert await looked(site, wanted, Expired(site), service=True) == seen

    async def test_without_one_nova_does_not_tell(self, site: Site) -> None:
        with pytest.raises(CannotAsk, match="Nova answered 401"):
            await looked(site, errand(site), Expired(site))


class TestResource:
    @pytest.mark.parametrize(("path", "version"), VERSIONS)
    async def test_is_the_keypair_that_the_answer_holds(
        self, site: Site, path: str, version: str | None
    ) -> None:
        wanted = errand(site, path=path, version=version)
        resource = PROBE.resource(wanted, await made(site, wanted))
        assert resource == Resource("keypair", "kp", "kp", f"{path}/kp")

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"\xff"', b'{"keypair": {}}'])
    def test_what_names_none_has_none(self, site: Site, body: bytes) -> None:
        assert PROBE.resource(errand(site), Answer(201, (), body)) is None


class TestDiscard:
    async def discard(
        self, site: Site, wanted: Errand, cloud: Cloud | None = None, *, service: bool = False
    ) -> bool:
        resource = Resource("keypair", "kp")
        return await PROBE.discard(wanted, resource, asker_of(site, wanted, cloud, service=service))

    @pytest.mark.parametrize(("path", "version"), VERSIONS)
    async def test_deletes_what_was_not_there_before(
        self, site: Site, path: str, version: str | None
    ) -> None:
        wanted = errand(site, path=path, version=version)
        await made(site, wanted)
        assert await self.discard(site, wanted)
        assert not kept(site)

    @pytest.mark.parametrize("before", [True, None])
    async def test_and_nothing_else(self, site: Site, before: bool | None) -> None:
        await made(site, errand(site))
        assert not await self.discard(site, errand(site, existed=before))
        assert kept(site) == ["kp"]
        assert not site.cloud.sent

    async def test_what_is_gone_is_gone(self, site: Site) -> None:
        assert await self.discard(site, errand(site))

    async def test_what_nova_does_not_delete_is_still_there(self, site: Site) -> None:
        await made(site, errand(site))
        site.cloud.torment(Rule(fault="409-before", method="DELETE"))
        assert not await self.discard(site, errand(site))

    async def test_another_user_s_only_where_the_request_says_so(self, site: Site) -> None:
        document = {"keypair": {"name": "kp", "user_id": "alice"}}
        await made(site, errand(site))
        await made(site, errand(site, auth=ADMIN))
        assert await self.discard(site, errand(site, document, auth=ADMIN, version="2.10"))
        assert (kept(site), kept(site, "root")) == ([], ["kp"])

    async def test_the_service_user_deletes_the_caller_s(self, site: Site) -> None:
        await made(site, errand(site))
        await made(site, errand(site, auth=SERVICE))
        assert await self.discard(site, errand(site), Expired(site), service=True)
        assert (kept(site), kept(site, "dedupd")) == ([], ["kp"])


class TestAdopt:
    """An operator names the keypair."""

    async def adopted(self, site: Site, wanted: Errand, name: str = "kp") -> Finding:
        return await PROBE.adopt(wanted, asker_of(site, wanted), name)

    async def test_an_imported_one_is_taken_for_the_answer(self, site: Site) -> None:
        wanted = errand(site, IMPORTED, existed=None)
        lost = await made(site, wanted)
        finding = await self.adopted(site, wanted)
        assert isinstance(finding, Found)
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)

    async def test_a_generated_one_too_without_its_private_key(self, site: Site) -> None:
        wanted = errand(site)
        lost = msgspec.json.decode((await made(site, wanted)).body)["keypair"]
        finding = await self.adopted(site, wanted)
        assert isinstance(finding, Found)
        shown = msgspec.json.decode(finding.answer.body)["keypair"]
        assert lost == shown | {"private_key": lost["private_key"]}

    async def test_not_with_another_key(self, site: Site) -> None:
        await made(site, errand(site, {"keypair": {"name": "kp", "public_key": OTHER_KEY}}))
        finding = await self.adopted(site, errand(site, IMPORTED))
        assert isinstance(finding, Undecided)
        assert "another public key" in finding.reason

    async def test_not_by_another_name(self, site: Site) -> None:
        assert isinstance(await self.adopted(site, errand(site), "other"), Undecided)
        assert isinstance(await self.adopted(site, errand(site, raw=b"{}"), "kp"), Undecided)

    async def test_not_where_there_is_none(self, site: Site) -> None:
        assert await self.adopted(site, errand(site)) == Absent()


async def test_a_key_of_another_sort_is_asked_for_by_its_own_version(site: Site) -> None:
    """Questions carry the caller's microversion, so that answers have its form."""
    versions: list[str | None] = []

    async def note(_: Call) -> None:
        versions.append(site.cloud.sent[-1].header("openstack-api-version"))

    site.cloud.before_send = note
    await looked(site, errand(site, version="2.92"))
    await looked(site, errand(site, version=None))
    await looked(site, errand(site, path="/v2/os-keypairs", version="2.92"))
    assert versions == ["compute 2.92", None, None]
