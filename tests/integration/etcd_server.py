"""Debian's etcd, started for a test on loopback, with ports and directories of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.engines.children import launch
from tests.engines.ports import free_port

READY_SECONDS = 30.0


@dataclass
class Member:
    """One etcd process; it can be killed, paused, and started again on its data."""

    name: str
    directory: Path
    client_port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    arguments: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, cluster: str = "") -> None:
        """Start it; ``cluster`` is --initial-cluster of several members."""
        scheme = "https" if "--cert-file" in self.arguments else "http"
        client_url = f"{scheme}://{self.endpoint}"
        command = [
            *("etcd", "--name", self.name, "--data-dir", str(self.directory / self.name)),
            *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
            *("--listen-metrics-urls", f"http://127.0.0.1:{self.health_port}"),
            *("--initial-cluster", cluster or f"{self.name}={self.peer_url}"),
            *("--quota-backend-bytes", "8589934592", "--snapshot-count", "5000"),
            *("--logger", "zap", "--log-level", "warn", "--log-outputs", "stderr"),
            *self.arguments,
        ]
        log = self.directory / f"{self.name}.log"
        self._process = launch(command, directory=self.directory, log=log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait for the end; nothing if it does not run."""
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP; returns when all of its threads have stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        return (self.directory / f"{self.name}.log").read_text(errors="replace")[-4000:]


class EtcdServer:
    """A cluster of one member, or several; a context that ends all of them."""

    def __init__(self, directory: Path, members: int = 1, arguments: Sequence[str] = ()) -> None:
        assert shutil.which("etcd"), "etcd is missing: make test installs etcd-server"
        self._arguments = arguments
        self._directory = directory
        self._count = members
        self.members: list[Member] = []

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        """Start all and wait until they serve; anew with other ports where one was taken."""
        for attempt in range(5):
            self._directory.mkdir(parents=True, exist_ok=True)
            self.members = [
                Member(f"m{number}-{attempt}", self._directory, arguments=self._arguments)
                for number in range(self._count)
            ]
            self.start_members(self.members)
            if self._serves():
                return
            self.stop()
        raise AssertionError("\n".join(member.log() for member in self.members))

    def start_members(self, members: Sequence[Member]) -> None:
        cluster = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in members:
            member.start(cluster)

    def restart(self, members: Sequence[Member] | None = None) -> None:
        """Start what was stopped, on the data that it had, and wait until it serves."""
        self.start_members(self.members if members is None else members)
        assert self._serves(), "\n".join(member.log() for member in self.members)

    def restore(self) -> None:
        """Whatever was killed or paused runs again, and serves, when this returns."""
        for member in self.members:
            if member.running:
                member.resume()
        self.restart([member for member in self.members if not member.running])

    def leader(self) -> Member:
        """The member that leads, once there is one."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            for member in self.members:
                if leads(member):
                    return member
            time.sleep(0.02)
        raise AssertionError("no member leads")

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self.members:
            member.kill()

    def _serves(self) -> bool:
        """Wait until a majority answers; False as soon as a member has ended."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if not all(member.running for member in self.members):
                return False
            if all(is_healthy(member) for member in self.members):
                return True
            time.sleep(0.02)  # it has no event
        return False


def is_healthy(member: Member) -> bool:
    """Whether a member answers and has a leader."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{member.health_port}/health", timeout=1
        ) as answer:
            return bool(json.load(answer)["health"] == "true")
    except (OSError, ValueError):
        return False


def leads(member: Member) -> bool:
    """Whether a member answers that it leads."""
    request = urllib.request.Request(  # loopback
        f"http://{member.endpoint}/v3/maintenance/status", data=b"{}"
    )
    try:
        with urllib.request.urlopen(request, timeout=1) as answer:  # noqa: S310
            status = json.load(answer)
    except (OSError, ValueError):
        return False
    return bool(status["leader"] == status["header"]["member_id"])
