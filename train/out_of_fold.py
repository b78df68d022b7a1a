"""Out-of-fold predictions: what a model that was not trained on an image saw on it, for each image.

They come from the folds' own validations, put together and checked: every image that may be
trained on is there once, seen by the fold that left it out, and no gold image is.
``docs/out-of-fold-format.md`` describes the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import BrokenRecord, InvalidBox
from store.snapshot_files import Snapshot
from train.detections_file import ImageDetections, read_detections

SCHEMA_VERSION = 1
# What validation keeps: the floor in `train.detections_file`.
CONFIDENCE_FLOOR = 0.001


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the fold of that number saw on its validation images: their rows of the snapshot and
    its file of detections."""

    fold: int
    rows: tuple[int, ...]
    detections: Path


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One image: who held it out, what was seen on it, and its true boxes.

    ``true_boxes`` is (n, 4) float32, xyxy in pixels, ``true_class_ids`` (n,) int16.
    """

    row: int
    fold: int
    subject: str
    width: int
    height: int
    detected: ImageDetections
    true_boxes: NDArray[np.float32]
    true_class_ids: NDArray[np.int16]

    @property
    def image_id(self) -> str:
        return self.detected.image_id


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """``images`` are in the order of the snapshot's rows; ``metadata`` is the file's."""

    classes: ClassList
    images: tuple[Seen, ...]
    metadata: Mapping[str, str]

    def truth(self) -> list[tuple[LabelledBox, ...]]:
        """The true boxes of each image, as `loop.metrics` takes them."""
        return [
            _labelled("t", image.true_boxes, image.true_class_ids, np.ones(len(image.true_boxes)))
            for image in self.images
        ]

    def detected(self, at_least: float = 0.0) -> list[tuple[LabelledBox, ...]]:
        """The detections of each image, from a confidence up; those without an area, at an image's
        edge, are left out."""
        found = []
        for each in (image.detected for image in self.images):
            sure = each.confidences >= at_least
            boxes, class_ids = each.boxes[sure], each.class_ids[sure]
            found.append(_labelled("d", boxes, class_ids, each.confidences[sure]))
        return found


def collect(
    snapshot: Snapshot,
    parts: Sequence[HeldOut],
    expected: Iterable[int],
    digests: Mapping[str, str],
) -> OutOfFold:
    """Put together what the folds saw. ``expected`` are the rows that must be there, each once;
    ``digests`` go into the file's metadata beside the snapshot's own.

    Raises `BrokenRecord` where an image is missing, is there twice, is none of the fold's, or is
    in the gold set.
    """
    found: dict[int, Seen] = {}
    for part in parts:
        own = {snapshot.samples[row].image_id: row for row in part.rows}
        detections = read_detections(part.detections)
        ids = Counter(each.image_id for each in detections)
        wanted = Counter(list(own))
        if ids != wanted:
            wrong = min((ids - wanted) | (wanted - ids))
            raise BrokenRecord(
                f"{part.detections} does not have each validation image of fold {part.fold} once: "
                f"image {wrong[:12]} is missing, double or another fold's.",
                hint="Run the training again.",
            )
        for each in detections:
            row = own[each.image_id]
            if row in found:
                raise BrokenRecord(
                    f"Image {each.image_id[:12]} was held out by folds {found[row].fold} and "
                    f"{part.fold}.",
                    hint="Make the folds anew with `dvc repro -f kfold_data_formatting`.",
                )
            found[row] = _seen(snapshot, row, part.fold, each)
    _check_complete(snapshot, found.keys(), set(expected))
    metadata = {
        "schema": str(SCHEMA_VERSION),
        "snapshot_sha256": snapshot.sha256,
        **digests,
        "classes": json.dumps(list(snapshot.classes), ensure_ascii=False),
        "confidence_floor": str(CONFIDENCE_FLOOR),
    }
    return OutOfFold(snapshot.classes, tuple(found[row] for row in sorted(found)), metadata)


def _check_complete(snapshot: Snapshot, found: Iterable[int], expected: set[int]) -> None:
    rows = set(found)
    gold = [row for row in rows if snapshot.samples[row].gold]
    if gold:
        raise BrokenRecord(
            f"Gold image {snapshot.samples[gold[0]].image_id[:12]} was validated on by a fold.",
            hint="Make the folds anew with `dvc repro -f kfold_data_formatting`.",
        )
    if rows != expected:
        wrong = snapshot.samples[min(rows ^ expected)].image_id
        raise BrokenRecord(
            f"Out-of-fold predictions are there for {len(rows & expected)} of {len(expected)} "
            f"images; image {wrong[:12]} is missing or too many.",
            hint="Make the folds anew with `dvc repro -f kfold_data_formatting`.",
        )


def _seen(snapshot: Snapshot, row: int, fold: int, detected: ImageDetections) -> Seen:
    sample = snapshot.samples[row]
    edges = np.array([box.box.xyxy for box in sample.boxes], np.float32).reshape(-1, 4)
    class_ids = np.array([box.class_id for box in sample.boxes], np.int16)
    return Seen(row, fold, sample.subject, sample.width, sample.height, detected, edges, class_ids)


def _labelled(
    prefix: str, boxes: NDArray[Any], class_ids: NDArray[Any], confidences: NDArray[Any]
) -> tuple[LabelledBox, ...]:
    made = []
    for place, edges in enumerate(boxes.tolist()):
        try:
            box = Box(*edges)
        except InvalidBox:
            continue
        made.append(
            LabelledBox(f"{prefix}{place}", box, int(class_ids[place]), float(confidences[place]))
        )
    return tuple(made)
