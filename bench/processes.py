"""The processes that are measured: each on a free port of loopback, each ended with the run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-bench/bin/python"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
OPEN_FILES = 65536

CONFIG = """
[DEFAULT]
state_path = {state}
[auth]
strategy = noauth
[queue]
max_depth = 100000
project_share = 1
"""


@dataclass(frozen=True)
class Service:
    """A running server."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id; none of the servers measured has more than one process."""
        return self.process.pid


@dataclass(frozen=True)
class Subject:
    """What stands in front of the stub, and in which modes of load.py it can be measured."""

    name: str
    start: Callable[[Services, str], Service]
    modes: frozenset[str]
    token_header: str = "Idempotency-Key"
    available: Callable[[], bool] = lambda: True
    answers_itself: bool = field(default=False)
    """It asks the stub nothing."""


class Services(contextlib.ExitStack):
    """Starts servers, and stops them when the context ends."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    def spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a process; what it says goes to a file, which is shown if it ends too soon."""
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        self.callback(_stop, process)
        return process

    def stub(self, delay: float = 0.0) -> Service:
        """A stand-in for Nova."""
        port = free_port()
        command = [sys.executable, "-m", "bench.stub", "--port", str(port), "--delay", str(delay)]
        return self.listening("stub", port, *command)

    def listening(self, name: str, port: int, *command: str) -> Service:
        """Starts a server and waits until its port is open."""
        process = self.spawn(name, *command)
        deadline = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (self.directory / f"{name}.log").read_text()
                raise RuntimeError(f"{name} did not start:\n{log}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return Service(name, f"http://127.0.0.1:{port}", process)
            select.select((), (), (), 0.05)

    def redis(self) -> int:
        """A Redis that keeps nothing on disk; returns its port."""
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.listening("redis", port, "redis-server", *options)
        return port

    def dedupd(self, nova: str, state: Path | None = None) -> Service:
        """``dedupd standalone``, with its state in a directory of its own."""
        number = len(list(self.directory.glob("dedupd-*")))
        state = state or self.directory / f"dedupd-{number}"
        state.mkdir(exist_ok=True)
        config = state / "dedupd.conf"
        config.write_text(CONFIG.format(state=state))
        port = free_port()
        command = [str(Path(sys.executable).with_name("dedupd")), "standalone", "--nova", nova]
        command += ["--listen", f"127.0.0.1:{port}", "--config-file", str(config)]
        return self.listening(state.name, port, *command)

    def module(self, name: str, nova: str) -> Service:
        """One of bench/'s own servers."""
        port = free_port()
        command = [sys.executable, "-m", f"bench.{name}", "--port", str(port), "--nova", nova]
        return self.listening(name, port, *command)

    def peer(self, name: str, nova: str) -> Service:
        """One of bench/peers."""
        port = free_port()
        state = self.directory / name
        state.mkdir()
        command = [str(PEERS), "bench/peers/app.py", name, "--port", str(port), "--nova", nova]
        command += ["--state", str(state)]
        if name.endswith("redis"):
            command += ["--redis", str(self.redis())]
        return self.listening(name, port, *command)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _module(name: str) -> Callable[[Services, str], Service]:
    return lambda services, nova: services.module(name, nova)


def _peer(name: str) -> Callable[[Services, str], Service]:
    return lambda services, nova: services.peer(name, nova)


def _peers_installed() -> bool:
    return PEERS.exists()


def _redis_installed() -> bool:
    return PEERS.exists() and shutil.which("redis-server") is not None


UNTAGGED = frozenset(("get", "post"))
TAGGED = frozenset(("new-token", "replay"))

SUBJECTS = [
    Subject("bare proxy", _module("proxy"), UNTAGGED),
    Subject(
        "dedupd",
        lambda services, nova: services.dedupd(nova),
        UNTAGGED | TAGGED,
        token_header="X-Client-Token",
    ),
    Subject("pass-through alone", _module("passthrough"), UNTAGGED),
    Subject(
        "fastapi-idempotency, SQLite",
        _peer("fastapi-idempotency-sqlite"),
        TAGGED,
        available=_peers_installed,
    ),
    Subject(
        "fastapi-idempotency, Redis",
        _peer("fastapi-idempotency-redis"),
        TAGGED,
        available=_redis_installed,
    ),
    Subject(
        "asgi-idempotency-header, memory",
        _peer("asgi-idempotency-header-memory"),
        TAGGED,
        available=_peers_installed,
    ),
    Subject(
        "asgi-idempotency-header, Redis",
        _peer("asgi-idempotency-header-redis"),
        TAGGED,
        available=_redis_installed,
    ),
    Subject(
        "bare Starlette route",
        _peer("starlette"),
        frozenset(("post",)),
        available=_peers_installed,
        answers_itself=True,
    ),
]


def effects(stub: Service) -> int:
    """How many POSTs have reached the stub."""
    with urllib.request.urlopen(f"{stub.url}/__stub__") as answer:  # noqa: S310
        return int(json.load(answer).get("POST", 0))


def waiting(service: Service) -> int:
    """How many callers a dedupd holds, as its metrics say."""
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:  # noqa: S310
        found = re.search(
            r"^dedupd_waiting_callers ([0-9.e+]+)$", answer.read().decode(), re.MULTILINE
        )
    assert found
    return int(float(found[1]))


def memory(pid: int) -> int:
    """Resident bytes of a process that are its own (anonymous): code and files are not counted."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s*(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def settle(pid: int, seconds: float = 1.0) -> None:
    """Waits until a process has used next to no CPU for that long."""
    ticks = os.sysconf("SC_CLK_TCK") * seconds * 0.05
    before = -1.0
    while True:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        now = float(fields[11]) + float(fields[12])
        if before >= 0 and now - before <= ticks:
            return
        before = now
        time.sleep(seconds)


@contextlib.contextmanager
def profiled(pid: int, path: Path) -> Iterator[None]:
    """Records where a process spends its time (py-spy, folded stacks) until the block ends."""
    spy = str(Path(sys.executable).with_name("py-spy"))
    command = [spy, "record", "--pid", str(pid), "--rate", "200", "--format", "raw"]
    command += ["--output", str(path), "--duration", "unlimited"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_SECONDS)
