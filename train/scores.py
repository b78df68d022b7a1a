"""Ultralytics' scores under our names."""

from __future__ import annotations

from collections.abc import Mapping

from ultralytics.utils.metrics import DetMetrics

from loop.classes import ClassList
from train.training import CLASS_SCORES, ClassScores

_METRIC_NAMES = {
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "map50",
    "metrics/mAP50-95(B)": "map50_95",
}


def per_class(metrics: DetMetrics, classes: ClassList) -> ClassScores:
    """Of the last validation, which was that of best.pt; for classes that its images show."""
    scores = {}
    # Its `maps` puts the mean of the others in the place of a class that no image shows.
    for place, class_id in enumerate(metrics.ap_class_index):
        _, _, map50, map50_95 = metrics.class_result(place)
        scores[classes.name_of(int(class_id))] = dict(
            zip(CLASS_SCORES, (float(map50), float(map50_95)), strict=True)
        )
    return scores


def renamed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Our names: MLflow takes no parentheses, and Ultralytics' ones say ``(B)`` for boxes."""
    return {
        _METRIC_NAMES.get(name, name.replace("/", "_")): float(value)
        for name, value in metrics.items()
    }
