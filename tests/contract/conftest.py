"""Engines that the contract tests share end with the last of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.stores import ETCD, ETCD_OF_THREE
from tests.engines import rabbitmq


@pytest.fixture(scope="session", autouse=True)
def _end_of_the_engines() -> Iterator[None]:
    """Whatever the tests have started ends with the last of them."""
    yield
    ETCD.stop()
    ETCD_OF_THREE.stop()
    rabbitmq.stop_shared()
