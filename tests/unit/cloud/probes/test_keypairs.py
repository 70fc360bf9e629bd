"""POST /os-keypairs: one name once for each user; a public key is the mark of its keypair."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dedupd import ssh_key
from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes.base import Absent, Errand, Finding, Found, Undecided
from dedupd.cloud.probes.keypairs import KeypairProbe, generates
from dedupd.exchange import Answer, Call
from dedupd.microversion import LATEST, LOWEST, Microversion
from dedupd.ports import Cloud
from dedupd.request import Resource
from dedupd.sim.faults import Rule
from tests.unit.cloud.probes.errands import DRAWN, SERVICE, Expired, asker_of, errand_of
from tests.unit.site import KEYPAIRS, PROJECT, Site, call_of

VIRTUAL_TIME = True

KEY, OTHER_KEY = ssh_key.generate().public_key, ssh_key.generate().public_key
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


def test_an_imported_key_goes_out_as_it_came(site: Site) -> None:
    wanted = errand(site, IMPORTED)
    assert PROBE.prepare(wanted) == wanted.payload.call


def test_one_that_was_drawn_goes_with_it(site: Site) -> None:
    wanted = errand(site, {"keypair": {"name": "kp", "type": "ssh"}, "x": 1})
    sent = PROBE.prepare(wanted)
    assert msgspec.json.decode(sent.body) == {
        "keypair": {"name": "kp", "type": "ssh", "public_key": DRAWN.public_key},
        "x": 1,
    }
    assert msgspec.structs.replace(sent, body=b"") == msgspec.structs.replace(
        wanted.payload.call, body=b""
    )


@pytest.mark.parametrize(
    ("document", "version", "generated"),
    [
        (GENERATED, LOWEST, True),
        (GENERATED, Microversion(2, 91), True),
        (GENERATED, Microversion(2, 92), False),
        (GENERATED, LATEST, False),
        (IMPORTED, LOWEST, False),
        ({"keypair": {"name": "kp", "public_key": None}}, LOWEST, False),
        ({"keypair": {"name": "kp", "type": "ssh"}}, LOWEST, True),
        ({"keypair": {"name": "kp", "type": "x509"}}, LOWEST, False),
        ({"keypair": {"name": 1}}, LOWEST, False),
        ({"keypair": None}, LOWEST, False),
        ([], LOWEST, False),
    ],
)
def test_what_nova_would_generate(document: Any, version: Microversion, generated: bool) -> None:
    assert generates(document, version) is generated


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
        wanted = errand(site, IMPORTED, path=path, version=version)
        assert await existed(site, wanted) is False
        await made(site, wanted)
        assert await existed(site, wanted) is True
        assert {sent.call.method for sent in site.cloud.sent} == {"GET"}

    async def test_another_user_s_does_not_count(self, site: Site) -> None:
        await made(site, errand(site, auth=f"bob:{PROJECT}"))
        assert await existed(site, errand(site, IMPORTED)) is False

    async def test_for_another_user_that_one_s_do(self, site: Site) -> None:
        document = {"keypair": {"name": "kp", "user_id": "alice", "public_key": KEY}}
        wanted = errand(site, document, auth=ADMIN, version="2.10")
        await made(site, errand(site, auth=ADMIN))
        assert await existed(site, wanted) is False
        await made(site, errand(site))
        assert await existed(site, wanted) is True

    async def test_below_210_a_user_counts_for_nothing(self, site: Site) -> None:
        document = {"keypair": {"name": "kp", "user_id": "bob", "public_key": KEY}}
        await made(site, errand(site))
        assert await existed(site, errand(site, document, version="2.9")) is True

    @pytest.mark.parametrize("name", ["a b", "a/b", "ü", "a.b@c", "50%"])
    async def test_names_are_quoted(self, site: Site, name: str) -> None:
        await existed(site, errand(site, {"keypair": {"name": name, "public_key": KEY}}))
        [sent] = site.cloud.sent
        assert sent.path.count("/") == KEYPAIRS.count("/") + 1
        assert " " not in sent.call.target

    async def test_the_service_user_asks_where_the_caller_s_token_has_ended(
        self, site: Site
    ) -> None:
        wanted = errand(site, IMPORTED)
        assert await existed(site, wanted, Expired(site), service=True) is False
        await made(site, wanted)
        assert await existed(site, wanted, Expired(site), service=True) is True
        assert {sent.header("x-auth-token") for sent in site.cloud.sent} == {SERVICE}

    async def test_without_one_it_is_not_known(self, site: Site) -> None:
        assert await existed(site, errand(site, IMPORTED), Expired(site)) is None

    async def test_nova_may_not_tell(self, site: Site) -> None:
        site.cloud.torment(Rule(fault="503-before", times=10))
        with pytest.raises(CannotAsk):
            await existed(site, errand(site, IMPORTED))

    @pytest.mark.parametrize("document", [{}, [], {"keypair": None}, {"keypair": {"name": 1}}])
    async def test_what_names_none_is_not_asked_for(self, site: Site, document: Any) -> None:
        assert await existed(site, errand(site, raw=msgspec.json.encode(document))) is None
        assert not site.cloud.sent

    async def test_nor_is_what_nobody_else_can_have(self, site: Site) -> None:
        """The key was drawn for this request."""
        await made(site, errand(site, IMPORTED))
        assert await existed(site, errand(site)) is None
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

    @pytest.mark.parametrize(("path", "version"), VERSIONS)
    async def test_one_that_was_drawn_is_adopted_with_its_private_key(
        self, site: Site, path: str, version: str | None
    ) -> None:
        wanted = errand(site, path=path, version=version, existed=None)
        answer = PROBE.complete(wanted, await made(site, wanted))
        finding = await looked(site, wanted)
        assert isinstance(finding, Found)
        assert finding.answer.body == answer.body
        keypair = msgspec.json.decode(answer.body)["keypair"]
        assert (keypair["private_key"], keypair["public_key"]) == (
            DRAWN.private_key,
            DRAWN.public_key,
        )

    async def test_another_of_that_name_was_never_ours(self, site: Site) -> None:
        """Made by hand, for example, while the answer was in doubt."""
        await made(site, errand(site, IMPORTED))
        assert await looked(site, errand(site)) == Absent()

    async def test_the_key_of_a_certificate_is_lost_with_its_answer(self, site: Site) -> None:
        wanted = errand(site, drawn=False)
        await made(site, wanted)
        finding = await looked(site, wanted)
        assert isinstance(finding, Undecided)
        assert "private key went with the lost answer" in finding.reason

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


class TestComplete:
    @pytest.mark.parametrize(("path", "version"), VERSIONS)
    async def test_the_answer_is_as_nova_gives_it_where_it_generates_the_key(
        self, site: Site, path: str, version: str | None
    ) -> None:
        wanted = errand(site, path=path, version=version)
        completed = PROBE.complete(wanted, await made(site, wanted))
        site.cloud.carry_out(call_of({"keypair": {"name": "by-nova"}}, path, version))
        await asyncio.sleep(1)
        generated = site.cloud.made[-1]
        assert completed.status == generated.status
        told, nova = (
            msgspec.json.decode(answer.body)["keypair"] for answer in (completed, generated)
        )
        assert list(told) == list(nova)
        assert told["private_key"] == DRAWN.private_key
        assert completed.body.startswith(b'{"keypair": {"private_key": "-----BEGIN RSA PRIVATE')

    async def test_an_imported_key_has_none(self, site: Site) -> None:
        wanted = errand(site, IMPORTED)
        answer = await made(site, wanted)
        assert PROBE.complete(wanted, answer) == answer

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"\xff"', b'{"keypair": 1}'])
    def test_what_cannot_be_read_stays_as_it_is(self, site: Site, body: bytes) -> None:
        answer = Answer(201, (), body)
        assert PROBE.complete(errand(site), answer) == answer


class TestSurplus:
    async def surplus(self, site: Site, named: Resource | None) -> tuple[Resource, ...]:
        wanted = errand(site)
        return await PROBE.surplus(wanted, named, asker_of(site, wanted))

    async def test_is_what_is_there_beside_a_failure(self, site: Site) -> None:
        await made(site, errand(site))
        assert await self.surplus(site, None) == (
            Resource("keypair", "kp", "kp", f"{KEYPAIRS}/kp"),
        )

    async def test_nothing_else_is(self, site: Site) -> None:
        assert await self.surplus(site, None) == ()
        await made(site, errand(site, IMPORTED))
        assert await self.surplus(site, None) == ()
        assert await self.surplus(site, Resource("keypair", "kp")) == ()


async def test_none_is_ever_deleted(site: Site) -> None:
    wanted = errand(site)
    await made(site, wanted)
    asker = asker_of(site, wanted)
    assert await PROBE.discard(wanted, Resource("keypair", "kp"), asker) == ()
    assert not site.cloud.sent


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

    @pytest.mark.parametrize("drawn", [True, False])
    async def test_a_generated_one_with_its_private_key_if_that_was_drawn(
        self, site: Site, drawn: bool
    ) -> None:
        wanted = errand(site, drawn=drawn)
        lost = PROBE.complete(wanted, await made(site, wanted))
        finding = await self.adopted(site, wanted)
        assert isinstance(finding, Found)
        keypair = msgspec.json.decode(lost.body)["keypair"]
        if not drawn:
            del keypair["private_key"]
        assert msgspec.json.decode(finding.answer.body)["keypair"] == keypair

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
