"""Which class is taken for which: a confusion matrix of detections, background included.

A detection of at least some confidence and a true box belong together from some IoU on, one to one.
Pairs of one class are taken first, then the rest, both by falling IoU: a box that is found counts
as found even if a detection of another class lies on it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loop.agreement import LabelledBox
from loop.boxes import FloatArray, as_array, iou_matrix
from loop.classes import ClassList

BACKGROUND = "background"
# The usual points of work: what the desk shows, and what VOC and COCO call a hit.
CONFIDENCE = 0.25
IOU = 0.5


@dataclass(frozen=True, slots=True)
class Pairing:
    """Of one image: places in its truth and among its detections.

    ``found`` are pairs (truth, detection) of one class, ``confused`` pairs of two classes;
    ``missed`` are true boxes and ``false`` detections without a partner. Detections below the
    confidence are in none of them.
    """

    found: tuple[tuple[int, int], ...]
    confused: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    false: tuple[int, ...]


def pair_up(
    truth: Sequence[LabelledBox],
    detected: Sequence[LabelledBox],
    confidence: float = CONFIDENCE,
    iou: float = IOU,
) -> Pairing:
    sure = [place for place, box in enumerate(detected) if box.confidence >= confidence]
    pairs: list[tuple[int, int]] = []
    if truth and sure:
        overlaps = iou_matrix(
            as_array([box.box for box in truth]), as_array([detected[place].box for place in sure])
        )
        same = np.array(
            [[one.class_id == detected[place].class_id for place in sure] for one in truth]
        )
        pairs = _greedy(overlaps, same, iou)
    paired_truth = {row for row, _ in pairs}
    paired_sure = {column for _, column in pairs}
    known = [(row, sure[column]) for row, column in pairs]
    agrees = [truth[row].class_id == detected[place].class_id for row, place in known]
    return Pairing(
        found=tuple(pair for pair, right in zip(known, agrees, strict=True) if right),
        confused=tuple(pair for pair, right in zip(known, agrees, strict=True) if not right),
        missed=tuple(row for row in range(len(truth)) if row not in paired_truth),
        false=tuple(place for c, place in enumerate(sure) if c not in paired_sure),
    )


@dataclass(frozen=True, slots=True)
class Confusion:
    """``counts`` has the true classes in its rows and the detected ones in its columns, each with
    `BACKGROUND` last: shape (classes + 1, classes + 1). A missed box is in the last column, a
    false detection in the last row; what is background and taken for it cannot be counted: 0."""

    classes: ClassList
    counts: NDArray[np.int64]
    confidence: float
    iou: float

    @property
    def labels(self) -> tuple[str, ...]:
        return (*self.classes, BACKGROUND)

    @property
    def shares(self) -> FloatArray:
        """Each row divided by its sum; a row without anything stays 0."""
        sums = self.counts.sum(axis=1, keepdims=True)
        shares: FloatArray = self.counts / np.maximum(sums, 1)
        return shares


def confusion(
    truth: Sequence[Sequence[LabelledBox]],
    detected: Sequence[Sequence[LabelledBox]],
    classes: ClassList,
    confidence: float = CONFIDENCE,
    iou: float = IOU,
) -> Confusion:
    """Of all images together: ``truth`` and ``detected`` are lists of boxes an image, in the same
    order."""
    background = len(classes)
    counts = np.zeros((background + 1, background + 1), dtype=np.int64)
    for true_boxes, found_boxes in zip(truth, detected, strict=True):
        pairing = pair_up(true_boxes, found_boxes, confidence, iou)
        for row, column in (*pairing.found, *pairing.confused):
            counts[true_boxes[row].class_id, found_boxes[column].class_id] += 1
        for row in pairing.missed:
            counts[true_boxes[row].class_id, background] += 1
        for column in pairing.false:
            counts[background, found_boxes[column].class_id] += 1
    return Confusion(classes, counts, confidence, iou)


def _greedy(overlaps: FloatArray, same: NDArray[np.bool_], iou: float) -> list[tuple[int, int]]:
    rows, columns = np.nonzero(overlaps >= iou)
    order = np.lexsort((columns, rows, -overlaps[rows, columns], ~same[rows, columns]))
    free_rows = np.ones(overlaps.shape[0], dtype=bool)
    free_columns = np.ones(overlaps.shape[1], dtype=bool)
    pairs = []
    for place in order.tolist():
        row, column = int(rows[place]), int(columns[place])
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
    return pairs
