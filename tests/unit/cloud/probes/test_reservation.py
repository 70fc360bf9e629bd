"""Reading a reservation id by yes/no questions, as anyone may."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes import reservation
from dedupd.cloud.probes.reservation import ALPHABET, BITS, LENGTH
from dedupd.exchange import Answer
from dedupd.sim.faults import Rule
from tests.unit.cloud.probes.errands import SERVICE, Altered, Expired, asker_of, errand_of
from tests.unit.site import AUTH, SERVERS, VM, Site

VIRTUAL_TIME = True


def made(site: Site, name: str = "vm") -> tuple[str, str]:
    """A new server's id, and its reservation's."""
    document = {"server": VM["server"] | {"name": name}}
    site.cloud.carry_out(errand_of(site, document).payload.call)
    server = msgspec.json.decode(site.cloud.made[-1].body)["server"]["id"]
    return server, site.cloud.nova._world.servers[server].reservation_id


async def read(site: Site, server: str, *, filters: Any = None, **how: Any) -> str | None:
    errand = errand_of(site, auth=how.pop("auth", AUTH))
    asker = asker_of(site, errand, how.pop("cloud", None), **how)
    wanted = {"name": "^vm$"} if filters is None else filters
    return await reservation.read(asker, "/v2.1", "/v2.1", server, wanted)


async def test_an_administrator_is_shown_it(site: Site) -> None:
    server, wanted = made(site)
    assert await read(site, server, auth=f"{AUTH}:admin") == wanted
    assert len(site.cloud.sent) == 1


async def test_the_service_user_is_too(site: Site) -> None:
    server, wanted = made(site)
    assert await read(site, server, cloud=Expired(site), service=True) == wanted
    assert site.cloud.sent[-1].header("x-auth-token") == SERVICE


async def test_anyone_else_deduces_it(site: Site) -> None:
    server, wanted = made(site)
    for _ in range(5):
        made(site)
    assert await read(site, server) == wanted
    assert len(site.cloud.sent) == 1 + LENGTH * BITS + 1


@settings(max_examples=25, deadline=None)
@given(st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH))
def test_every_id_can_be_read(letters: str) -> None:
    """By patterns alone, which are what Nova's database searches with."""
    patterns = [
        [reservation._pattern(place, bit) for bit in range(BITS)] for place in range(LENGTH)
    ]
    bits = [[bool(re.search(each, f"r-{letters}")) for each in place] for place in patterns]
    numbers = [sum(found << bit for bit, found in enumerate(place)) for place in bits]
    assert "".join(ALPHABET[number] for number in numbers) == letters


@pytest.mark.parametrize("odd", ["r-", "r-short", "r-TOOLOUD1", "r-abcdefghi", "x-abcdefgh"])
async def test_one_of_another_form_is_not_guessed(site: Site, odd: str) -> None:
    server, _ = made(site)
    site.cloud.nova._world.servers[server].reservation_id = odd
    assert await read(site, server) is None


async def test_a_server_that_the_filters_leave_out_has_none(site: Site) -> None:
    server, _ = made(site)
    assert await read(site, server, filters={"name": "^other$"}) is None


async def test_what_nova_does_not_show_is_deduced(site: Site) -> None:
    server, wanted = made(site)
    site.cloud.torment(Rule(fault="404-before", path=f"{SERVERS}/{server}"))
    assert await read(site, server, auth=f"{AUTH}:admin") == wanted


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"\xff"', b'{"server": {}}', b'{"server": null}', b"{}"]
)
def test_what_shows_none_is_no_error(body: bytes) -> None:
    assert reservation._shown(Answer(200, (), body)) is None


async def test_a_nova_that_says_yes_to_everything_is_not_believed(site: Site) -> None:
    """As one does that ignores the filter."""
    server, _ = made(site)
    cloud = Altered(site, "/servers", {"servers": [{"id": server}]})
    assert await read(site, server, cloud=cloud) is None


async def test_a_question_without_an_answer_leaves_it_open(site: Site) -> None:
    server, _ = made(site)
    site.cloud.torment(Rule(fault="503-before", path="/servers$", times=10_000))
    with pytest.raises(CannotAsk):
        await read(site, server)
