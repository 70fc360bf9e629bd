"""What Prometheus reads: counters end in ``_total``, durations are in seconds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


@dataclass(frozen=True)
class Place:
    """One of several processes that answer for all of them: whichever is asked gives the sum.

    ``directory`` is empty when the first one starts, and ``number`` is nobody else's at the same
    time. Who takes the place of one that died goes on from its counts.
    """

    directory: Path
    number: int


class Metrics:
    """One process's metrics, in a registry of their own; or its part of those of several.

    Args:
        place: Its place among several. prometheus_client knows one for a process, from then on.
    """

    def __init__(self, place: Place | None = None) -> None:
        self._place = place
        if place is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place.directory)
            values.ValueClass = values.MultiProcessValue(lambda: place.number)  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._of_the_front()
        self._of_what_waits()
        self._of_the_worker()
        self.waiting.set(0)

    def render(self) -> bytes:
        """The text exposition format."""
        if self._place is None:
            return generate_latest(self.registry)
        everybodys, directory = CollectorRegistry(), str(self._place.directory)
        multiprocess.MultiProcessCollector(everybodys, directory)  # type: ignore[no-untyped-call]
        return generate_latest(everybodys)

    def _of_the_front(self) -> None:
        self.answers = Counter(
            "dedupd_answers",
            "Answers on the token path, by their Idempotency-Status and whether replayed.",
            ["status", "replayed"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "dedupd_answer_duration_seconds",
            "From a token-tagged request's arrival to its answer.",
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.refused = Counter(
            "dedupd_refused",
            "Requests with a client token that dedupd answered with an error of its own, by its "
            "HTTP status.",
            ["code"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "dedupd_waiting_callers",
            "Callers that wait for a request to finish.",
            registry=self.registry,
            multiprocess_mode="sum",
        )

    def _of_what_waits(self) -> None:
        self.pending = Gauge(
            "dedupd_pending_requests",
            "Requests that have not ended, by state.",
            ["state"],
            registry=self.registry,
            multiprocess_mode="max",
        )
        self.oldest = Gauge(
            "dedupd_oldest_pending_seconds",
            "The age of the oldest request that is queued or being sent.",
            registry=self.registry,
            multiprocess_mode="max",
        )
        self.put_off = Gauge(
            "dedupd_put_off_requests",
            "Queued requests that a worker put off, since Nova turns others of their project down.",
            registry=self.registry,
            multiprocess_mode="sum",
        )

    def _of_the_worker(self) -> None:
        self.attempts = Counter(
            "dedupd_attempts",
            "Times that a request was sent to Nova, by what the answer meant.",
            ["outcome"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "dedupd_sends_inprogress",
            "Requests being sent to Nova.",
            registry=self.registry,
            multiprocess_mode="sum",
        )
        self.findings = Counter(
            "dedupd_probe_findings",
            "Looks for a lost effect in Nova, by what they found.",
            ["finding"],
            registry=self.registry,
        )
        self.ended = Counter(
            "dedupd_requests_ended",
            "Requests that a worker ended, or gave up as unknown, by state.",
            ["state"],
            registry=self.registry,
        )
        self.compensated = Counter(
            "dedupd_compensations",
            "Effects that no record names and that were deleted again.",
            registry=self.registry,
        )
        self.surplus = Counter(
            "dedupd_surplus_effects",
            "Effects found beyond the one that a record names.",
            registry=self.registry,
        )
