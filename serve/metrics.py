"""What Prometheus reads at ``/metrics``: of this process, since it started."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serve.service import Detected, ServiceStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From an empty answer to a queue of large images on a small machine.
_LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "secondlook_requests",
            "Requests by route, method and status code.",
            ("route", "method", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "secondlook_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_LATENCY_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self._detections = Counter(
            "secondlook_detections",
            "Detections by class.",
            ("class_name",),
            registry=self._registry,
        )
        self._model = Gauge(
            "secondlook_model_info",
            "1 for the model version in service.",
            ("name", "version", "digest"),
            registry=self._registry,
        )

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        # Labels come from our own lists only, never from what a client sent.
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(route, method, str(code)).inc()
        self._seconds.labels(route).observe(seconds)

    def detected(self, detected: Detected) -> None:
        for detection in detected.detections:
            self._detections.labels(detected.classes.name_of(detection.class_id)).inc()

    def render(self, status: ServiceStatus) -> bytes:
        self._model.clear()
        if status.model is not None:
            model = status.model
            self._model.labels(model.name, model.version, model.digest).set(1)
        return generate_latest(self._registry)
