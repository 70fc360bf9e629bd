"""`dedupd standalone` as a process: what it greets with, and what its signals do."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import StartStandalone
from tests.integration.simulated import Simulated
from tests.integration.site import wait_until


@pytest.fixture
def nova() -> Iterator[Simulated]:
    with Simulated(3) as nova:
        yield nova


def test_what_it_says_to_try_works_before_a_nova_of_somebody_elses(
    start_standalone: StartStandalone, nova: Simulated
) -> None:
    dedupd = start_standalone(nova.url)
    wait_until(lambda: "\nTry it: " in dedupd.log())
    _, _, tried = dedupd.log().partition("\nTry it: ")
    commands = "\n".join(line for line in tried.splitlines() if line.startswith("  "))
    token = "openstack() { echo demo:demo; }\n"
    runs = [
        subprocess.run(["sh", "-ec", token + commands], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    first, second = (run.stdout.partition("\n\n") for run in runs)
    assert first[0].startswith("HTTP/1.1 200 ")
    assert '"name":"my-first"' in first[2].replace(" ", "")
    assert (second[2], "idempotent-replayed: true" in second[0]) == (first[2], True)
    assert [effect["kind"] for effect in nova.ledger()] == ["keypair"]


def test_sighup_reads_the_logging_options_again(
    start_standalone: StartStandalone, nova: Simulated
) -> None:
    """As a closed terminal, or logrotate, sends it: what is under way goes on."""
    dedupd = start_standalone(nova.url)
    os.kill(dedupd.pid, signal.SIGHUP)
    wait_until(lambda: "The configuration files were read again" in dedupd.log())
    assert dedupd.is_ready()
