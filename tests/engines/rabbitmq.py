"""A RabbitMQ of our own: private ports on loopback, private data; never the machine's instance.

Debian's package is used, its service is not.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Self

from tests.engines.children import launch
from tests.engines.ports import free_ports, is_free
from tests.integration.certificates import Authority, Pair

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
USER = "dedupd"
PASSWORD = "geheim"
START_SECONDS = 240.0
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LOG_LINES = 40
_BANNER = b"AMQP\x00\x00\x09\x01"


def names_command(port: int) -> list[str]:
    """What runs Erlang's directory of names (epmd), in the foreground."""
    return ["epmd", "-address", "127.0.0.1", "-port", str(port)]


class NotReady(Exception):
    """It ended, or did not answer in time; the message holds its log."""


class RabbitMQ:
    """One node, with a listener for AMQP, and one for AMQP over TLS that asks for a certificate.

    Args:
        directory: Where its data, its log and its certificates are.
        names_port: Where the directory of names is that it shares with others; by default it has
            one of its own.
    """

    def __init__(self, directory: Path, names_port: int | None = None) -> None:
        """Write its configuration; nothing is started."""
        self.directory = directory
        self.port, self.tls_port, self._distribution_port, own_names_port = free_ports(4)
        self.node = f"dedupd-{self.port}@localhost"
        self._names_port = names_port or own_names_port
        self._shares_names = names_port is not None
        authority = Authority(directory)
        self.cafile = authority.cafile
        self.client = authority.sign("client")
        self._data = directory / "data"
        self._log = directory / "log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._write_configuration(authority.sign("server"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._processes[-1].pid

    @property
    def url(self) -> str:
        """How it is reached."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}//"

    @property
    def tls_url(self) -> str:
        """How it is reached with TLS."""
        return f"amqps://{USER}:{PASSWORD}@127.0.0.1:{self.tls_port}//"

    def start(self) -> None:
        """Launch it on the data that it had, and wait until it answers.

        Raises:
            NotReady: it does not.
        """
        if not self._shares_names:
            self._launch(names_command(self._names_port))
            self._wait_until(lambda: not is_free(self._names_port))
        self._launch([SERVER])
        self._wait_until(self._answers)

    def kill(self) -> None:
        """End it as `kill -9` does; its data stay."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end in its own time; kill it where it does not. Again: nothing happens."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it, and start it again on the same data and ports."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Kill it, and start it again with nothing on it."""
        self.kill()
        shutil.rmtree(self._data)
        self.start()

    def mute(self, name: str) -> None:
        """Leave no more of a quorum queue of the vhost / than its name: what Ra keeps of it ends.

        So it is after some kills within the second in which the queue was declared.

        Raises:
            CalledProcessError: it has no such queue.
        """
        server = f"{{'%2F_{name}', node()}}"
        self.control("eval", f"ok = ra:stop_server(quorum_queues, {server}).")

    def pause(self) -> None:
        """Stop it where it is: connections stand, and nothing answers (SIGSTOP).

        Returns when all of its threads have stopped, which takes a while on a busy machine.
        """
        server = self._processes[-1]
        server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._processes[-1].send_signal(signal.SIGCONT)

    def restore(self) -> None:
        """It goes on where it was paused, or starts again where it was killed."""
        if self._processes:
            self.resume()
        else:
            self.start()

    def control(self, *command: str) -> str:
        """Have rabbitmqctl do something; what it prints.

        Raises:
            CalledProcessError: it could not.
        """
        return subprocess.run(
            [CONTROL, "--quiet", "--node", self.node, *command],
            env=self._environment(),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=START_SECONDS,
        ).stdout

    def log(self) -> str:
        """The last lines that it wrote."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-_LOG_LINES:])

    def _write_configuration(self, server: Pair) -> None:
        lines = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": self.cafile,
            "ssl_options.certfile": server.certfile,
            "ssl_options.keyfile": server.keyfile,
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
            "default_user": USER,
            "default_pass": PASSWORD,
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        (self.directory / "rabbitmq.conf").write_text(text)
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "environment").touch()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "environment"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            # With this the script becomes the server, so that its process id is the server's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _launch(self, command: list[str]) -> None:
        environment = self._environment()
        self._processes.append(
            launch(command, directory=self.directory, log=self._log, environment=environment)
        )

    def _wait_until(self, is_reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not is_reached():
            ended = [process.poll() for process in self._processes]
            if any(status is not None for status in ended) or time.monotonic() > deadline:
                self.kill()
                raise NotReady(f"RabbitMQ is not ready\n{self.log()}")
            time.sleep(_POLL_SECONDS)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(_BANNER)
                return len(connection.recv(1)) == 1
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        while self._processes:  # the last one first: the server, then its directory of names
            process = self._processes.pop()
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@cache
def shared() -> RabbitMQ:
    """One for all tests of this process that leave it as it is; ``stop_shared`` ends it."""
    return RabbitMQ(Path(tempfile.mkdtemp(prefix="dedupd-rabbitmq-"))).__enter__()


def stop_shared() -> None:
    """End the shared one, if it was started."""
    if shared.cache_info().currsize:
        broker = shared()
        shared.cache_clear()
        broker.__exit__()
        shutil.rmtree(broker.directory)
