"""What Prometheus reads at ``/metrics``: of every replica, since each of them started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

from detector.jobs import Stage
from loop.drift import Reference
from loop.predictions import SCORE_BOUNDS
from serve.drift import DriftWindows, drift_families
from serve.model_slot import SwapOutcome
from serve.service import Detected, ServiceStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# From an empty answer to a queue of large images on a small machine.
_LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# What an engine does to an image takes less than a request: from a small network on a GPU on.
_ENGINE_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, *_LATENCY_BUCKETS_SECONDS)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Metrics:
    """Of one replica."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(
            "requests", "Requests by route, method and status code.", "route", "method", "code"
        )
        self._seconds = self._histogram(
            "request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            _LATENCY_BUCKETS_SECONDS,
            "route",
        )
        self._stages = self._histogram(
            "stage_seconds",
            "Time an image spends in a stage: read (its bytes), queue (until the engine gets to "
            "it), decode, detect (from its pixels to its boxes), log (until it is on record).",
            _LATENCY_BUCKETS_SECONDS,
            "stage",
        )
        self._rejected = self._counter("rejected", "Images there was no room for.")
        self._timeouts = self._counter("timeouts", "Images that took too long.")
        self._detections = self._counter("detections", "Detections by class.", "class_name")
        self._scores = self._histogram(
            "scores", "Confidence of detections by class.", SCORE_BOUNDS, "class_name"
        )
        engine_stages = self._histogram(
            "engine_stage_seconds",
            "Time an image spends in a stage of the engine: waiting (for its turn), preprocess, "
            "inference, postprocess; of images in one batch each has its share.",
            _ENGINE_BUCKETS_SECONDS,
            "stage",
        )
        self._engine_stages = {str(stage): engine_stages.labels(stage) for stage in Stage}
        self._batches = self._histogram(
            "batch_images", "Images that were handed to the network at once.", _BATCH_BUCKETS
        )
        self._swaps = self._counter(
            "swaps",
            "Models that were asked for: served, failed, or superseded by the next one.",
            "outcome",
        )
        for outcome in SwapOutcome:  # from 0: Prometheus sees no increase in what begins at 1
            self._swaps.labels(outcome)

        self._trial_images = self._counter(
            "trial_images",
            "Images of trials: answered by the candidate or the champion (canary); compared, or "
            "skipped for want of time (shadow); or failed with the candidate.",
            "kind",
            "outcome",
        )
        self._inside = self._gauge("images_inside", "Images in the replica: queue and engine.")
        self._limit = self._gauge("images_limit", "Images that the replica has room for.")
        self._in_engine = self._gauge("images_in_engine", "Images that the engine works on.")
        self._model = self._gauge(
            "model_info", "1 for the model version in service.", "name", "version", "digest"
        )
        self._windows = DriftWindows()
        self._by_class: dict[str, tuple[Counter, Histogram]] = {}

    def request(self, route: str, method: str, code: int, seconds: float) -> None:
        # Labels come from our own lists only, never from what a client sent.
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(route, method, str(code)).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        self._stages.labels(stage).observe(seconds)

    def engine_stage(self, stage: str, seconds: float) -> None:
        """For `detector.engine.open_engine`; its threads call it. Raises KeyError for a stage that
        is not one of `detector.jobs.Stage`."""
        self._engine_stages[stage].observe(seconds)

    def batch(self, size: int) -> None:
        """So many images went to the network at once. Engines' threads call it."""
        self._batches.observe(size)

    def swap(self, outcome: SwapOutcome) -> None:
        self._swaps.labels(outcome).inc()

    def rejected(self) -> None:
        self._rejected.inc()

    def timed_out(self) -> None:
        self._timeouts.inc()

    def expect(self, reference: Reference, images: int) -> None:
        """Compare the last ``images`` images of its model with ``reference`` from now on."""
        self._windows.begin(reference, images)

    def trial_image(self, kind: str, outcome: str) -> None:
        self._trial_images.labels(kind, outcome).inc()

    def detected(self, detected: Detected) -> None:
        self._windows.add(detected.model, detected.detections)
        for detection in detected.detections:
            name = detected.classes.name_of(detection.class_id)
            counter, scores = self._by_class.get(name) or self._new_class(name)
            counter.inc()
            scores.observe(detection.confidence)

    def load(self, *, inside: int, limit: int, in_engine: int) -> None:
        self._inside.set(inside)
        self._limit.set(limit)
        self._in_engine.set(in_engine)

    def families(self, status: ServiceStatus) -> list[Metric]:
        """All of them as they are now; they can be pickled."""
        self._model.clear()
        if status.model is not None:
            model = status.model
            self._model.labels(model.name, model.version, model.digest).set(1)
        drift = self._windows.find(status.model) if status.model else None
        return [*self._registry.collect(), *drift_families(drift)]

    def _new_class(self, name: str) -> tuple[Counter, Histogram]:
        """Kept, since to find them by their label takes longer than to count."""
        found = self._detections.labels(name), self._scores.labels(name)
        self._by_class[name] = found
        return found

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"secondlook_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"secondlook_{name}", text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"secondlook_{name}", text, labels, buckets=buckets, registry=self._registry
        )


def exposition(replicas: Mapping[str, Iterable[Metric]]) -> bytes:
    """Prometheus' text of several replicas' families, each sample with its ``replica``."""
    return generate_latest(_Merged(replicas))


class _Merged(CollectorRegistry):
    def __init__(self, replicas: Mapping[str, Iterable[Metric]]) -> None:
        super().__init__()
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for replica, families in self._replicas.items():
            for family in families:
                into = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                into.samples += [
                    sample._replace(labels={**sample.labels, "replica": replica})
                    for sample in family.samples
                ]
        yield from merged.values()
