"""Program: Placement, which the one for Nova starts.

python -P -m realnova.placement STATE SOCKET

STATE holds placement.conf; SOCKET is the number of the file descriptor of a bound socket. Ends when
standard input does, so with the process that started it, whatever that one died of.
"""

import contextlib
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from realnova import life, native_threads, web

_START_SECONDS = 60
_THREADS = 8


def application(placement_conf: Path) -> web.Application:
    """Placement's WSGI application."""
    from oslo_config import cfg
    from oslo_log import log
    from placement import conf, db_api, deploy

    options = cfg.ConfigOpts()
    log.register_options(options)
    conf.register_opts(options)
    options(["--config-file", str(placement_conf)], project="placement", default_config_files=[])
    log.setup(options, "placement")
    db_api.configure(options)
    loaded: web.Application = deploy.loadapp(options)
    return loaded


@contextlib.contextmanager
def running(state: Path, taken: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that will serve on `taken` (which is closed here: it is the child's now)."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "realnova.placement", str(state), str(taken.fileno())],
        pass_fds=[taken.fileno()],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
    )
    taken.close()
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def wait_until_it_listens(child: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
    """Return as soon as the child takes connections.

    Raises:
        RuntimeError: it ended, or did not listen in time.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"Placement ended with status {child.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(address, 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"Placement does not listen on {address} after {_START_SECONDS} s")


def main(state: Path, descriptor: int) -> None:
    """Serve until standard input ends."""
    warnings.simplefilter("ignore")
    native_threads.choose()
    from nova.tests.fixtures import DatabaseWriteLock

    DatabaseWriteLock().setUp()  # one writer at a time, as in the process of Nova
    web.serve(socket.socket(fileno=descriptor), application(state / "placement.conf"), _THREADS)
    life.end_signal(until_eof=True).wait()


if __name__ == "__main__":
    life.run(lambda: main(Path(sys.argv[1]), int(sys.argv[2])))
