"""How the command says what went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECONDS = 60


def test_an_error_after_logging_was_set_up_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "records.db").write_text("no database")
    program = Path(sys.executable).with_name("dedupd")
    ended = subprocess.run(
        [program, "standalone", "--listen", "127.0.0.1:0", "--state-path", tmp_path],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("it is not an SQLite database, or was cut off") == 1
