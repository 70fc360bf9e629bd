"""Metrics that nobody reads: in a history they would only cost time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dedupd.metrics import Metrics


class _Unread:
    """Stands for any metric, with any labels; takes every number and keeps none."""

    def labels(self, *_values: str) -> _Unread:
        """See prometheus_client."""
        return self

    def inc(self, _amount: float = 1) -> None:
        """See prometheus_client."""

    def set(self, _value: float) -> None:
        """See prometheus_client."""

    def observe(self, _amount: float) -> None:
        """See prometheus_client."""

    @contextmanager
    def track_inprogress(self) -> Iterator[None]:
        """See prometheus_client."""
        yield


def unread() -> Metrics:
    """The names of a process's metrics, each of which counts nothing."""
    metrics, nothing = Metrics(), _Unread()
    known = (name for name in vars(metrics) if name != "registry" and not name.startswith("_"))
    for name in list(known):
        setattr(metrics, name, nothing)
    return metrics
