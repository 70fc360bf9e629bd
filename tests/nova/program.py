"""The programs of tests/nova/real as child processes: start, wait until ready, stop, logs."""

import hashlib
import json
import os
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent / "real"
PROJECT = HERE.parents[2]
START_SECONDS = 110
"""How long a start may take: a little less than a test, so that this error comes first."""
STOP_SECONDS = 15
_LOG_LINES = 60

RUNNING: "set[Program]" = set()
"""What runs now; a failing test's report shows their logs."""


class NotBuilt(Exception):
    """The real Nova's environment is not there."""


class StartFailed(Exception):
    """A program did not become ready; the message holds its logs."""


def environment() -> Path:
    """Where the real Nova's environment lies, built from the very freeze.txt that is here.

    Raises:
        NotBuilt: it is not, or from another one.
    """
    venv = Path(os.environ.get("DEDUPD_NOVA_VENV") or PROJECT / ".venv-nova")
    stamp = venv / ".built-from"
    wanted = hashlib.sha256((HERE / "freeze.txt").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text().strip() != wanted:
        setup = (HERE / "setup").relative_to(PROJECT)
        raise NotBuilt(f"No real Nova in {venv}, or an old one. Build it with: {setup}")
    return venv


class Program:
    """One of them, running, in a private directory."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        """Start `python -m module` and wait until it is ready.

        Raises:
            NotBuilt: there is no environment to run it in.
            StartFailed: it ended, or was not ready in time.
        """
        python = environment() / "bin" / "python"
        self.name = module
        self.directory = Path(tempfile.mkdtemp(prefix=f"dedupd-{module}-"))
        command = [str(python), "-P", "-m", module, "--until-eof", f"--state={self.directory}"]
        with (self.directory / "stderr.log").open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=self.directory,
                env=_environment_variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        RUNNING.add(self)
        try:
            self.facts = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, and what it has started; leave nothing behind. Again is no harm."""
        RUNNING.discard(self)
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()  # which tells it to end
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def logs(self) -> str:
        """The last lines of all that it and its children have written."""
        return "\n".join(self._last_lines(path) for path in sorted(self.directory.glob("*.log")))

    def _last_lines(self, path: Path) -> str:
        lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"--- {path.name}", *lines])

    def _wait_until_ready(self) -> Mapping[str, Any]:
        assert self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(START_SECONDS):
                raise StartFailed(f"{self.name} not ready after {START_SECONDS} s\n{self.logs()}")
        line = self.process.stdout.readline()
        if not line:
            raise StartFailed(f"{self.name} ended before it was ready\n{self.logs()}")
        facts: Mapping[str, Any] = json.loads(line)
        return facts


def _environment_variables() -> dict[str, str]:
    """No more than it needs, so that nothing of the caller's leaks in."""
    kept = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    return variables | {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}


def logs_of_all() -> list[tuple[str, str]]:
    """Name and last log lines of what runs now."""
    return [(program.name, program.logs()) for program in RUNNING]
