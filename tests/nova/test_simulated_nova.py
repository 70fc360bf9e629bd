"""The simulated Nova answers as the real one does: one script of requests, asked of both."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.nova.cloud import Options, RealNova
from tests.nova.comparison import DEADLINE, QUOTA, Side, Step, difference
from tests.nova.comparison_script import EARLY, FIND_EARLY, NOT_SIMULATED, SECTIONS, UNSCHEDULED
from tests.nova.conftest import StartNova

pytestmark = pytest.mark.xdist_group("simulated Nova")


def real_side(nova: RealNova) -> Side:
    return Side(nova.url, nova.image, nova.network, nova.volume)


@contextlib.contextmanager
def simulated_side(*options: str) -> Iterator[Side]:
    command = [sys.executable, "-m", "dedupd.sim", "--instances-quota", str(QUOTA), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        facts = json.loads(process.stdout.readline())
        url = f"http://127.0.0.1:{facts['port']}"
        yield Side(url, facts["image"], facts["network"], facts["volume_boot"])
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


@pytest.fixture(scope="module")
def real() -> Iterator[Side]:
    with RealNova(Options(quota=QUOTA)) as nova:
        yield real_side(nova)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Side]:
    with simulated_side() as side:
        yield side


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
def test_both_answer_alike(section: list[Step], real: Side, simulated: Side) -> None:
    differences = [difference(step, real, simulated) for step in section]
    real.clear()
    simulated.clear()
    assert not any(differences), "\n".join(told for told in differences if told)


def test_both_answer_alike_about_a_server_that_is_not_scheduled(
    start_nova: StartNova, tmp_path: Path
) -> None:
    """The real Nova is kept from scheduling until all has been asked."""
    asked = tmp_path / "asked"
    held = Options(quota=QUOTA, hold_cast=DEADLINE, hold_until=asked)
    real = real_side(start_nova(held))
    options = ("--build-seconds=600", "--schedule-seconds=600")
    with simulated_side(*options) as simulated, ThreadPoolExecutor(1) as thread:
        created = thread.submit(real.play, EARLY)
        deadline = time.monotonic() + DEADLINE
        while not real.ask(FIND_EARLY).json["servers"]:
            assert time.monotonic() < deadline, "the server has not been listed"
        simulated.play(EARLY)
        differences = [difference(step, real, simulated) for step in UNSCHEDULED]
        assert not created.done(), "the real Nova was not held back for long enough"
        asked.touch()
    assert not any(differences), "\n".join(told for told in differences if told)


@pytest.mark.parametrize("step", NOT_SIMULATED.values(), ids=NOT_SIMULATED.keys())
def test_what_is_not_simulated_is_refused(step: Step, simulated: Side) -> None:
    assert simulated.ask(step).status in (400, 404)
