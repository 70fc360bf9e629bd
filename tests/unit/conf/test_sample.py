from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dedupd.conf import Settings, list_opts, load
from dedupd.conf.sample import render
from dedupd.conf.unknown import found

SAMPLE = Path(__file__).parents[3] / "etc" / "dedupd.conf"


def test_it_is_not_stale() -> None:
    assert SAMPLE.read_text() == render(), "run: make sample"


def test_it_is_the_same_on_every_machine(tmp_path: Path) -> None:
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OS_API__LISTEN": "127.0.0.1:1",
        "COLUMNS": "40",
        "LC_ALL": "C",
    }
    command = [sys.executable, "-m", "dedupd.conf.sample"]
    made = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert made.stdout == SAMPLE.read_text()
    assert made.stderr == ""


def test_it_has_every_option() -> None:
    lines = SAMPLE.read_text().splitlines()
    for group, options in list_opts():
        assert f"[{group.name if group else 'DEFAULT'}]" in lines
        for option in options:
            assert any(line.startswith(f"#{option.name} =") for line in lines), option.name


def test_taken_as_it_is_it_changes_nothing(loaded: Callable[..., Settings]) -> None:
    assert loaded(SAMPLE.read_text()) == loaded()


def test_with_every_option_uncommented_it_loads(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=[a-z_]+ = (?!<None>))", "", SAMPLE.read_text(), flags=re.MULTILINE)
    path = tmp_path / "dedupd.conf"
    path.write_text(text)
    settings = load([path])
    assert settings.options.service_user.auth_type == "password"
    assert not [*found(settings.options)]
