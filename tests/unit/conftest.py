"""A module that says ``VIRTUAL_TIME = True`` has its tests run in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.unit.site import Site
from tests.unit.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    item: pytest.Function,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if getattr(item.module, "VIRTUAL_TIME", False):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture
async def site() -> Site:
    """An installation of its own."""
    return Site()
