"""The simulated Nova answers as the real one does: one script of requests, asked of both."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.nova.cloud import Options, RealNova
from tests.nova.comparison import DEADLINE, QUOTA, Side, Step, difference
from tests.nova.comparison_script import SECTIONS

pytestmark = pytest.mark.xdist_group("simulated Nova")


@pytest.fixture(scope="module")
def real() -> Iterator[Side]:
    with RealNova(Options(quota=QUOTA)) as nova:
        yield Side(nova.url, nova.image, nova.network, nova.volume)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Side]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dedupd.sim", "--instances-quota", str(QUOTA)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        facts = json.loads(process.stdout.readline())
        url = f"http://127.0.0.1:{facts['port']}"
        yield Side(url, facts["image"], facts["network"], facts["volume_boot"])
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
def test_both_answer_alike(section: list[Step], real: Side, simulated: Side) -> None:
    differences = [difference(step, real, simulated) for step in section]
    real.clear()
    simulated.clear()
    assert not any(differences), "\n".join(told for told in differences if told)
