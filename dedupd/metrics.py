"""What Prometheus reads: counters end in ``_total``, durations are in seconds."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_the_front()
        self._of_the_worker()

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

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
            "Requests that dedupd answered with an error of its own, by its HTTP status.",
            ["code"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            "dedupd_waiting_callers",
            "Callers that wait for a request to finish.",
            registry=self.registry,
        )

    def _of_the_worker(self) -> None:
        self.pending = Gauge(
            "dedupd_pending_requests",
            "Requests that have not ended, by state.",
            ["state"],
            registry=self.registry,
        )
        self.oldest = Gauge(
            "dedupd_oldest_pending_seconds",
            "The age of the oldest request that is queued or being sent.",
            registry=self.registry,
        )
        self.attempts = Counter(
            "dedupd_attempts",
            "Times that a request was sent to Nova, by what the answer meant.",
            ["outcome"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "dedupd_sends_inprogress", "Requests being sent to Nova.", registry=self.registry
        )
        self.findings = Counter(
            "dedupd_probe_findings",
            "Looks for a lost effect in Nova, by what they found.",
            ["finding"],
            registry=self.registry,
        )
        self.ended = Counter(
            "dedupd_requests_ended",
            "Requests that ended, by the state they ended in.",
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
