"""Workers in virtual time, each test on a site of its own."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import pytest

from tests.unit import virtual_time
from tests.unit.site import Site


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return virtual_time.loop_factories()


@pytest.fixture
async def site() -> Site:
    return Site()
