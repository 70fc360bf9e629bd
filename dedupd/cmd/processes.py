"""Several processes of one service: started together, replaced when one dies, stopped together."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

RESTART_SECONDS = 1.0
"""A process that died is replaced after this pause, so that one that cannot start does not spin."""


class Processes:
    """Runs ``target`` in ``count`` forked processes until SIGTERM or SIGINT.

    Must be used before the process has threads or an event loop. A child that ends while none was
    asked to is replaced; a signal to the parent is passed on to all, and a second one as well.
    """

    def __init__(self, count: int, target: Callable[[], None]) -> None:
        self._count = count
        self._target = target
        self._children: set[int] = set()
        self._stopping = False

    def run(self) -> int:
        """Returns when all have ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._children = {self._fork() for _ in range(self._count)}
        while self._children:
            pid, status = os.wait()
            self._children.discard(pid)
            if not self._stopping:
                sys.stderr.write(f"dedupd: process {pid} ended ({_how(status)}); replaced\n")
                time.sleep(RESTART_SECONDS)
            if not self._stopping:
                self._children.add(self._fork())
        return 0

    def _on_signal(self, number: int, _frame: object) -> None:
        self._stopping = True
        for pid in self._children:
            os.kill(pid, number)

    def _fork(self) -> int:
        """The child's pid; the child itself never returns from here."""
        pid = os.fork()
        if pid:
            return pid
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        status = 1
        try:
            self._target()
            status = 0
        finally:
            os._exit(status)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name
