"""Reading a body whole, up to a limit; taking in what is refused, within reason."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from dedupd.api.body import DISCARDED_BYTES, Body
from dedupd.api.disconnect import ClientGone
from dedupd.errors import BodyTooLarge

LIMIT = 100


class Client:
    """Sends a body in parts, or hangs up where there is no last part."""

    def __init__(self, parts: Iterable[bytes | int], *, ends: bool = True) -> None:
        self.parts = [b"x" * part if isinstance(part, int) else part for part in parts]
        self.taken = 0
        self._ends = ends

    async def receive(self) -> Message:
        if self.taken >= len(self.parts):
            raise ClientGone
        self.taken += 1
        more = self.taken < len(self.parts) or not self._ends
        return {"type": "http.request", "body": self.parts[self.taken - 1], "more_body": more}


def body_of(client: Client, announced: int | None = None) -> Body:
    length = [] if announced is None else [(b"content-length", str(announced).encode())]
    return Body(client.receive, length, LIMIT)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.booleans())
async def test_what_fits_is_read_whole_and_nothing_else(parts: list[bytes], told: bool) -> None:
    whole = b"".join(parts)
    client = Client(parts)
    body = body_of(client, len(whole) if told else None)
    if len(whole) <= LIMIT:
        assert await body.read() == whole
        assert client.taken == len(parts)
    else:
        with pytest.raises(BodyTooLarge, match=r"larger than 100 bytes \(\[api\] max_body_bytes\)"):
            await body.read()


async def test_what_asgi_leaves_out_is_empty() -> None:
    async def receive() -> Message:
        return {"type": "http.request"}

    assert await Body(receive, [], LIMIT).read() == b""


async def test_what_is_announced_too_large_is_not_read() -> None:
    client = Client([LIMIT + 1])
    with pytest.raises(BodyTooLarge):
        await body_of(client, LIMIT + 1).read()
    assert client.taken == 0


async def test_what_turns_out_too_large_is_read_no_further() -> None:
    client = Client([60] * 100)
    with pytest.raises(BodyTooLarge):
        await body_of(client).read()
    assert client.taken == 2


@pytest.mark.parametrize("parts", [[], [10]])
async def test_a_caller_that_hangs_up_is_gone(parts: list[int]) -> None:
    with pytest.raises(ClientGone):
        await body_of(Client(parts, ends=False)).read()


class TestDiscard:
    async def test_takes_in_what_was_not_read(self) -> None:
        client = Client([60, 60, 60])
        body = body_of(client, 180)
        with pytest.raises(BodyTooLarge):
            await body.read()
        await body.discard()
        assert client.taken == 3

    async def test_takes_in_the_rest(self) -> None:
        client = Client([60, 60, 60])
        body = body_of(client)
        with pytest.raises(BodyTooLarge):
            await body.read()
        await body.discard()
        assert client.taken == 3

    async def test_has_nothing_to_do_where_all_was_read(self) -> None:
        client = Client([60])
        body = body_of(client)
        await body.read()
        await body.discard()
        assert client.taken == 1

    async def test_does_not_wait_for_what_is_too_much(self) -> None:
        client = Client([2**20] * 100)
        await body_of(client).discard()
        assert client.taken <= DISCARDED_BYTES / 2**20 + 1
        client = Client([2**20] * 100)
        await body_of(client, DISCARDED_BYTES + 1).discard()
        assert client.taken == 0

    async def test_a_caller_that_hangs_up_is_gone(self) -> None:
        with pytest.raises(ClientGone):
            await body_of(Client([10], ends=False)).discard()
