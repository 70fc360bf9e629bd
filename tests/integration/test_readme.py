"""The client's loop in README.md, as it stands there: which answers end it, and which do not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartStandalone
from tests.integration.simulated import Simulated
from tests.integration.standalone import Standalone

README = Path(__file__).parents[2] / "README.md"
SECONDS = 60.0
PAUSES = "sleep() { echo once more; }\n"
"""In the place of the loop's own, whose seconds nobody needs here."""


@pytest.fixture(scope="module")
def nova() -> Iterator[Simulated]:
    with Simulated(seed=4) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def dedupd(start_standalone_for_module: StartStandalone, nova: Simulated) -> Standalone:
    return start_standalone_for_module(nova.url, {"api.hold_seconds": "0.2"})


def looped(directory: Path, url: str, body: Any) -> tuple[str, int]:
    """The answer's status, and how often the request was sent again, with the same token."""
    [loop] = re.findall(r"^    (TOKEN=.*?^    done)$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert '"$COMPUTE/servers"' in loop
    script = loop.replace('"$COMPUTE/servers"', '"$URL"') + '\necho "$STATUS"'
    (directory / "server.json").write_text(json.dumps(body))
    done = subprocess.run(
        ["sh", "-euc", PAUSES + script],
        cwd=directory,
        env=os.environ | {"URL": url, "OS_TOKEN": f"demo:{uuid.uuid4().hex}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    *again, status = done.stdout.split("\n")[:-1]
    return status, len(again)


def test_novas_own_conflict_is_an_answer(dedupd: Standalone, tmp_path: Path) -> None:
    keypair = {"keypair": {"name": f"key-{uuid.uuid4().hex}"}}
    url = f"{dedupd.url}/v2.1/os-keypairs"
    assert looped(tmp_path, url, keypair) == ("200", 0)
    assert looped(tmp_path, url, keypair) == ("409", 0)
    assert "already exists" in (tmp_path / "answer.json").read_text()


def test_nobody_can_tell_any_more_by_asking_again(
    dedupd: Standalone, nova: Simulated, tmp_path: Path
) -> None:
    nova.faults([{"method": "POST", "path": "/action$", "fault": "drop-before"}])
    url = f"{dedupd.url}/v2.1/servers/{uuid.uuid4()}/action"
    assert looped(tmp_path, url, {"reboot": {"type": "SOFT"}}) == ("502", 0)


def test_what_takes_longer_is_asked_for_again(
    dedupd: Standalone, nova: Simulated, tmp_path: Path
) -> None:
    delay = {"method": "POST", "path": "/servers$", "fault": "delay-after", "seconds": 1.0}
    nova.faults([delay])
    server = {"server": {"name": "one", "imageRef": nova.image, "flavorRef": nova.flavor}}
    status, again = looped(tmp_path, f"{dedupd.url}/v2.1/servers", server)
    assert (status, again > 1) == ("202", True)
