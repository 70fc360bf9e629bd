"""Engines that the contract tests share end with the last of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import rabbitmq


@pytest.fixture(scope="session", autouse=True)
def engines() -> Iterator[None]:
    """Whatever a test has started."""
    yield
    rabbitmq.stop_shared()
