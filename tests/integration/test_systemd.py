"""The units in etc/: systemd accepts them, they run what there is, and they are well locked in."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.standalone import DEDUPD

ETC = Path(__file__).parents[2] / "etc"
KINDS = ("api", "worker")
EXPOSURE = 2.0
"""systemd-analyze's own scale: from 0, locked in, to 10."""


class Unit(configparser.ConfigParser):
    """A unit file in which every option is there once."""

    def __init__(self, kind: str) -> None:
        super().__init__(delimiters=("=",), interpolation=None)
        self.read(ETC / f"dedupd-{kind}.service")

    def optionxform(self, optionstr: str) -> str:
        """Names of options keep their case."""
        return optionstr


def analyzed(verb: str, kind: str, directory: Path, *options: str) -> str:
    """What systemd-analyze says of a unit that runs the dedupd of this environment."""
    unit = directory / f"dedupd-{kind}.service"
    text = (ETC / unit.name).read_text()
    unit.write_text(text.replace("/opt/dedupd/bin/dedupd", str(DEDUPD)))
    done = subprocess.run(
        ["systemd-analyze", verb, *options, str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_systemd_has_nothing_to_say_against_it(kind: str, tmp_path: Path) -> None:
    assert analyzed("verify", kind, tmp_path) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_locked_in(kind: str, tmp_path: Path) -> None:
    told = analyzed("security", kind, tmp_path, "--offline=true", "--no-pager")
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert level
    assert float(level[1]) <= EXPOSURE


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_a_command_that_there_is(kind: str) -> None:
    words = Unit(kind)["Service"]["ExecStart"].split()
    assert words[0] == "/opt/dedupd/bin/dedupd"
    done = subprocess.run([DEDUPD, *words[3:], "--help"], capture_output=True, check=False)
    assert (words[1], done.returncode) == ("--config-file", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_killed_later_than_it_stops_by_itself(kind: str) -> None:
    default = re.search(r"^#stop_seconds = (\d+)$", (ETC / "dedupd.conf").read_text(), re.MULTILINE)
    assert default
    assert int(Unit(kind)["Service"]["TimeoutStopSec"]) >= int(default[1]) + 10


def test_the_two_are_locked_in_alike() -> None:
    own = {"ExecStart", "LimitNOFILE"}
    units = [{k: v for k, v in Unit(kind)["Service"].items() if k not in own} for kind in KINDS]
    assert units[0] == units[1]
