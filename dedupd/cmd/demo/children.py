"""The demo's child processes: the simulated Nova, and dedupd on files of its own.

Each is in a session of its own, so that a Ctrl-C in the terminal reaches the demo alone, which
then stops them by their process ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from dedupd.errors import DedupdError

START_SECONDS = 20.0
STOP_SECONDS = 3.0
_LOG_LINES = 8

PAGE_LIMIT = 10_000
"""How many servers Nova lists at once: all of a demo's. Beyond a page nothing that was lost would
be sent again, since there is no service user here (docs/exactly-once.md)."""

CONFIGURATION = """\
[DEFAULT]
use_stderr = true
[api]
listen = 127.0.0.1:0
hold_seconds = 5
[auth]
strategy = noauth
[nova]
endpoint = {nova}
connect_timeout = 0.5
send_timeout = 1
settle_seconds = 0.6
probe_seconds = 0.25
[worker]
sweep_seconds = 0.5
stop_seconds = 1
"""
"""Short times, so that what takes minutes in a real cloud fits into the demo. What Nova may still
do after an answer was lost takes LATE_SECONDS (storm.py) here, less than settle_seconds."""


class ChildFailed(DedupdError):
    """A child process ended, or was not ready in time; the message holds the end of its log."""


class Child:
    """One process, running; it tells on its first line of output where it listens."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def first_line(self) -> str:
        """What it says when it is ready.

        Raises:
            ChildFailed: it ended, or said nothing within START_SECONDS.
        """
        stdout = self._process.stdout
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                line = await stdout.readline() if stdout else b""
        if not line:
            log = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise ChildFailed("\n  ".join([f"{self._log.stem} did not start:", *log]))
        return line.decode()

    async def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Ask it to end, and kill it where it does not."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


@contextlib.asynccontextmanager
async def simulated_nova(directory: Path, seed: int) -> AsyncIterator[str]:
    """The simulated Nova on a free port; gives its URL.

    Raises:
        ChildFailed: it did not start.
    """
    page = ("--page-limit", str(PAGE_LIMIT))
    child = await _start("nova", ("dedupd.sim", "--seed", str(seed), *page), directory)
    try:
        facts = msgspec.json.decode(await child.first_line())
        yield f"http://127.0.0.1:{facts['port']}"
    finally:
        await child.stop()


class Dedupd:
    """``dedupd standalone`` on a directory of its own: started, killed, and started again."""

    def __init__(self, directory: Path, nova: str) -> None:
        """Write its configuration; nothing runs yet."""
        self._directory = directory
        self._configuration = directory / "dedupd.conf"
        self._configuration.write_text(CONFIGURATION.format(nova=nova))
        self._child: Child | None = None
        self._address = "127.0.0.1:0"
        self.kills = 0

    @property
    def url(self) -> str:
        """Where it listens, since its first start."""
        return f"http://{self._address}"

    async def start(self) -> int:
        """Start it: the first time on a free port, then on the same one; gives its process id.

        Raises:
            ChildFailed: it did not start.
        """
        config, state = str(self._configuration), str(self._directory / "state")
        arguments = ("--config-file", config, "standalone", "--state-path", state)
        listen = ("--listen", self._address)
        self._child = await _start("dedupd", ("dedupd", *arguments, *listen), self._directory)
        line = await self._child.first_line()
        found = re.search(r"http://(127\.0\.0\.1:[0-9]+)", line)
        if found is None:
            raise ChildFailed(f"dedupd did not say where it listens, but: {line.strip()}")
        self._address = found[1]
        return self._child.pid

    async def kill(self) -> int:
        """``kill -9``; gives the process id that it had."""
        if self._child is None:
            raise ChildFailed("dedupd was not started, so it cannot be killed.")
        await self._child.kill()
        self.kills += 1
        return self._child.pid

    async def stop(self) -> None:
        """Stop it, if it runs."""
        if self._child is not None:
            await self._child.stop()


async def _start(name: str, arguments: Sequence[str], directory: Path) -> Child:
    """Run ``python -m ARGUMENTS``; what it logs goes to a file."""
    log = directory / f"{name}.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", *arguments),
            env=_environment(),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    return Child(process, log)


def _environment() -> dict[str, str]:
    """Without OpenStack's variables: oslo.config would read options of dedupd from them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
