"""How the command says what went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dedupd import seal
from dedupd.cmd import main

SECONDS = 60
NO_DATABASE = "it is not an SQLite database, or was cut off"


def test_an_error_after_logging_was_set_up_is_said_once(tmp_path: Path) -> None:
    ended = without_a_database(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.count(NO_DATABASE) == 1


def test_a_file_for_the_log_is_used(tmp_path: Path) -> None:
    log = tmp_path / "dedupd.log"
    ended = without_a_database(tmp_path, "--log-file", log)
    assert ended.returncode == 1
    assert log.read_text().count(NO_DATABASE) == 1


def test_who_is_interrupted_while_it_starts_says_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.Dedupd, "run", interrupted)
    assert main.main([]) == 130


def without_a_database(directory: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """`dedupd standalone` on a file that is none, until it has given up."""
    (directory / "records.db").write_text("no database")
    seal.create(directory / "seal.keys")
    program = Path(sys.executable).with_name("dedupd")
    state = ["--listen", "127.0.0.1:0", "--state-path", directory]
    return subprocess.run(
        [str(part) for part in (program, *options, "standalone", *state)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
