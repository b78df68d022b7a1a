"""What one row of a snapshot says: from the domain's nouns into Parquet and back."""

from __future__ import annotations

import hashlib
import marshal
from dataclasses import dataclass
from typing import Any

from loop.boxes import Box
from loop.corrections import FinalBox, Origin
from loop.errors import BrokenRecord, LoopError
from loop.images import Image
from loop.predictions import Prediction

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """One image and the answer to it. ``prediction`` is what the reviewers were shown, if any."""

    image: Image
    annotation_id: str
    version: int
    source: str
    boxes: tuple[FinalBox, ...]
    reviewers: tuple[str, ...]
    prediction: Prediction | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a snapshot with its boxes, in pixels; no boxes means "no finding".

    ``phash`` is its `loop.perceptual_hash`, None in snapshots from before there were any."""

    image_id: str
    width: int
    height: int
    media_type: str
    subject: str
    gold: bool
    boxes: tuple[FinalBox, ...]
    phash: str | None = None


def row_of(entry: SnapshotEntry) -> Row:
    prediction = entry.prediction
    return {
        "image_id": entry.image.id,
        "width": entry.image.width,
        "height": entry.image.height,
        "media_type": entry.image.media_type,
        "subject": entry.image.subject,
        "gold": entry.image.gold,
        "image_source": entry.image.source,
        "annotation_id": entry.annotation_id,
        "version": entry.version,
        "source": entry.source,
        "reviewers": list(entry.reviewers),
        "prediction_id": prediction.id if prediction else None,
        "model": prediction.model.as_dict() if prediction else None,
        "boxes": [_box_row(box, prediction) for box in entry.boxes],
        "phash": entry.image.phash,
    }


def _box_row(final: FinalBox, prediction: Prediction | None) -> Row:
    """A box and, if a detection became it, what the model had said."""
    detections = prediction.detections if prediction else ()
    detected = next((d for d in detections if d.id == final.detection_id), None)
    return {
        "id": final.id,
        **_edges(final.box),
        "class_id": final.class_id,
        "origin": final.origin.value,
        "detection_id": final.detection_id,
        "detected": detected
        and {
            **_edges(detected.box),
            "class_id": detected.class_id,
            "confidence": float(detected.confidence),
        },
    }


def _edges(box: Box) -> dict[str, float]:
    # As they come back out of the shard, where an integer is none any more.
    return {"x1": float(box.x1), "y1": float(box.y1), "x2": float(box.x2), "y2": float(box.y2)}


def digest_of(row: Row) -> bytes:
    """The same for the same row, whether it is to be written or was read: 16 bytes in place of the
    kilobytes that a row takes in memory."""
    # Version 2 of the format says nothing but values; later ones also which objects are the same.
    return hashlib.blake2b(marshal.dumps(row, 2), digest_size=16).digest()


def sample_of(row: Row) -> Sample:
    try:
        boxes = tuple(
            FinalBox(
                box["id"],
                Box(box["x1"], box["y1"], box["x2"], box["y2"]),
                box["class_id"],
                Origin(box["origin"]),
                box["detection_id"],
            )
            for box in row["boxes"]
        )
    except (LoopError, ValueError) as error:
        raise BrokenRecord(
            f"Annotation {row['annotation_id']} in the snapshot is not one: {error}."
        ) from error
    return Sample(
        row["image_id"],
        row["width"],
        row["height"],
        row["media_type"],
        row["subject"],
        row["gold"],
        boxes,
        row.get("phash"),
    )
