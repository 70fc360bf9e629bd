"""What all suites share: dedupd as a child process, and its log in the report of a failing test."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.standalone import Standalone, logs_of_all

StartStandalone = Callable[..., Standalone]
"""Takes what Standalone takes, but for the directory."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the log of every dedupd that runs to the report of a test that fails."""
    report = yield
    if report.failed:
        report.sections += logs_of_all()
    return report


@pytest.fixture
def start_standalone(tmp_path: Path) -> Iterator[StartStandalone]:
    """Start `dedupd standalone` before a Nova; each ends with the test."""
    with ExitStack() as started:
        yield lambda nova, settings=None: started.enter_context(
            Standalone(_new_directory(tmp_path), nova, settings)
        )


def _new_directory(parent: Path) -> Path:
    directory = parent / f"dedupd-{sum(1 for _ in parent.iterdir())}"
    directory.mkdir()
    return directory
