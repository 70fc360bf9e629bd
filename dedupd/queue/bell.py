"""How an event loop wakes a thread that waits for a socket."""

from __future__ import annotations

import os
import select


class Bell:
    """Rung from one thread, waited for in another, together with a socket; for Linux.

    The eventfd is watched for edges, so that it need not be read: one system call less.
    """

    def __init__(self) -> None:
        self._ring = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._ring, select.EPOLLIN | select.EPOLLET)
        self._is_open = True

    def watch(self, descriptor: int) -> None:
        """From now on, something to read from this one ends the wait too."""
        self._poll.register(descriptor, select.EPOLLIN)

    def ring(self) -> None:
        """End the present wait, or the next one. After ``close`` nothing happens."""
        if self._is_open:
            os.eventfd_write(self._ring, 1)

    def wait(self, seconds: float | None) -> None:
        """Wait until it rings, something can be read, or so many seconds have passed."""
        self._poll.poll(seconds)

    def close(self) -> None:
        """Let go of it, in the thread that rings, or after that one has gone."""
        if self._is_open:
            self._is_open = False
            self._poll.close()
            os.close(self._ring)
