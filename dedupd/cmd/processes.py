"""Several processes of one service: started together, replaced when one dies, stopped together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from oslo_log import log

from dedupd.errors import DedupdError

LOG = log.getLogger(__name__)

RESTART_SECONDS = 1.0
"""A process that died is replaced after this pause, so that one that cannot start does not spin."""

REFUSED = 1
"""The exit status of a process that says why it cannot work."""

_SIGNALS_TO_STOP = (signal.SIGTERM, signal.SIGINT)
_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Processes:
    """Runs ``target`` in ``count`` forked processes until SIGTERM or SIGINT.

    Must be used before the process has threads or an event loop. ``target`` is called with the
    process's place among them, from 0. Signals to the parent are passed on to all: those to stop,
    a second one as well, and SIGHUP. Should the parent be killed, they stop too.

    A child that ends while none was asked to is replaced. Where one of the first cannot even
    start, all are stopped.
    """

    def __init__(self, count: int, target: Callable[[int], None]) -> None:
        self._count = count
        self._target = target
        self._children: dict[int, int] = {}
        """The place of each, by its process id."""
        self._replaced: set[int] = set()
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        """Returns the exit status when all have ended: 0 unless one could not start."""
        for number in (*_SIGNALS_TO_STOP, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        for place in range(self._count):
            self._start(place)
        while self._children:
            pid, status = os.wait()
            place = self._children.pop(pid)
            if not self._stopping:
                self._see_to(place, os.waitstatus_to_exitcode(status))
        return self._status

    def _see_to(self, place: int, status: int) -> None:
        """Replace a process that ended by itself, or give up."""
        if status == REFUSED and place not in self._replaced:
            self._status = REFUSED
            self._on_signal(signal.SIGTERM, None)
            return
        LOG.error("The process in place %d ended (%s) and is replaced", place, _how(status))
        self._replaced.add(place)
        time.sleep(RESTART_SECONDS)
        if not self._stopping:
            self._start(place)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._stopping |= number in _SIGNALS_TO_STOP
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):  # waited for, and not off the list yet
                os.kill(pid, number)

    def _start(self, place: int) -> None:
        """Fork; the child itself never returns from here."""
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS_TO_STOP)
        pid = os.fork()
        if not pid:
            self._work(place, parent)
        self._children[pid] = place
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS_TO_STOP)
        if self._stopping:  # the signal came before there was a child to pass it on to
            os.kill(pid, signal.SIGTERM)

    def _work(self, place: int, parent: int) -> NoReturn:
        """The child's life."""
        status = os.EX_SOFTWARE
        try:
            _become_child(parent)
            self._target(place)
            status = 0
        except DedupdError as error:
            LOG.error("%s", error)
            status = REFUSED
        except Exception:
            LOG.exception("The process in place %d has failed", place)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _become_child(parent: int) -> None:
    """Take signals as any process does, and stop when the parent dies."""
    for number in _SIGNALS_TO_STOP:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS_TO_STOP)


def _how(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name
