"""The real Nova and the real Keystone as fixtures.

One of each for a worker, started when a test first asks for it. Where their environment was not
built, tests fail and say how to build it. What runs when a test fails adds its logs to the report.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator

import pytest

from tests.nova.cloud import Options, RealKeystone, RealNova
from tests.nova.program import logs_of_all

StartNova = Callable[[Options], RealNova]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of what runs to the report of a test that fails."""
    report = yield
    if report.failed:
        report.sections += logs_of_all()
    return report


@pytest.fixture(scope="session")
def _worker_nova() -> Iterator[RealNova]:
    with RealNova() as nova:
        yield nova


@pytest.fixture
def real_nova(_worker_nova: RealNova) -> Iterator[RealNova]:
    """The worker's Nova without Keystone, without limits, with no faults set.

    Servers and keypairs of earlier tests may be in it: use names of your own.
    """
    _worker_nova.clear_faults()
    yield _worker_nova
    _worker_nova.clear_faults()


@pytest.fixture(scope="session")
def real_keystone() -> Iterator[RealKeystone]:
    """The worker's Keystone."""
    with RealKeystone() as keystone:
        yield keystone


@pytest.fixture(scope="session")
def _worker_nova_behind_keystone(real_keystone: RealKeystone) -> Iterator[RealNova]:
    with RealNova(keystone=real_keystone) as nova:
        yield nova


@pytest.fixture
def nova_behind_keystone(
    _worker_nova_behind_keystone: RealNova, real_keystone: RealKeystone
) -> Iterator[RealNova]:
    """The worker's Nova that takes the tokens of `real_keystone`, with no faults set.

    Keystone's catalogue names it; a test that has something in front of it points the catalogue
    there with `real_keystone.point_compute_at`.
    """
    nova = _worker_nova_behind_keystone
    real_keystone.point_compute_at(nova.url)
    nova.clear_faults()
    yield nova
    nova.clear_faults()


@pytest.fixture
def start_nova() -> Iterator[StartNova]:
    """Start one more Nova, with options; it ends with the test."""
    with contextlib.ExitStack() as started:
        yield lambda options: started.enter_context(RealNova(options))
