"""What the models of a replica have detected lately, counted beside what each was measured with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from loop.drift import (
    NUMBER_BOUNDS,
    Drift,
    Profile,
    Reference,
    compare,
    number_bin,
    score_bin,
)
from loop.predictions import SCORE_BOUNDS, Detection, ModelRef

# A model before a swap, the one after it, and those that are tried beside it.
_MOST_MODELS = 4


class DriftWindow:
    """The last ``size`` images of one model. A single image costs a few counters."""

    def __init__(self, reference: Reference, size: int) -> None:
        self.reference = reference
        self.size = size
        self._cells = [0] * (len(reference.profile.classes) * len(SCORE_BOUNDS))
        self._numbers = [0] * len(NUMBER_BOUNDS)
        # Of each image the places of its detections in `_cells`.
        self._images: deque[tuple[int, ...]] = deque()

    @property
    def images(self) -> int:
        return len(self._images)

    def add(self, detections: Sequence[Detection]) -> None:
        bins, cells = len(SCORE_BOUNDS), self._cells
        image = tuple([d.class_id * bins + score_bin(d.confidence) for d in detections])
        if len(self._images) == self.size:
            oldest = self._images.popleft()
            self._numbers[number_bin(len(oldest))] -= 1
            for cell in oldest:
                cells[cell] -= 1
        self._images.append(image)
        self._numbers[number_bin(len(image))] += 1
        for cell in image:
            cells[cell] += 1

    def profile(self) -> Profile:
        bins, of = len(SCORE_BOUNDS), self.reference.profile
        rows = range(0, len(self._cells), bins)
        scores = tuple(tuple(self._cells[row : row + bins]) for row in rows)
        return Profile(of.classes, of.at_least, scores, tuple(self._numbers))


class DriftWindows:
    """A window for each model that there is a reference for. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[ModelRef, DriftWindow] = {}

    def begin(self, reference: Reference, size: int) -> None:
        """Count the next ``size`` images of its model, and then the last ``size``."""
        with self._lock:
            self._windows.pop(reference.model, None)
            while len(self._windows) >= _MOST_MODELS:
                del self._windows[next(iter(self._windows))]
            self._windows[reference.model] = DriftWindow(reference, size)

    def add(self, model: ModelRef, detections: Sequence[Detection]) -> None:
        with self._lock:
            window = self._windows.get(model)
            if window is not None:
                window.add(detections)

    def find(self, model: ModelRef) -> tuple[Profile, Profile, Drift] | None:
        """The reference of ``model``, the profile of its window, and how far they are apart."""
        with self._lock:
            window = self._windows.get(model)
            if window is None:
                return None
            now = window.profile()
        reference = window.reference.profile
        return reference, now, compare(reference, now)


def drift_families(found: tuple[Profile, Profile, Drift] | None) -> list[Metric]:
    """For Prometheus. What is not known has no sample: nothing without a reference, and no measure
    while there is too little to compare."""
    psi = GaugeMetricFamily(
        "secondlook_drift_psi",
        "Population stability index of the scores of all classes, against the gold set.",
    )
    class_psi = GaugeMetricFamily(
        "secondlook_drift_class_psi",
        "The same of the scores of one class.",
        labels=["class_name"],
    )
    distance = GaugeMetricFamily(
        "secondlook_drift_class_distance",
        "Jensen-Shannon distance, 0 to 1, between the classes' shares of detections.",
    )
    number_psi = GaugeMetricFamily(
        "secondlook_drift_number_psi",
        "Population stability index of the number of detections an image.",
    )
    per_image = GaugeMetricFamily(
        "secondlook_drift_detections_per_image",
        "Mean number of detections, of the gold set (reference) and of the last images (now).",
        labels=["of"],
    )
    images = GaugeMetricFamily(
        "secondlook_drift_images", "Last images of the model in service that are compared."
    )
    if found is not None:
        reference, now, drift = found
        images.add_metric([], now.images)
        per_image.add_metric(["reference"], reference.per_image)
        if now.images:
            per_image.add_metric(["now"], now.per_image)
        for family, value in (
            (psi, drift.psi),
            (distance, drift.class_distance),
            (number_psi, drift.number_psi),
        ):
            if value is not None:
                family.add_metric([], value)
        for name, value in drift.class_psi.items():
            class_psi.add_metric([name], value)
    return [psi, class_psi, distance, number_psi, per_image, images]
