"""The programs' logs: in a history only what nobody expected counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Unexpected(logging.Handler):
    """Collects the exceptions that a program caught only to log them as its own failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what carries an exception; anything else is told by the history itself."""
        if record.exc_info:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def unexpected() -> Iterator[Unexpected]:
    """Hear the project's logs; nothing of them is shown meanwhile."""
    heard = Unexpected()
    logger = logging.getLogger("dedupd")
    with quiet():
        logger.addHandler(heard)
        try:
            yield heard
        finally:
            logger.removeHandler(heard)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the project's logs to themselves; to change a level costs, so it is done once."""
    logger = logging.getLogger("dedupd")
    level, propagate = logger.level, logger.propagate
    if level == logging.ERROR and not propagate:
        yield
        return
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
