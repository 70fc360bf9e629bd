"""Child processes that never outlive the tests, whatever happens to those."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path


def launch(
    command: Sequence[str],
    *,
    directory: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that the kernel kills when this process has ended (setpriv --pdeathsig).

    What it says is appended to ``log``. It is started by a thread that lives as long as this
    process, since it would die with the thread that started it.
    """
    with log.open("ab") as file:
        return (
            _launcher()
            .submit(
                subprocess.Popen,
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                cwd=directory,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            .result()
        )


@cache
def _launcher() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
