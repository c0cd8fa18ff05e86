"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
GAUGES = {
    "waiting": "Requests received and not answered",
    "running": "Pictures that are being worked on",
    "oldest_seconds": "For how long the oldest of them has been",
    "workers_ended": "Workers that took too long or died",
    "memory_bytes": "Of the budget, in use",
    "stored_bytes": "Results kept for tmp_url, and records of jobs",
    "job_pictures": "Pictures of jobs that are not finished",
}


class Metrics:
    """The numbers of one server.

    Parameters
    ----------
    gauges : mapping
        What tells the number, for each of `GAUGES`.
    """

    def __init__(self, gauges: Mapping[str, Callable[[], float]]) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "gpublur_requests", "Requests answered; 499: the client had gone", ["dialect", "status"], registry=registry
        )
        self._seconds = Histogram(
            "gpublur_request_seconds", "From the head of a request to the end of its answer", ["dialect"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            "gpublur_batch_size", "Pictures that went to a GPU's editor together", buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )  # fmt: skip
        for name, words in GAUGES.items():
            Gauge(f"gpublur_{name}", words, registry=registry).set_function(gauges[name])

    def answered(self, dialect: str, status: int, seconds: float) -> None:
        self._requests.labels(dialect, str(status)).inc()
        self._seconds.labels(dialect).observe(seconds)

    def batch(self, size: int) -> None:
        self._batches.observe(size)

    def text(self) -> bytes:
        return generate_latest(self.registry)
