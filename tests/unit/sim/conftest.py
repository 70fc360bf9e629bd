"""The simulated Nova for unit tests."""

import pytest

from tests.unit.sim.client import Client


@pytest.fixture
def client() -> Client:
    return Client()
