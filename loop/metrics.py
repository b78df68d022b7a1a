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
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """``per_class`` is AP50-95 by class name, for classes in the truth; all in [0, 1]."""

    map50: float
    map50_95: float
    per_class: dict[str, float]
    per_class_50: dict[str, float]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """A class's curve at one IoU, over `RECALLS`: the best precision at that recall or a greater
    one, 0 where it is not reached. Its mean is the class's AP. ``confidences`` are the thresholds
    at which the detections are that precise, None where no threshold reaches the recall."""

    precisions: tuple[float, ...]
    confidences: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A class's detections on all images by falling confidence, each matched within its image.

    ``confidences`` and ``images`` (the place of the image that each is on) have the shape (n,),
    ``hits`` (n, thresholds) says whether each is a hit at each IoU, ``positives`` (images,) how
    many true boxes an image has.
    """

    name: str
    confidences: FloatArray
    images: NDArray[np.intp]
    hits: NDArray[np.bool_]
    positives: NDArray[np.intp]


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
    for ranked in rank(truth, detected, classes):
        by_threshold = _class_ap(ranked)
        per_class[ranked.name] = float(by_threshold.mean())
        per_class_50[ranked.name] = float(by_threshold[0])
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


def precision_recall(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    classes: ClassList,
    iou: float = 0.5,
) -> dict[str, PrecisionRecall]:
    """The curves behind `average_precision`, by class name, for classes in the truth."""
    curves: dict[str, PrecisionRecall] = {}
    for ranked in rank(truth, detected, classes, np.array([iou])):
        precisions, places = _interpolated(ranked.hits[:, 0], int(ranked.positives.sum()))
        confidences = ranked.confidences
        curves[ranked.name] = PrecisionRecall(
            tuple(precisions.tolist()),
            tuple(
                float(confidences[place]) if place < len(confidences) else None
                for place in places.tolist()
            ),
        )
    return curves


def rank(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    classes: ClassList,
    thresholds: FloatArray = IOU_THRESHOLDS,
) -> list[Ranked]:
    """What the scores rest on, for each class in the truth, in the order of ``classes``."""
    found = []
    for class_id, name in enumerate(classes):
        counts = [sum(box.class_id == class_id for box in boxes) for boxes in truth]
        if any(counts):
            positives = np.array(counts, dtype=np.intp)
            found.append(_ranked(truth, detected, class_id, name, positives, thresholds))
    return found


def _class_ap(ranked: Ranked) -> FloatArray:
    """AP at each of `IOU_THRESHOLDS`: shape (10,)."""
    positives = int(ranked.positives.sum())
    by_threshold = [_interpolated(hits, positives)[0] for hits in ranked.hits.T]
    return np.array([precisions.mean() for precisions in by_threshold])


def _ranked(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    class_id: int,
    name: str,
    positives: NDArray[np.intp],
    thresholds: FloatArray,
) -> Ranked:
    confidences: list[float] = []
    images: list[int] = []
    hits: list[NDArray[np.bool_]] = []
    for place, (true_boxes, found_boxes) in enumerate(zip(truth, detected, strict=True)):
        found = sorted(
            (box for box in found_boxes if box.class_id == class_id),
            key=lambda box: -box.confidence,
        )
        true = [box for box in true_boxes if box.class_id == class_id]
        confidences.extend(box.confidence for box in found)
        images.extend([place] * len(found))
        hits.extend(_hits(found, true, thresholds))
    order = np.argsort(-np.array(confidences), kind="stable")
    is_hit = np.array(hits, dtype=bool).reshape(-1, len(thresholds))
    return Ranked(
        name,
        np.array(confidences, dtype=np.float64)[order],
        np.array(images, dtype=np.intp)[order],
        is_hit[order],
        positives,
    )


def _hits(
    found: list[LabelledBox], true: list[LabelledBox], thresholds: FloatArray
) -> list[NDArray[np.bool_]]:
    """For each found box, most confident first, whether it is a hit at each threshold."""
    if not true:
        return [np.zeros(len(thresholds), dtype=bool) for _ in found]
    iou = iou_matrix(as_array([b.box for b in found]), as_array([b.box for b in true]))
    free = np.ones((len(thresholds), len(true)), dtype=bool)
    hits = []
    for row in iou:
        hit = np.zeros(len(thresholds), dtype=bool)
        for t, threshold in enumerate(thresholds):
            candidates = np.where(free[t], row, -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= threshold:
                free[t, best] = False
                hit[t] = True
        hits.append(hit)
    return hits


def _interpolated(hits: NDArray[np.bool_], positives: int) -> tuple[FloatArray, NDArray[np.intp]]:
    """Precision at each of `RECALLS`, and the place among ``hits`` down to which one must go for
    it, ``len(hits)`` where the recall is never reached: both of shape (101,)."""
    if not len(hits):
        return np.zeros(len(RECALLS)), np.zeros(len(RECALLS), dtype=np.intp)
    true_positives = np.cumsum(hits)
    recall = true_positives / positives
    precision = true_positives / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    peaks = np.append(np.flatnonzero(precision == envelope), len(hits))
    places = peaks[np.searchsorted(peaks, np.searchsorted(recall, RECALLS, side="left"))]
    at_points = np.where(places < len(hits), precision[np.minimum(places, len(hits) - 1)], 0.0)
    return at_points, places
