"""Scratch directories go away with the last process that uses them, however that ends."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from dedupd.cmd.scratch import PREFIX, scratch_directory

FAMILY = """
import os, signal
from dedupd.cmd.scratch import scratch_directory
with scratch_directory() as path:
    child = os.fork()
    if child:
        print(child, path, flush=True)
    signal.pause()
"""
"""A process with a directory, and a child of it."""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the place of the system's temporary one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_it_is_there_for_the_block() -> None:
    with scratch_directory() as path:
        (path / "file").touch()
    assert not path.exists()


def test_what_was_left_behind_is_deleted_and_nothing_else(directory: Path) -> None:
    (directory / f"{PREFIX}left").mkdir()
    (directory / f"{PREFIX}left" / "file").touch()
    (directory / f"{PREFIX}file").touch()
    (directory / "other").mkdir()
    (directory / f"{PREFIX}link").symlink_to("other")
    with scratch_directory() as used, scratch_directory() as own:
        left = {path.name for path in directory.iterdir()}
        assert left == {f"{PREFIX}file", f"{PREFIX}link", "other", used.name, own.name}


def test_it_stays_until_the_last_process_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child, _, text = parent.stdout.readline().decode().strip().partition(" ")
        parent.kill()
        parent.wait()
    path = Path(text)
    with scratch_directory():
        assert path.exists()
    orphan = psutil.Process(int(child))
    orphan.kill()
    psutil.wait_procs([orphan], timeout=60)
    with scratch_directory():
        assert not path.exists()
