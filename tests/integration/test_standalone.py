"""`dedupd standalone` as a process: what its signals do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.conftest import StartStandalone
from tests.integration.simulated import Simulated
from tests.integration.site import wait_until


@pytest.fixture
def nova() -> Iterator[Simulated]:
    with Simulated(3) as nova:
        yield nova


def test_sighup_reads_the_logging_options_again(
    start_standalone: StartStandalone, nova: Simulated
) -> None:
    """As a closed terminal, or logrotate, sends it: what is under way goes on."""
    dedupd = start_standalone(nova.url)
    os.kill(dedupd.pid, signal.SIGHUP)
    wait_until(lambda: "The configuration files were read again" in dedupd.log())
    assert dedupd.is_ready()
