from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.stores import ETCD


@pytest.fixture(scope="session", autouse=True)
def _end_of_etcd() -> Iterator[None]:
    """What the tests of stores share ends with the last of them."""
    yield
    ETCD.stop()
