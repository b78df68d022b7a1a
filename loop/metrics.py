"""Average precision of detections against true boxes, image by image.

COCO's definition (Lin et al., "Microsoft COCO", arXiv:1405.0312, and its evaluation code):
detections of a class over all images are taken by falling confidence, each matched to the free
true box of its image and class that it overlaps most, if by the IoU threshold at least; precision
is made monotone and averaged over 101 recall points. mAP50 takes the threshold 0.5, mAP50-95 the
mean over 0.5, 0.55 … 0.95; both are means over the classes that occur in the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.agreement import LabelledBox
from loop.boxes import FloatArray, as_array, iou_matrix
from loop.classes import ClassList
from loop.errors import NotEnoughData

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_POINTS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """``per_class`` is AP50-95 by class name, for classes in the truth; all in [0, 1]."""

    map50: float
    map50_95: float
    per_class: dict[str, float]
    per_class_50: dict[str, float]


def average_precision(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    classes: ClassList,
) -> AveragePrecision:
    """Score ``detected`` against ``truth``, both a list of boxes an image, in the same order.

    Raises `NotEnoughData` if there is no true box to find.
    """
    if len(truth) != len(detected):
        raise ValueError(f"{len(truth)} images of truth, {len(detected)} of detections")
    per_class: dict[str, float] = {}
    per_class_50: dict[str, float] = {}
    for class_id, name in enumerate(classes):
        positives = sum(box.class_id == class_id for boxes in truth for box in boxes)
        if positives:
            by_threshold = _class_ap(truth, detected, class_id, positives)
            per_class[name] = float(by_threshold.mean())
            per_class_50[name] = float(by_threshold[0])
    if not per_class:
        raise NotEnoughData(
            "There is no true box to measure against.", hint="Annotate some images with boxes."
        )
    return AveragePrecision(
        map50=float(np.mean(list(per_class_50.values()))),
        map50_95=float(np.mean(list(per_class.values()))),
        per_class=per_class,
        per_class_50=per_class_50,
    )


def _class_ap(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    class_id: int,
    positives: int,
) -> FloatArray:
    """AP at each of `IOU_THRESHOLDS`: shape (10,)."""
    confidences: list[float] = []
    hits: list[NDArray[np.bool_]] = []
    for true_boxes, found_boxes in zip(truth, detected, strict=True):
        found = sorted(
            (box for box in found_boxes if box.class_id == class_id),
            key=lambda box: -box.confidence,
        )
        true = [box for box in true_boxes if box.class_id == class_id]
        confidences.extend(box.confidence for box in found)
        hits.extend(_hits(found, true))
    if not hits:
        return np.zeros(len(IOU_THRESHOLDS))
    order = np.argsort(-np.array(confidences), kind="stable")
    is_hit = np.array(hits)[order]
    return np.array([_interpolated(is_hit[:, t], positives) for t in range(len(IOU_THRESHOLDS))])


def _hits(found: list[LabelledBox], true: list[LabelledBox]) -> list[NDArray[np.bool_]]:
    """For each found box, most confident first, whether it is a hit at each threshold."""
    if not true:
        return [np.zeros(len(IOU_THRESHOLDS), dtype=bool) for _ in found]
    iou = iou_matrix(as_array([b.box for b in found]), as_array([b.box for b in true]))
    free = np.ones((len(IOU_THRESHOLDS), len(true)), dtype=bool)
    hits = []
    for row in iou:
        hit = np.zeros(len(IOU_THRESHOLDS), dtype=bool)
        for t, threshold in enumerate(IOU_THRESHOLDS):
            candidates = np.where(free[t], row, -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= threshold:
                free[t, best] = False
                hit[t] = True
        hits.append(hit)
    return hits


def _interpolated(hits: NDArray[np.bool_], positives: int) -> float:
    true_positives = np.cumsum(hits)
    recall = true_positives / positives
    precision = true_positives / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, _RECALL_POINTS, side="left")
    at_points = np.where(places < len(envelope), envelope[np.minimum(places, len(hits) - 1)], 0.0)
    return float(at_points.mean())
