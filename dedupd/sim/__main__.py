"""`python -m dedupd.sim`: the simulated Nova as a process.

It prints one JSON line when it is ready to be called, `{"ready": true, "port": ..., "pid": ...}`,
and serves until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import msgspec

from dedupd.sim import Settings, SimulatedNova
from dedupd.sim.app import SimulatedNovaApp
from dedupd.sim.nova.world import FLAVORS, IMAGE, NETWORK, PORT, VOLUME
from dedupd.sim.server import BACKLOG, server_for


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(prog="python -m dedupd.sim", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 picks a free one")
    parser.add_argument("--seed", type=int, help="fixes ids and passwords (not generated keys)")
    parser.add_argument(
        "--schedule-seconds", type=float, default=0.1, help="time until a server has a host"
    )
    parser.add_argument(
        "--build-seconds", type=float, default=0.5, help="time from BUILD to ACTIVE"
    )
    parser.add_argument(
        "--instances-quota", type=int, default=-1, help="servers per project; -1: no limit"
    )
    parser.add_argument(
        "--keypairs-quota", type=int, default=100, help="key pairs per user; -1: no limit"
    )
    parser.add_argument(
        "--page-limit", type=int, default=1000, help="how many servers are listed at once"
    )
    return parser.parse_args(arguments)


def ready_line(host: str, port: int) -> str:
    """Return what a caller needs to know, as one line of JSON."""
    facts = {
        "ready": True,
        "port": port,
        "pid": os.getpid(),
        "compute_url": f"http://{host}:{port}/v2.1",
        "image": IMAGE,
        "flavor": FLAVORS[0].id,
        "network": NETWORK,
        "free_ports": [PORT],
        "volume_boot": VOLUME,
    }
    return msgspec.json.encode(facts).decode()


def _end(_number: int, _frame: FrameType | None) -> None:
    """End in good order: uvicorn raises the signal again once it has stopped serving."""
    raise SystemExit(0)


def serve(options: argparse.Namespace) -> None:
    """Listen, say so, and serve until a signal ends it."""
    settings = Settings(
        schedule_seconds=options.schedule_seconds,
        build_seconds=options.build_seconds,
        instances_quota=options.instances_quota,
        key_pairs_quota=options.keypairs_quota,
        page_limit=options.page_limit,
    )
    nova = SimulatedNova(seed=options.seed, settings=settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    listener = socket.create_server((options.host, options.port), backlog=BACKLOG)
    sys.stdout.write(ready_line(options.host, listener.getsockname()[1]) + "\n")
    sys.stdout.flush()
    server_for(SimulatedNovaApp(nova)).run(sockets=[listener])


if __name__ == "__main__":
    serve(parsed())
