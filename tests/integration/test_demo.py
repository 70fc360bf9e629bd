"""`dedupd demo` as a newcomer runs it, with small numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.integration.standalone import DEDUPD

SECONDS = 100.0


def command(directory: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """The demo's command and environment; temporary files are made in ``directory``."""
    environment = os.environ | {"TMPDIR": str(directory), "OS_NOVA__ENDPOINT": "http://nowhere"}
    return [str(DEDUPD), "demo", "--tokens=20", "--clients=3", *arguments], environment


def test_what_it_measured(tmp_path: Path) -> None:
    arguments, environment = command(tmp_path, "--seed=1", "--json")
    done = subprocess.run(
        arguments, env=environment, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["seed"], found["tokens"], found["clients"], found["kills"]) == (1, 20, 3, 1)
    assert (found["servers"], found["answers"]) == (20, 20 * (3 + 1))
    assert (found["duplicates"], found["lost"], found["differing"]) == (0, 0, 0)
    assert found["posts"] == found["answers"] + sum(found["unanswered_posts"].values())
    control = found["control"]
    assert (control["wanted"], control["posts"]) == (10, 10 + control["lost_answers"])
    assert control["servers"] == 10 + control["duplicates"]
    assert control["duplicates"] > 0
    assert b"kill -9" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    arguments, environment = command(tmp_path)
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout
        line = next(line for line in demo.stdout if "dedupd is process" in line)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert f"process {children[-1].pid} " in line
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 130
    assert "everything that was started has been stopped" in rest
    assert [child for child in children if child.is_running()] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--tokens=0", "--clients=x", "--seed=-1", "--clients=101"])
def test_bad_numbers(tmp_path: Path, option: str) -> None:
    arguments, environment = command(tmp_path, option)
    done = subprocess.run(
        arguments, env=environment, capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 2
    assert b"is no whole number from" in done.stderr
