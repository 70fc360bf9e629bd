from __future__ import annotations

import asyncio
import itertools

import pytest

from dedupd.ports import StoreUnavailable
from dedupd.worker import policies

VIRTUAL_TIME = True


async def test_a_commit_is_tried_until_the_store_is_back() -> None:
    tries: list[float] = []

    async def commit() -> str:
        tries.append(asyncio.get_running_loop().time())
        if tries[-1] < 3600:
            raise StoreUnavailable("away")
        return "written"

    assert await policies.COMMIT.repeat(commit) == "written"
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert max(pauses) <= 5


async def test_but_no_other_error_is_passed_over() -> None:
    async def commit() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await policies.COMMIT.repeat(commit)


async def test_looks_double_their_pauses_and_one_is_exactly_when_all_has_settled() -> None:
    loop = asyncio.get_running_loop()
    looks: list[float] = []

    async def look() -> str | None:
        looks.append(loop.time())
        return "found" if len(looks) == 13 else None

    assert await policies.looking(1.0, lambda: 50.0 - loop.time()).repeat(look) == "found"
    expected = [0, 1, 3, 7, 15, 30, 45, 50, 65, 80, 95, 110, 125]
    assert looks == pytest.approx(expected, abs=1e-3)


async def test_without_anything_to_settle_the_pauses_are_the_same() -> None:
    loop = asyncio.get_running_loop()
    looks: list[float] = []

    async def look() -> str | None:
        looks.append(loop.time())
        return "found" if len(looks) == 4 else None

    assert await policies.looking(0.5, lambda: -1.0).repeat(look) == "found"
    assert looks == pytest.approx([0, 0.5, 1.5, 3.5], abs=1e-3)


def test_revisits_grow_rarer() -> None:
    assert list(policies.REVISIT_SECONDS) == sorted(policies.REVISIT_SECONDS)
