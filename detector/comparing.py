"""Whether two models see the same boxes in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from loop.boxes import FloatArray, as_array, iou_matrix
from loop.predictions import Detection

# In how far two backends may disagree about whether a box overlaps another too much.
_NMS_MARGIN = 0.02


@dataclass(frozen=True, slots=True)
class Tolerance:
    """``box_px`` is for each edge, in pixels of the image; ``confidence`` in [0, 1]."""

    box_px: float = 1.0
    confidence: float = 0.01


@dataclass(frozen=True, slots=True)
class Difference:
    """The greatest ones among boxes that match, and how many there are without their like.

    Boxes match that are of one class and whose edges are within the tolerance.
    """

    box_px: float = 0.0
    confidence: float = 0.0
    unmatched: int = 0

    def within(self, tolerance: Tolerance) -> bool:
        return (
            not self.unmatched
            and self.box_px <= tolerance.box_px
            and self.confidence <= tolerance.confidence
        )

    def __or__(self, other: Difference) -> Difference:
        return Difference(
            max(self.box_px, other.box_px),
            max(self.confidence, other.confidence),
            self.unmatched + other.unmatched,
        )


def difference(
    left: Sequence[Detection],
    right: Sequence[Detection],
    *,
    min_confidence: float,
    nms_iou: float,
    tolerance: Tolerance,
) -> Difference:
    """How far two models differ on one image, both run with ``min_confidence`` and ``nms_iou``.

    A box that only one of them reports does not count where the smallest difference decides: near
    the lowest confidence, and where it overlaps a box of its class that is about as sure, or surer,
    just about too much.
    """
    a, b = as_array([d.box for d in left]), as_array([d.box for d in right])
    same_class = _classes(left)[:, None] == _classes(right)[None, :]
    overlap = iou_matrix(a, b) * same_class
    apart = np.abs(a[:, None] - b[None]).max(axis=2, initial=0.0)
    matching = same_class & (apart <= tolerance.box_px)
    rows, columns = linear_sum_assignment(overlap * matching, maximize=True)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if matching[i, j]]
    lone_left = set(range(len(left))) - {i for i, _ in pairs}
    lone_right = set(range(len(right))) - {j for _, j in pairs}
    floor = min_confidence + tolerance.confidence
    unmatched = _unexplained(lone_left, left, right, overlap, floor, nms_iou, tolerance)
    unmatched += _unexplained(lone_right, right, left, overlap.T, floor, nms_iou, tolerance)
    return Difference(
        box_px=max((float(apart[i, j]) for i, j in pairs), default=0.0),
        confidence=max(
            (abs(left[i].confidence - right[j].confidence) for i, j in pairs), default=0.0
        ),
        unmatched=unmatched,
    )


def _unexplained(
    lone: set[int],
    own: Sequence[Detection],
    others: Sequence[Detection],
    overlap: FloatArray,
    floor: float,
    nms_iou: float,
    tolerance: Tolerance,
) -> int:
    count = 0
    for index in lone:
        confidence = own[index].confidence
        suppressed = any(
            overlap[index, j] >= nms_iou - _NMS_MARGIN
            and other.confidence >= confidence - tolerance.confidence
            for j, other in enumerate(others)
        )
        count += confidence >= floor and not suppressed
    return count


def _classes(detections: Sequence[Detection]) -> FloatArray:
    return np.array([detection.class_id for detection in detections], dtype=np.float64)
