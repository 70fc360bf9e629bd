"""What all suites share: dedupd as a child process, and its log in the report of a failing test."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.integration.standalone import Standalone, logs_of_all


class StartStandalone(Protocol):
    """Starts one more `dedupd standalone` before a Nova."""

    def __call__(
        self, nova: str, settings: Mapping[str, str] | None = None, *, measured: bool = True
    ) -> Standalone:
        """See Standalone; it has a directory of its own."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of every dedupd that runs to the report of a test that fails."""
    report = yield
    if report.failed:
        report.sections += logs_of_all()
    return report


@pytest.fixture
def start_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartStandalone]:
    """Start `dedupd standalone`; each ends with the test."""
    with ExitStack() as started:
        yield _starter(tmp_path_factory, started)


@pytest.fixture(scope="module")
def start_standalone_for_module(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartStandalone]:
    """Start `dedupd standalone`; each ends with the module's last test."""
    with ExitStack() as started:
        yield _starter(tmp_path_factory, started)


def _starter(directories: pytest.TempPathFactory, started: ExitStack) -> StartStandalone:
    def start(
        nova: str, settings: Mapping[str, str] | None = None, *, measured: bool = True
    ) -> Standalone:
        directory: Path = directories.mktemp("dedupd")
        standalone = Standalone(directory, nova, settings, measured=measured)
        return started.enter_context(standalone)

    return start
