"""The real Nova and the real Keystone as fixtures.

One of each for a worker, started when a test first asks for it. Where their environment was not
built, tests fail and say how to build it. What runs when a test fails adds its logs to the report.
"""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol

import pytest

from tests.integration.front import Front
from tests.integration.installation import Installation
from tests.integration.site import Engines
from tests.integration.standalone import Standalone
from tests.nova.cloud import Options, RealKeystone, RealNova
from tests.nova.program import logs_of_all

StartNova = Callable[[Options], RealNova]

ONE_PROCESS = "one process"
SERVICES = "services"


class StartFront(Protocol):
    """Starts one more dedupd before a Nova."""

    def __call__(self, nova: str, settings: Mapping[str, str] | None = None) -> Front:
        """See Standalone and Installation; it has a directory of its own."""


class StartArranged(Protocol):
    """Starts one more dedupd before a Nova, in the arrangement that is named."""

    def __call__(
        self, arrangement: str, nova: str, settings: Mapping[str, str] | None = None
    ) -> Front:
        """See Standalone and Installation; it has a directory of its own."""


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


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """The worker's etcd and RabbitMQ, which every installation shares."""
    with Engines(tmp_path_factory.mktemp("engines")) as engines:
        yield engines


@pytest.fixture(scope="session", params=[ONE_PROCESS, SERVICES])
def arrangement(request: pytest.FixtureRequest) -> str:
    """How dedupd is run: each test that asks for it runs once for each.

    One process; or two fronts and two workers, with etcd and RabbitMQ in between.
    """
    return str(request.param)


@pytest.fixture
def start_front(arrangement: str, start_arranged: StartArranged) -> StartFront:
    """Start dedupd in this arrangement; each ends with the test."""
    return functools.partial(start_arranged, arrangement)


@pytest.fixture(scope="module")
def start_front_for_module(
    arrangement: str, start_arranged_for_module: StartArranged
) -> StartFront:
    """Start dedupd in this arrangement; each ends with the module's last test."""
    return functools.partial(start_arranged_for_module, arrangement)


@pytest.fixture(scope="module")
def front_behind_keystone(
    _worker_nova_behind_keystone: RealNova,
    real_keystone: RealKeystone,
    start_front_for_module: StartFront,
) -> Front:
    """A dedupd with Keystone, before the worker's Nova, for a module's tests."""
    settings = real_keystone.options("keystone_authtoken", "service_user")
    nova = _worker_nova_behind_keystone
    return start_front_for_module(nova.url, settings | {"nova.send_timeout": "60"})


@pytest.fixture
def start_arranged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartArranged]:
    """Start dedupd in any arrangement; each ends with the test."""
    with contextlib.ExitStack() as started:
        yield _starter(request, tmp_path_factory, started)


@pytest.fixture(scope="module")
def start_arranged_for_module(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartArranged]:
    """Start dedupd in any arrangement; each ends with the module's last test."""
    with contextlib.ExitStack() as started:
        yield _starter(request, tmp_path_factory, started)


def _starter(
    request: pytest.FixtureRequest,
    directories: pytest.TempPathFactory,
    started: contextlib.ExitStack,
) -> StartArranged:
    def start(arrangement: str, nova: str, settings: Mapping[str, str] | None = None) -> Front:
        directory = directories.mktemp("dedupd")
        if arrangement == ONE_PROCESS:
            return started.enter_context(Standalone(directory, nova, settings))
        engines: Engines = request.getfixturevalue("engines")
        return started.enter_context(Installation(directory, nova, engines, settings))

    return start
