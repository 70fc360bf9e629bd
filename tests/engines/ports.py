"""Ports of loopback for engines that are told theirs before they start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_FIRST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """One of ``free_ports``."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different free ports that no outgoing connection takes while their owner is dead.

    Raises:
        OSError: there are not so many.
    """
    found: list[int] = []
    candidates = range(_FIRST, int(_EPHEMERAL.read_text().split()[0]))
    for port in random.sample(candidates, len(candidates)):
        if len(found) == count:
            return found
        if is_free(port):
            found.append(port)
    raise OSError(f"fewer than {count} ports of {candidates} are free")


def is_free(port: int) -> bool:
    """Whether nobody listens there, and one may."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
