"""What the server tells Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from pipeline.serving.servable import Signature

# Of TensorFlow Serving, so that one scrape configuration serves both.
PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "vqvae_requests",
            "Requests answered.",
            ["api", "model", "signature", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "vqvae_request_seconds",
            "From a request's arrival to its answer.",
            ["api", "model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rows = Histogram(
            "vqvae_batch_rows",
            "Rows computed at once.",
            ["model"],
            buckets=_ROWS,
            registry=self.registry,
        )
        self._joined = Counter(
            "vqvae_batched_requests",
            "Requests computed together with others.",
            ["model"],
            registry=self.registry,
        )
        self._versions = Gauge(
            "vqvae_served_version",
            "1 for each version that is served.",
            ["model", "version"],
            registry=self.registry,
        )
        self._failures = Counter(
            "vqvae_load_failures", "Releases that could not be loaded.", registry=self.registry
        )

    def request(self, api: str, model: str, signature: str, code: str, seconds: float) -> None:
        self._requests.labels(api, model, signature, code).inc()
        self._seconds.labels(api, model).observe(seconds)

    def batch(self, signature: Signature, rows: int, requests: int) -> None:
        model = signature.model
        self._rows.labels(model).observe(rows)
        if requests > 1:
            self._joined.labels(model).inc(requests)

    def serving(self, versions: dict[str, list[int]]) -> None:
        """What is served from now on, by model."""
        self._versions.clear()
        for model, found in versions.items():
            for version in found:
                self._versions.labels(model, str(version)).set(1)

    def load_failure(self) -> None:
        self._failures.inc()

    def render(self) -> bytes:
        return prometheus_client.generate_latest(self.registry)
