"""POST /servers: marked, found again by the mark, and its lost answer rebuilt."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes.base import Absent, Discarded, Errand, Finding, Found, Undecided
from dedupd.cloud.probes.server_answer import PASSWORD_GROUPS, PASSWORD_LENGTH, password
from dedupd.cloud.probes.server_rows import (
    CLOCK_SKEW,
    MAX_METADATA,
    MAX_TAGS,
    METADATA_KEY,
    TAG_PREFIX,
)
from dedupd.cloud.probes.servers import ServerProbe
from dedupd.exchange import Answer, Call
from dedupd.ports import Cloud
from dedupd.request import Attempt, Resource
from dedupd.sim.faults import Rule
from dedupd.sim.nova.world import Settings
from tests.unit.cloud.probes.errands import (
    MARK,
    SEED,
    SERVICE,
    Altered,
    Expired,
    Scheduling,
    asker_of,
    errand_of,
)
from tests.unit.simulated_cloud import SimulatedCloud
from tests.unit.site import AUTH, PROJECT, SERVERS, VM, Site

VIRTUAL_TIME = True

TAG = TAG_PREFIX + MARK
OLD: dict[str, Any] = {
    "server": {key: VM["server"][key] for key in ("name", "flavorRef", "imageRef")}
}
"""What every version takes; from 2.37 on ``networks`` is needed too."""
OTHER = "0" * 31 + "2"


def server(**members: Any) -> dict[str, Any]:
    return {"server": VM["server"] | members}


def old(**members: Any) -> dict[str, Any]:
    return {"server": OLD["server"] | members}


def prepared(errand: Errand) -> dict[str, Any]:
    call = ServerProbe().prepare(errand)
    assert (call.method, call.target, call.headers) == (
        errand.payload.call.method,
        errand.payload.call.target,
        errand.payload.call.headers,
    )
    document: dict[str, Any] = msgspec.json.decode(call.body)
    return document


class TestMark:
    @pytest.mark.parametrize(
        ("path", "version", "tagged"),
        [
            (SERVERS, "2.52", True),
            (SERVERS, "2.96", True),
            (SERVERS, "latest", True),
            (SERVERS, "2.51", False),
            (SERVERS, "2.1", False),
            (SERVERS, None, False),
            ("/v2/servers", "2.96", False),
            (f"/v2/{PROJECT}/servers", "latest", False),
        ],
    )
    def test_is_a_tag_where_nova_takes_one_else_metadata(
        self, site: Site, path: str, version: str | None, tagged: bool
    ) -> None:
        """On /v2 the version counts for nothing, and tags are dropped without a word."""
        sent = prepared(errand_of(site, path=path, version=version))["server"]
        assert sent.get("tags") == ([TAG] if tagged else None)
        assert sent.get("metadata") == (None if tagged else {METADATA_KEY: MARK})

    def test_stands_beside_what_the_client_gave(self, site: Site) -> None:
        document = server(tags=["a", "b"], metadata={"k": "v"})
        sent = prepared(errand_of(site, document))["server"]
        assert (sent["tags"], sent["metadata"]) == (["a", "b", TAG], {"k": "v"})
        sent = prepared(errand_of(site, document, version="2.51"))["server"]
        assert sent["metadata"] == {"k": "v", METADATA_KEY: MARK}

    @pytest.mark.parametrize(
        ("tags", "tagged"), [(MAX_TAGS - 1, True), (MAX_TAGS, False), (MAX_TAGS + 1, False)]
    )
    def test_is_metadata_where_all_tags_are_used(self, site: Site, tags: int, tagged: bool) -> None:
        given_tags = [f"t{number}" for number in range(tags)]
        sent = prepared(errand_of(site, server(tags=given_tags)))["server"]
        assert sent["tags"] == given_tags + [TAG] * tagged
        assert ("metadata" in sent) is not tagged

    @pytest.mark.parametrize(("items", "room"), [(MAX_METADATA - 1, True), (MAX_METADATA, False)])
    def test_is_left_out_where_there_is_no_room(self, site: Site, items: int, room: bool) -> None:
        """One item too many, and a good request would be refused."""
        metadata = {f"k{number}": "v" for number in range(items)}
        sent = prepared(errand_of(site, server(metadata=metadata), version="2.51"))["server"]
        assert sent["metadata"] == metadata | ({METADATA_KEY: MARK} if room else {})

    @pytest.mark.parametrize("wrong", [None, "a", 1])
    def test_what_is_malformed_is_left_for_nova_to_refuse(self, site: Site, wrong: Any) -> None:
        sent = prepared(errand_of(site, server(tags=wrong)))["server"]
        assert sent["tags"] == wrong
        sent = prepared(errand_of(site, server(metadata=wrong), version="2.51"))["server"]
        assert sent["metadata"] == wrong


class TestPrepare:
    def test_nothing_else_changes(self, site: Site) -> None:
        document = server(description="é", min_count=2**70) | {"os:scheduler_hints": {"x": [1.0]}}
        sent = prepared(errand_of(site, document))
        assert sent == document | {
            "server": document["server"] | {"tags": [TAG], "adminPass": password(SEED)}
        }

    def test_is_the_same_each_time(self, site: Site) -> None:
        errand = errand_of(site)
        assert ServerProbe().prepare(errand) == ServerProbe().prepare(errand)

    @pytest.mark.parametrize("given_password", ["mine", "", None])
    def test_the_client_s_password_stays(self, site: Site, given_password: str | None) -> None:
        sent = prepared(errand_of(site, server(adminPass=given_password)))["server"]
        assert sent["adminPass"] == given_password

    @pytest.mark.parametrize("document", [None, [], "x", {}, {"server": None}, {"server": [1]}])
    def test_what_is_no_server_goes_out_as_it_came(self, site: Site, document: Any) -> None:
        raw = b" " + msgspec.json.encode(document)
        errand = errand_of(site, raw=raw)
        assert ServerProbe().prepare(errand) == errand.payload.call


class TestPassword:
    @settings(max_examples=60, deadline=None)
    @given(st.binary(min_size=16, max_size=16))
    def test_looks_as_nova_s(self, seed: bytes) -> None:
        made = password(seed)
        assert len(made) == PASSWORD_LENGTH
        assert set(made) <= set("".join(PASSWORD_GROUPS))
        assert all(set(made) & set(group) for group in PASSWORD_GROUPS)
        assert password(seed) == made

    def test_another_seed_gives_another(self) -> None:
        seeds = [bytes([number] * 16) for number in range(200)]
        assert len({password(seed) for seed in seeds}) == 200

    def test_every_symbol_comes_about_equally_often(self) -> None:
        drawn = "".join(password(number.to_bytes(16, "big")) for number in range(2000))
        letters = [drawn.count(letter) for letter in PASSWORD_GROUPS[2]]
        assert max(letters) < 1.4 * min(letters)


async def made(site: Site, errand: Errand, probe: ServerProbe | None = None) -> Answer:
    """The errand's server comes into being; what Nova said."""
    site.cloud.carry_out((probe or ServerProbe()).prepare(errand))
    await asyncio.sleep(2)
    answer = site.cloud.made[-1]
    assert answer.status == 202, answer.body
    return with_project(errand, answer)


def with_project(errand: Errand, answer: Answer) -> Answer:
    """Nova keeps a project that stands in the path in its links (measured)."""
    project = errand.base.removeprefix(errand.root).encode()

    def completed(text: bytes) -> bytes:
        text = text.replace(
            errand.root.encode() + b"/servers/", errand.base.encode() + b"/servers/"
        )
        return text.replace(b".org/servers/", b".org" + project + b"/servers/")

    headers = tuple((name, completed(value)) for name, value in answer.headers)
    return Answer(answer.status, headers, completed(answer.body))


async def looked(
    site: Site,
    errand: Errand,
    *,
    cloud: Cloud | None = None,
    service: bool = False,
    probe: ServerProbe | None = None,
) -> Finding:
    asker = asker_of(site, errand, cloud, service=service)
    return await (probe or ServerProbe()).look(errand, asker)


def found_id(finding: Finding) -> str:
    assert isinstance(finding, Found)
    return finding.resource.id


ERRANDS = [
    pytest.param({}, id="tag"),
    pytest.param({"version": "latest"}, id="latest"),
    pytest.param({"version": "2.51"}, id="metadata"),
    pytest.param({"document": OLD, "version": None}, id="2.1"),
    pytest.param({"document": OLD, "path": "/v2/servers"}, id="v2"),
    pytest.param({"path": f"/v2.1/{PROJECT}/servers"}, id="project"),
    pytest.param({"document": OLD, "path": f"/v2/{PROJECT}/servers"}, id="v2, project"),
]


class TestLook:
    @pytest.mark.parametrize("what", ERRANDS)
    async def test_finds_its_own(self, site: Site, what: dict[str, Any]) -> None:
        errand = errand_of(site, **what)
        answer = await made(site, errand)
        name = msgspec.json.decode(answer.body)["server"]["id"]
        assert found_id(await looked(site, errand)) == name

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_and_no_other_s(self, site: Site, what: dict[str, Any]) -> None:
        """Same name, same user, same time; the filters of old versions let them all through."""
        other = errand_of(site, **what, mark=OTHER)
        await made(site, other)
        assert await looked(site, errand_of(site, **what)) == Absent()

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_and_none_of_an_earlier_life_of_its_token(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        """The same mark, and made before the first send by more than clocks should differ.

        In case they do differ by so much, it is not taken for proof that nothing was made.
        """
        earlier = errand_of(site, **what)
        name = msgspec.json.decode((await made(site, earlier)).body)["server"]["id"]
        await asyncio.sleep(CLOCK_SKEW)
        errand, probe = errand_of(site, **what), ServerProbe()
        asker = asker_of(site, errand)
        finding = await probe.look(errand, asker)
        assert isinstance(finding, Undecided)
        assert name in finding.reason
        assert isinstance(await probe.adopt(errand, asker, name), Undecided)
        assert await probe.discard(errand, Resource("server", name), asker) == ()
        counted = Resource(
            "server", msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        )
        assert await probe.surplus(errand, counted, asker) == ()
        assert found_id(await probe.look(errand, asker)) == counted.id

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_and_none_of_another_user_s_of_the_project(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        """The token was theirs, and was forgotten: its password is not this user's to know."""
        await made(site, errand_of(site, **what, auth=f"bob:{PROJECT}"))
        assert isinstance(await looked(site, errand_of(site, **what)), Undecided)

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_on_any_page(self, site: Site, what: dict[str, Any]) -> None:
        site.cloud = SimulatedCloud(site.clock, Settings(page_limit=2))
        errand = errand_of(site, **what)
        answer = await made(site, errand)
        for number in range(5):
            await made(site, errand_of(site, **what, mark=f"{number:032}"))
        name = msgspec.json.decode(answer.body)["server"]["id"]
        assert found_id(await looked(site, errand)) == name

    async def test_a_list_that_may_lack_some_decides_nothing(self, site: Site) -> None:
        waiting = Settings(page_limit=1, schedule_seconds=1e3, build_seconds=1e3)
        site.cloud = SimulatedCloud(site.clock, waiting)
        errand = errand_of(site, version="2.51")
        answer = await made(site, errand)
        await made(site, errand_of(site, version="2.51", mark=OTHER))
        with pytest.raises(CannotAsk, match="wait for a host"):
            await looked(site, errand, cloud=Scheduling(site))
        name = msgspec.json.decode(answer.body)["server"]["id"]
        assert found_id(await looked(site, errand)) == name

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_under_another_name(self, site: Site, what: dict[str, Any]) -> None:
        errand = errand_of(site, **what)
        name = msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        site.cloud.nova._world.servers[name].name = "renamed"
        site.cloud.nova._world.servers[name].updated = site.clock()
        assert found_id(await looked(site, errand)) == name

    @pytest.mark.parametrize(
        "name", ["a.b", "a(b", "a[b]c", "a\\d", "^x$", "a b", "a|b", "ü", "x*"]
    )
    async def test_whatever_its_name(self, site: Site, name: str) -> None:
        errand = errand_of(site, server(name=name), version="2.51")
        answer = await made(site, errand)
        await made(site, errand_of(site, server(name=name + "x"), version="2.51", mark=OTHER))
        found = await looked(site, errand)
        assert found_id(found) == msgspec.json.decode(answer.body)["server"]["id"]

    async def test_even_if_it_comes_while_it_is_looked_for(self, site: Site) -> None:
        errand = errand_of(site)

        async def late(call: Call) -> None:
            if call.target == f"{SERVERS}/detail":
                site.cloud.carry_out(ServerProbe().prepare(errand))

        site.cloud.before_send = late
        finding = await looked(site, errand)
        assert found_id(finding) == site.servers()[0]["id"]

    async def test_what_was_not_marked_cannot_be_found(self, site: Site) -> None:
        metadata = {f"k{number}": "v" for number in range(MAX_METADATA)}
        errand = errand_of(site, server(metadata=metadata), version="2.51")
        await made(site, errand)
        assert isinstance(await looked(site, errand), Undecided)
        assert isinstance(await looked(site, errand_of(site, raw=b"[]")), Undecided)

    async def test_nova_may_not_tell(self, site: Site) -> None:
        errand = errand_of(site)
        site.cloud.torment(Rule(fault="404-before", method="GET"))
        with pytest.raises(CannotAsk, match="Listing servers: Nova answered 404"):
            await looked(site, errand)
        cloud = Altered(site, "/servers/detail", {"servers": [{"id": 1}]})
        with pytest.raises(CannotAsk, match="cannot be read"):
            await looked(site, errand, cloud=cloud)


class TestGlance:
    """A look that costs Nova little: it may find, and never says that there is nothing."""

    async def glanced(self, site: Site, errand: Errand) -> Finding:
        return await ServerProbe().look(errand, asker_of(site, errand), thorough=False)

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_finds_what_still_has_name_and_mark(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        errand = errand_of(site, **what)
        answer = await made(site, errand)
        name = msgspec.json.decode(answer.body)["server"]["id"]
        assert found_id(await self.glanced(site, errand)) == name

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_asks_once_and_decides_nothing_else(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        assert isinstance(await self.glanced(site, errand_of(site, **what)), Undecided)
        assert len(site.cloud.sent) == 1
        assert "changes-since" not in site.cloud.sent[0].query


class TestDeleted:
    """Nova forgets the marks of a deleted server; it shows the rest when asked by time."""

    async def deleted(self, site: Site, **what: Any) -> str:
        errand = errand_of(site, **({"mark": OTHER} | what))
        answer = await made(site, errand)
        name: str = msgspec.json.decode(answer.body)["server"]["id"]
        asked = site.cloud.ask("DELETE", f"{SERVERS}/{name}", what.get("auth", AUTH))
        assert asked.status == 204
        return name

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_one_that_may_be_ours_is_no_answer(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        errand = errand_of(site, **what)
        name = await self.deleted(site, **what)
        finding = await looked(site, errand)
        assert isinstance(finding, Undecided)
        assert f"Server {name} was made since and deleted" in finding.reason

    async def test_one_of_several_neither(self, site: Site) -> None:
        errand = errand_of(site, server(min_count=3))
        assert isinstance(await self.deleted(site, document=server(name="vm-2")), str)
        assert isinstance(await looked(site, errand), Undecided)

    async def test_another_user_s_is_not_ours(self, site: Site) -> None:
        await self.deleted(site, auth=f"bob:{PROJECT}")
        assert await looked(site, errand_of(site)) == Absent()

    async def test_another_name_is_not_ours(self, site: Site) -> None:
        await self.deleted(site, document=server(name="vm2"))
        assert await looked(site, errand_of(site)) == Absent()

    async def test_what_was_made_long_before_is_not_ours(self, site: Site) -> None:
        await self.deleted(site)
        await asyncio.sleep(CLOCK_SKEW)
        assert await looked(site, errand_of(site)) == Absent()

    async def test_clocks_may_differ(self, site: Site) -> None:
        await self.deleted(site)
        await asyncio.sleep(CLOCK_SKEW - 10)
        assert isinstance(await looked(site, errand_of(site)), Undecided)

    async def test_the_first_attempt_counts(self, site: Site) -> None:
        """A server that an earlier attempt made may have been deleted long ago."""
        began = site.clock()
        attempts = (Attempt("w", began, began + 30), Attempt("w", began + 1000, began + 1030))
        await self.deleted(site)
        await asyncio.sleep(1000)
        assert isinstance(await looked(site, errand_of(site, attempts=attempts)), Undecided)

    async def test_one_that_lives_is_found_beside_one_that_does_not(self, site: Site) -> None:
        errand = errand_of(site)
        await self.deleted(site)
        name = msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        assert found_id(await looked(site, errand)) == name


class TestServiceUser:
    """Where the caller's token has ended, dedupd's own asks."""

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_finds_it_and_gives_the_caller_s_answer(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        errand = errand_of(site, **what)
        lost = await made(site, errand)
        for number in range(3):
            await made(site, errand_of(site, auth=f"bob:{number:032}"))
        finding = await looked(site, errand, cloud=Expired(site), service=True)
        assert isinstance(finding, Found)
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)
        assert finding.answer.header(b"location") == lost.header(b"location")
        assert {sent.header("x-auth-token") for sent in site.cloud.sent} == {SERVICE}

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_reads_the_reservation_id(self, site: Site, what: dict[str, Any]) -> None:
        """An administrator is shown it, but not on /v2, where no microversion counts."""
        document = {"server": what.get("document", VM)["server"] | {"return_reservation_id": True}}
        errand = errand_of(site, **what | {"document": document})
        site.cloud.carry_out(ServerProbe().prepare(errand))
        await asyncio.sleep(2)
        finding = await looked(site, errand, cloud=Expired(site), service=True)
        assert isinstance(finding, Found)
        told, lost = finding.answer.body, site.cloud.made[-1].body
        assert msgspec.json.decode(told) == msgspec.json.decode(lost)

    async def test_finds_nothing_too(self, site: Site) -> None:
        errand = errand_of(site)
        await made(site, errand_of(site, auth="bob:" + "b" * 32))
        assert await looked(site, errand, cloud=Expired(site), service=True) == Absent()

    async def test_without_one_nobody_can_ask(self, site: Site) -> None:
        errand = errand_of(site)
        await made(site, errand)
        with pytest.raises(CannotAsk, match=r"configure \[service_user\]"):
            await looked(site, errand, cloud=Expired(site))


FIELDS = (
    b"location",
    b"content-type",
    b"openstack-api-version",
    b"x-openstack-nova-api-version",
    b"vary",
    b"x-openstack-request-id",
    b"x-compute-request-id",
)
DOCUMENTS = [
    server(),
    server(security_groups=[{"name": "default"}]),
    server(security_groups=[{"name": "default"}, {"name": "default"}]),
    server(adminPass="mine"),
    server(**{"OS-DCF:diskConfig": "AUTO"}),
    server(min_count=3),
    server(min_count="2", max_count="2"),
    server(name="vm-7"),
    server(return_reservation_id=False),
]


class TestAnswer:
    @pytest.mark.parametrize("document", DOCUMENTS)
    async def test_is_the_one_that_was_lost(self, site: Site, document: dict[str, Any]) -> None:
        errand = errand_of(site, document)
        lost = await made(site, errand)
        finding = await looked(site, errand)
        assert isinstance(finding, Found)
        assert finding.surplus == ()
        assert finding.answer.status == 202
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)
        assert ServerProbe().resource(errand, lost) == finding.resource

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_with_its_headers(self, site: Site, what: dict[str, Any]) -> None:
        errand = errand_of(site, **what)
        lost = await made(site, errand)
        finding = await looked(site, errand)
        assert isinstance(finding, Found)

        def fields(answer: Answer) -> list[tuple[bytes, bytes]]:
            named = [(name.lower(), value) for name, value in answer.headers]
            return sorted(field for field in named if field[0] in FIELDS)

        assert fields(finding.answer) == fields(lost)
        assert finding.answer.header(b"content-length") is None

    async def test_in_nova_s_own_spelling(self, site: Site) -> None:
        """Python's json: separators with blanks, and ASCII (measured)."""
        errand = errand_of(site, server(adminPass="ü"))
        await made(site, errand)
        finding = await looked(site, errand)
        assert isinstance(finding, Found)
        assert finding.answer.body.startswith(b'{"server": {"id": "')
        assert finding.answer.body.endswith(b', "adminPass": "\\u00fc"}}')

    async def test_without_a_password_where_nova_gives_none(self, site: Site) -> None:
        """[api] enable_instance_password = False shows in its other answers only."""
        probe, errand = ServerProbe(), errand_of(site)
        lost = await made(site, errand)
        body = msgspec.json.decode(lost.body)
        del body["server"]["adminPass"]
        assert probe.resource(errand, Answer(202, (), msgspec.json.encode(body)))
        finding = await looked(site, errand, probe=probe)
        assert isinstance(finding, Found)
        assert msgspec.json.decode(finding.answer.body) == body
        assert probe.resource(errand, lost)
        finding = await looked(site, errand, probe=probe)
        assert isinstance(finding, Found)
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)

    @pytest.mark.parametrize("patience", [0.0, 15.0, 150.0])
    @pytest.mark.parametrize("document", [{"instanceActions": []}, {}, [], {"instanceActions": 1}])
    async def test_without_a_request_id_where_nova_has_not_noted_it(
        self, site: Site, document: Any, patience: float
    ) -> None:
        errand = errand_of(site)
        await made(site, errand)
        began = site.clock()
        never = Altered(site, "/os-instance-actions", document)
        finding = await looked(site, errand, cloud=never, probe=ServerProbe(patience))
        assert isinstance(finding, Found)
        assert finding.answer.header(b"x-openstack-request-id") is None
        assert patience <= site.clock() - began < patience + 5

    @pytest.mark.parametrize("status", [403, 404, 500])
    async def test_nor_where_nova_does_not_tell_it(self, site: Site, status: int) -> None:
        """The rest of the answer is not kept back for it."""
        errand = errand_of(site)
        lost = await made(site, errand)
        refusing = Altered(site, "/os-instance-actions", {}, status=status)
        finding = await looked(site, errand, cloud=refusing)
        assert isinstance(finding, Found)
        assert finding.answer.header(b"x-openstack-request-id") is None
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)

    async def test_however_slowly_nova_answers(self, site: Site) -> None:
        errand = errand_of(site)
        await made(site, errand)
        never = Altered(site, "/os-instance-actions", {"instanceActions": []}, seconds=9)
        began = site.clock()
        finding = await looked(site, errand, cloud=never, probe=ServerProbe(20))
        assert isinstance(finding, Found)
        assert 20 <= site.clock() - began < 20 + 2 * 9 + 2

    async def test_it_waits_for_the_request_id(self, site: Site) -> None:
        errand = errand_of(site)
        lost = await made(site, errand)
        site.cloud.torment(
            Rule(fault="404-before", method="GET", path="os-instance-actions", times=2)
        )
        finding = await looked(site, errand)
        assert isinstance(finding, Found)
        name = b"x-openstack-request-id"
        assert finding.answer.header(name) == lost.header(name)

    @pytest.mark.parametrize("roles", ["", ":admin"])
    @pytest.mark.parametrize("document", [server(), server(min_count=3)])
    async def test_a_reservation_s(self, site: Site, document: dict[str, Any], roles: str) -> None:
        """It is shown to administrators; anyone else asks for it bit by bit."""
        wanted = {"server": document["server"] | {"return_reservation_id": True}}
        await made(site, errand_of(site, wanted, mark=OTHER))
        errand = errand_of(site, wanted, auth=AUTH + roles)
        lost = await made(site, errand)
        finding = await looked(site, errand)
        assert isinstance(finding, Found)
        assert finding.answer.body == msgspec.json.encode(msgspec.json.decode(lost.body)).replace(
            b":", b": "
        )
        assert finding.answer.header(b"location") is None
        assert finding.resource.type == "reservation"
        assert ServerProbe().resource(errand, lost) == finding.resource

    async def test_a_reservation_that_cannot_be_read_is_no_answer(self, site: Site) -> None:
        errand = errand_of(site, server(return_reservation_id=True))
        lost = await made(site, errand)
        assert b"reservation_id" in lost.body
        [row] = site.servers()
        site.cloud.nova._world.servers[row["id"]].reservation_id = "r-TOOLONGXX"
        finding = await looked(site, errand)
        assert isinstance(finding, Undecided)
        assert "its reservation id cannot be read" in finding.reason


SEVERAL = [{"min_count": 3}, {"min_count": 2, "max_count": 3, "return_reservation_id": True}]


async def made_of_each(site: Site, errand: Errand, *, posts: int) -> list[set[str]]:
    """Send the same several times; the ids of what each POST made."""
    groups: list[set[str]] = []
    for _ in range(posts):
        before = {row["id"] for row in site.servers()}
        await made(site, errand)
        groups.append({row["id"] for row in site.servers()} - before)
        await asyncio.sleep(5)  # until Nova has noted which request made them
    return groups


class TestSurplus:
    async def test_the_oldest_is_kept(self, site: Site) -> None:
        errand = errand_of(site)
        names = [
            msgspec.json.decode((await made(site, errand)).body)["server"]["id"] for _ in range(3)
        ]
        finding = await looked(site, errand)
        assert found_id(finding) == names[0]
        assert isinstance(finding, Found)
        assert sorted(surplus.id for surplus in finding.surplus) == sorted(names[1:])

    @pytest.mark.parametrize("members", SEVERAL)
    async def test_and_those_that_came_with_it(self, site: Site, members: dict[str, Any]) -> None:
        errand = errand_of(site, server(**members))
        kept, extra = await made_of_each(site, errand, posts=2)
        finding = await looked(site, errand)
        assert isinstance(finding, Found)
        assert {surplus.id for surplus in finding.surplus} == extra
        assert not kept & extra

    @pytest.mark.parametrize("times", [1, 99])
    async def test_of_what_nova_has_not_noted_nothing_is_surplus(
        self, site: Site, times: int
    ) -> None:
        errand = errand_of(site, server(min_count=2))
        await made_of_each(site, errand, posts=2)
        site.cloud.torment(Rule(fault="404-before", method="GET", path="actions", times=times))
        finding = await looked(site, errand)
        assert isinstance(finding, Found)
        assert finding.surplus == ()


class TestMadeByOtherPosts:
    """What is surplus where the record names one."""

    async def surplus(
        self, site: Site, errand: Errand, named: Resource | None, cloud: Cloud | None = None
    ) -> set[str]:
        found = await ServerProbe().surplus(errand, named, asker_of(site, errand, cloud))
        assert {resource.type for resource in found} <= {"server"}
        return {resource.id for resource in found}

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_is_what_bears_the_mark_and_is_not_named(
        self, site: Site, what: dict[str, Any]
    ) -> None:
        errand = errand_of(site, **what)
        first, second = await made_of_each(site, errand, posts=2)
        await made(site, errand_of(site, **what, mark=OTHER))
        [name] = first
        assert await self.surplus(site, errand, Resource("server", name)) == second
        assert await self.surplus(site, errand, Resource("server", "elsewhere")) == first | second
        assert await self.surplus(site, errand, None) == first | second

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_whatever_it_is_called_by_now(self, site: Site, what: dict[str, Any]) -> None:
        errand = errand_of(site, **what)
        first, second = await made_of_each(site, errand, posts=2)
        for name in second:
            site.cloud.nova._world.servers[name].name = "renamed"
        assert await self.surplus(site, errand, Resource("server", *first)) == second

    @pytest.mark.parametrize("number", [0, 1])
    @pytest.mark.parametrize("members", SEVERAL)
    async def test_of_several_it_is_all_that_one_post_made(
        self, site: Site, members: dict[str, Any], number: int
    ) -> None:
        errand = errand_of(site, server(**members))
        groups = await made_of_each(site, errand, posts=2)
        named = ServerProbe().resource(errand, site.cloud.made[number])
        assert await self.surplus(site, errand, named) == groups[1 - number]
        assert await self.surplus(site, errand, None) == groups[0] | groups[1]

    @pytest.mark.parametrize("members", SEVERAL)
    async def test_it_is_not_told_where_the_named_are_gone(
        self, site: Site, members: dict[str, Any]
    ) -> None:
        errand = errand_of(site, server(**members))
        first, _ = await made_of_each(site, errand, posts=2)
        named = ServerProbe().resource(errand, site.cloud.made[0])
        for name in first:
            site.cloud.ask("DELETE", f"{SERVERS}/{name}", AUTH)
        with pytest.raises(CannotAsk, match="not there to be compared with"):
            await self.surplus(site, errand, named)

    async def test_nor_where_nova_has_not_noted_which_post_made_which(self, site: Site) -> None:
        errand = errand_of(site, server(min_count=2))
        await made_of_each(site, errand, posts=2)
        named = ServerProbe().resource(errand, site.cloud.made[0])
        site.cloud.torment(Rule(fault="404-before", method="GET", path="actions", times=1))
        with pytest.raises(CannotAsk, match="which POST made it"):
            await self.surplus(site, errand, named)

    async def test_nor_while_a_cell_is_down(self, site: Site) -> None:
        errand = errand_of(site)
        hidden = {"servers": [{"id": "s-9", "links": [], "created": "2999-01-01T00:00:00Z"}]}
        cloud = Altered(site, "/servers/detail", hidden, bare=True)
        with pytest.raises(CannotAsk, match="cell"):
            await self.surplus(site, errand, None, cloud)

    async def test_nor_of_what_could_not_be_marked(self, site: Site) -> None:
        metadata = {f"k{number}": "v" for number in range(MAX_METADATA)}
        errand = errand_of(site, old(metadata=metadata), version="2.1")
        with pytest.raises(CannotAsk, match="marked"):
            await self.surplus(site, errand, None)


class TestResource:
    def resource(self, site: Site, body: bytes) -> Resource | None:
        return ServerProbe().resource(errand_of(site), Answer(202, (), body))

    def test_is_the_server_that_the_answer_names(self, site: Site) -> None:
        body = b'{"server": {"id": "s-1", "links": [{"rel": "self", "href": "http://n/s-1"}]}}'
        assert self.resource(site, body) == Resource("server", "s-1", "vm", "http://n/s-1")

    def test_or_the_reservation(self, site: Site) -> None:
        body = b'{"reservation_id": "r-1"}'
        assert self.resource(site, body) == Resource("reservation", "r-1")

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>",
            b'"\xff"',
            b"[]",
            b"null",
            b"{}",
            b'{"server": null}',
            b'{"server": {"id": "s-1", "links": []}}',
            b'{"server": {"links": [{"href": "x"}]}}',
        ],
    )
    def test_what_names_none_has_none(self, site: Site, body: bytes) -> None:
        assert self.resource(site, body) is None


class TestDiscard:
    async def discard(self, site: Site, errand: Errand, name: str) -> tuple[Discarded, ...]:
        resource = Resource("server", name)
        return await ServerProbe().discard(errand, resource, asker_of(site, errand))

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_deletes_what_carries_the_mark(self, site: Site, what: dict[str, Any]) -> None:
        errand = errand_of(site, **what)
        name = msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        assert await self.discard(site, errand, name) == (Discarded(Resource("server", name)),)
        assert not site.servers()

    @pytest.mark.parametrize("what", ERRANDS)
    async def test_and_nothing_else(self, site: Site, what: dict[str, Any]) -> None:
        other = errand_of(site, **what, mark=OTHER)
        name = msgspec.json.decode((await made(site, other)).body)["server"]["id"]
        assert await self.discard(site, errand_of(site, **what), name) == ()
        assert len(site.servers()) == 1

    @pytest.mark.parametrize("members", SEVERAL)
    async def test_what_one_post_made_goes_together(
        self, site: Site, members: dict[str, Any]
    ) -> None:
        errand = errand_of(site, server(**members))
        kept, doomed = await made_of_each(site, errand, posts=2)
        answer = site.cloud.made[-1]
        resource = ServerProbe().resource(errand, answer)
        assert resource is not None
        discarded = await ServerProbe().discard(errand, resource, asker_of(site, errand))
        assert {row["id"] for row in site.servers()} == kept
        assert len(doomed) == len(discarded) == 3
        assert set(discarded) == {Discarded(Resource("server", name)) for name in doomed}

    async def test_none_goes_before_nova_has_noted_which_post_made_which(self, site: Site) -> None:
        errand = errand_of(site, server(min_count=3))
        name = msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        site.cloud.torment(Rule(fault="404-before", method="GET", path="actions", times=1))
        with pytest.raises(CannotAsk, match="which POST made it"):
            await self.discard(site, errand, name)
        assert len(site.servers()) == 3

    async def test_the_named_one_goes_too_whatever_it_is_called_by_now(self, site: Site) -> None:
        errand = errand_of(site, old(min_count=3), version="2.1")
        [doomed] = await made_of_each(site, errand, posts=1)
        name = min(doomed)
        site.cloud.nova._world.servers[name].name = "renamed"
        assert len(await self.discard(site, errand, name)) == 3
        assert not site.servers()

    async def test_another_request_s_reservation_stays(self, site: Site) -> None:
        document = server(return_reservation_id=True)
        other = errand_of(site, document, mark=OTHER)
        resource = ServerProbe().resource(other, await made(site, other))
        assert resource is not None
        errand = errand_of(site, document)
        assert await ServerProbe().discard(errand, resource, asker_of(site, errand)) == ()
        assert len(site.servers()) == 1

    async def test_what_is_gone_was_not_deleted_by_us(self, site: Site) -> None:
        assert await self.discard(site, errand_of(site), "none") == ()

    async def test_what_nova_does_not_show_is_not_touched(self, site: Site) -> None:
        errand = errand_of(site)
        name = msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        site.cloud.torment(Rule(fault="403-before", method="GET"))
        with pytest.raises(CannotAsk):
            await self.discard(site, errand, name)
        assert len(site.servers()) == 1

    @pytest.mark.parametrize("status", [409, 503])
    async def test_what_nova_does_not_delete_is_said_to_be_left(
        self, site: Site, status: int
    ) -> None:
        """It keeps none of the others."""
        errand = errand_of(site, server(min_count=3))
        name = msgspec.json.decode((await made(site, errand)).body)["server"]["id"]
        await asyncio.sleep(5)  # until Nova has noted which request made them
        rule = Rule(fault=f"{status}-before", method="DELETE", path=name, times=10**9)
        site.cloud.torment(rule)
        discarded = await self.discard(site, errand, name)
        [left] = [one for one in discarded if one.left]
        assert left.resource.id == name
        assert str(status) in left.left
        assert [row["id"] for row in site.servers()] == [name]
        assert len(discarded) == 3


class TestAdopt:
    """An operator names the server."""

    async def adopted(
        self, site: Site, errand: Errand, name: str, cloud: Cloud | None = None
    ) -> Finding:
        asker = asker_of(site, errand, cloud, service=cloud is not None)
        return await ServerProbe().adopt(errand, asker, name)

    @pytest.mark.parametrize("expired", [True, False])
    async def test_one_with_the_mark_or_none_is_taken_for_the_answer(
        self, site: Site, expired: bool
    ) -> None:
        errand = errand_of(site)
        lost = await made(site, errand)
        name = msgspec.json.decode(lost.body)["server"]["id"]
        site.cloud.nova._world.set_tags(site.cloud.nova._world.servers[name], ())
        finding = await self.adopted(site, errand, name, Expired(site) if expired else None)
        assert isinstance(finding, Found)
        assert msgspec.json.decode(finding.answer.body) == msgspec.json.decode(lost.body)

    @pytest.mark.parametrize("version", ["2.96", "2.51"])
    async def test_another_request_s_is_refused(self, site: Site, version: str) -> None:
        other = errand_of(site, version=version, mark=OTHER)
        name = msgspec.json.decode((await made(site, other)).body)["server"]["id"]
        finding = await self.adopted(site, errand_of(site), name)
        assert isinstance(finding, Undecided)
        assert "carries the mark of another request" in finding.reason

    async def test_another_project_s_is_not_there(self, site: Site) -> None:
        other = errand_of(site, auth="bob:" + "b" * 32)
        name = msgspec.json.decode((await made(site, other)).body)["server"]["id"]
        assert await self.adopted(site, errand_of(site), name) == Absent()
        assert await self.adopted(site, errand_of(site), name, Expired(site)) == Absent()

    async def test_what_is_not_there_is_not(self, site: Site) -> None:
        assert await self.adopted(site, errand_of(site), "none/../x") == Absent()

    async def test_what_names_no_server_has_none(self, site: Site) -> None:
        assert isinstance(await self.adopted(site, errand_of(site, raw=b"{}"), "x"), Undecided)
