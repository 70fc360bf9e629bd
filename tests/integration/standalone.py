"""`dedupd standalone` as a child process: started, killed, started again on the same files."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.engines.children import launch
from tests.engines.ports import free_port
from tests.integration.front import Front

DEDUPD = Path(sys.executable).with_name("dedupd")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.01
_LOG_LINES = 200

QUICK = {
    "auth.strategy": "noauth",
    "nova.connect_timeout": "2",
    "nova.send_timeout": "6",
    "nova.settle_seconds": "6",
    "nova.retry_seconds": "300",
    "nova.probe_seconds": "0.25",
    "nova.request_id_seconds": "150",
    "worker.lease_seconds": "2",
    "worker.sweep_seconds": "0.2",
    "worker.stop_seconds": "5",
}
"""Seconds that a test can wait, with room for a machine that is busy with other tests.

With a Nova that is slow to answer dedupd is patient: what a test says of giving up, it sets itself.
"""

RUNNING: set[Standalone] = set()
"""What runs now; a failing test's report shows their logs."""


class NotReady(Exception):
    """It ended, or did not listen in time; the message holds its log."""


class Standalone(Front):
    """One of them, on a port and in a directory of its own.

    Args:
        directory: Where its configuration, records, keys and log are.
        nova: The endpoint behind it.
        settings: What differs from QUICK: {"nova.settle_seconds": "1"}.
        measured: Whether its coverage counts, if any is taken; what is killed writes none.
    """

    def __init__(
        self,
        directory: Path,
        nova: str,
        settings: Mapping[str, str] | None = None,
        *,
        measured: bool = True,
    ) -> None:
        """Write its configuration; nothing is started."""
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self._measured = measured
        self._configuration = directory / "dedupd.conf"
        self._log = directory / "dedupd.log"
        self._process: subprocess.Popen[bytes] | None = None
        configured = {"nova.endpoint": nova, **QUICK, **(settings or {}), **self._own_settings()}
        self._configuration.write_text(_ini(configured))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        status = self.stop()
        assert status == 0, f"dedupd ended with {status}\n{self.log()}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended, by itself or otherwise."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Launch it and wait until it answers.

        Raises:
            NotReady: it does not.
        """
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        command = [str(DEDUPD), f"--config-file={self._configuration}", *self._arguments()]
        environment = _environment(self._measured)
        self._process = launch(
            command, directory=self.directory, log=self._log, environment=environment
        )
        RUNNING.add(self)

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when it says that it can do its work.

        Raises:
            NotReady: it ended, or took longer than ``seconds``.
        """
        assert self._process
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                raise NotReady(f"dedupd is not ready (status {status})\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End it as `kill -9` does; its files stay."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): its connections stand, and nothing is answered.

        Returns when all of its threads have stopped, which takes a while on a busy machine.
        """
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        os.kill(self.pid, signal.SIGCONT)

    def is_ready(self) -> bool:
        """Whether it says that it can do its work."""
        try:
            return self.call("GET", "/healthz/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> int:
        """Let it end in its own time, kill it where it does not; its exit status. Again: 0."""
        return self._end(signal.SIGTERM) if self._process else 0

    def wait(self) -> int:
        """Its exit status when it has ended by itself; it is killed where it does not."""
        assert self._process
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process = None
        RUNNING.discard(self)
        return status

    def log(self) -> str:
        """The last lines that it wrote."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-_LOG_LINES:])

    def _arguments(self) -> list[str]:
        return [
            "standalone",
            f"--listen={self.address}",
            f"--state-path={self.directory / 'state'}",
        ]

    def _own_settings(self) -> dict[str, str]:
        return {}

    def _end(self, how: signal.Signals) -> int:
        assert self._process
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        return self.wait()


def logs_of_all() -> list[tuple[str, str]]:
    """Name and last log lines of what runs now."""
    return [(f"dedupd on {running.address}", running.log()) for running in RUNNING]


def _ini(settings: Mapping[str, str]) -> str:
    """The settings as oslo.config reads them."""
    groups: dict[str, list[str]] = {}
    for key, value in settings.items():
        group, _, name = key.rpartition(".")
        groups.setdefault(group or "DEFAULT", []).append(f"{name} = {value}")
    return "".join(f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items())


def _environment(measured: bool) -> dict[str, str]:
    """Ours without options for dedupd, and without coverage's where it is not measured."""
    unwanted = ("OS_",) if measured else ("OS_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
