"""The first reviewer's answer to a prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from loop.boxes import Box
from loop.errors import InvalidAnswer
from loop.events import canonical_json
from loop.predictions import Detection, Prediction


class Origin(StrEnum):
    """Where a final box comes from, seen from the model's detection."""

    ACCEPTED = "accepted"  # the detection as it was
    MOVED = "moved"  # its class as it was, its edges not
    RELABELLED = "relabelled"  # its class changed, whatever became of its edges
    ADDED = "added"  # no detection behind it
    IMPORTED = "imported"  # from a data set that was brought in


class How(StrEnum):
    """How a second reviewer made a final box of what was there."""

    PICKED = "picked"  # one of its sources, as it was
    MERGED = "merged"  # out of several
    REDRAWN = "redrawn"  # anew, in the place of its sources or where nothing was


@dataclass(frozen=True, slots=True)
class Lineage:
    """``sources`` are ids of the model's, the first and the blind boxes; ``reason`` is a code."""

    sources: tuple[str, ...]
    how: How
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"sources": list(self.sources), "how": self.how.value, "reason": self.reason}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Lineage:
        return cls(tuple(data["sources"]), How(data["how"]), data["reason"])


@dataclass(frozen=True, slots=True)
class Dropped:
    """Boxes that a second reviewer made nothing of; ``reason`` is a code."""

    sources: tuple[str, ...]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"sources": list(self.sources), "reason": self.reason}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Dropped:
        return cls(tuple(data["sources"]), data["reason"])


@dataclass(frozen=True, slots=True)
class FinalBox:
    """A box that a person stands by. ``detection_id`` is the detection it came from, if any;
    a second reviewer's box also says what it was made of."""

    id: str
    box: Box
    class_id: int
    origin: Origin
    detection_id: str | None = None
    lineage: Lineage | None = None

    def __post_init__(self) -> None:
        from_model = self.origin in (Origin.ACCEPTED, Origin.MOVED, Origin.RELABELLED)
        if from_model != (self.detection_id is not None):
            raise InvalidAnswer(
                f"Box {self.id} is {self.origin} but "
                + ("names no detection." if from_model else "names a detection."),
                hint="Accepted, moved and relabelled boxes carry detection_id; added ones do not.",
            )
        if self.class_id < 0:
            raise InvalidAnswer(f"Box {self.id} has a negative class id.")

    def as_dict(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": self.id,
            "box": list(self.box.xyxy),
            "class_id": self.class_id,
            "origin": self.origin.value,
            "detection_id": self.detection_id,
        }
        if self.lineage is not None:  # else left out: digests of boxes without one stay the same
            document["lineage"] = self.lineage.as_dict()
        return document

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FinalBox:
        return cls(
            str(data["id"]),
            Box.of(data["box"]),
            int(data["class_id"]),
            Origin(data["origin"]),
            data["detection_id"],
            Lineage.from_dict(data["lineage"]) if data.get("lineage") else None,
        )

    @classmethod
    def from_detection(cls, id: str, box: Box, class_id: int, detection: Detection) -> FinalBox:
        """The final box that ``detection`` became, its origin read off what changed."""
        if class_id != detection.class_id:
            origin = Origin.RELABELLED
        elif box != detection.box:
            origin = Origin.MOVED
        else:
            origin = Origin.ACCEPTED
        return cls(id, box, class_id, origin, detection.id)


def final_box(
    id: str,
    box: Box,
    class_id: int,
    detection_id: str | None,
    prediction: Prediction,
    lineage: Lineage | None = None,
) -> FinalBox:
    """The final box with the origin that is true. Raises `InvalidAnswer` for a detection that the
    prediction has not."""
    if detection_id is None:
        return FinalBox(id, box, class_id, Origin.ADDED, None, lineage)
    for detection in prediction.detections:
        if detection.id == detection_id:
            made = FinalBox.from_detection(id, box, class_id, detection)
            return replace(made, lineage=lineage)
    raise InvalidAnswer(f"Detection {detection_id} is unknown.")


@dataclass(frozen=True, slots=True)
class Correction:
    """Every final box, every rejected detection, a comment, and the time spent.

    ``no_finding`` says that the image shows nothing: it is an answer of its own, and then there
    are no boxes. ``active_seconds`` is time in which the reviewer did something.
    """

    id: str
    case_id: str
    prediction_id: str
    reviewer: str
    boxes: tuple[FinalBox, ...]
    rejected: tuple[str, ...]
    no_finding: bool
    comment: str
    active_seconds: float
    created_at: str

    def __post_init__(self) -> None:
        if self.no_finding == bool(self.boxes):
            raise InvalidAnswer(
                "An answer has boxes, or it says that there is no finding: one of the two.",
                hint="Set no_finding when the image shows nothing to mark.",
            )
        if len({box.id for box in self.boxes}) != len(self.boxes):
            raise InvalidAnswer("Two boxes of the answer have the same id.")
        if not 0 <= self.active_seconds < float("inf"):
            raise InvalidAnswer(f"Active seconds {self.active_seconds} is not a duration.")

    def check_against(self, prediction: Prediction, width: int, height: int) -> None:
        """Raise `InvalidAnswer` unless this answers ``prediction`` on an image of that size.

        Every detection is accounted for exactly once, as a final box or as rejected; each origin
        is true; each box lies inside the image.
        """
        if prediction.id != self.prediction_id:
            raise InvalidAnswer("The answer is to another prediction.")
        detections = {detection.id for detection in prediction.detections}
        named = [box.detection_id for box in self.boxes if box.detection_id is not None]
        accounted = [*named, *self.rejected]
        if len(set(accounted)) != len(accounted):
            raise InvalidAnswer("A detection is accounted for twice.")
        if set(accounted) != detections:
            open_ids = sorted(detections ^ set(accounted))
            raise InvalidAnswer(
                f"These detections are unanswered or unknown: {', '.join(open_ids)}.",
                hint="Accept, change or reject every detection of the prediction.",
            )
        check_boxes(self.boxes, width, height)
        check_origins(self.boxes, prediction)


def digest_of_boxes(boxes: Iterable[FinalBox]) -> str:
    """SHA-256 of the boxes' canonical JSON, in their order: what an audit event names them by."""
    return hashlib.sha256(canonical_json([box.as_dict() for box in boxes])).hexdigest()


def check_boxes(boxes: Iterable[FinalBox], width: int, height: int) -> None:
    """Raise `InvalidAnswer` if a box reaches out of the image or two share an id."""
    seen: set[str] = set()
    for box in boxes:
        if not box.box.inside(width, height):
            raise InvalidAnswer(
                f"Box {box.id} {box.box.xyxy} reaches out of the {width}x{height} image.",
                hint="Clip boxes to the image.",
            )
        if box.id in seen:
            raise InvalidAnswer(f"Box id {box.id} stands twice.")
        seen.add(box.id)


def check_origins(boxes: Iterable[FinalBox], prediction: Prediction) -> None:
    """Raise `InvalidAnswer` unless each origin is true and no detection became two boxes."""
    detections = {detection.id: detection for detection in prediction.detections}
    for box in boxes:
        if box.detection_id is None:
            true_origin = Origin.ADDED
        elif (detection := detections.pop(box.detection_id, None)) is None:
            raise InvalidAnswer(f"Detection {box.detection_id} is unknown or used twice.")
        else:
            true_origin = FinalBox.from_detection(box.id, box.box, box.class_id, detection).origin
        if true_origin is not box.origin:
            raise InvalidAnswer(f"Box {box.id} says {box.origin}, but it is {true_origin}.")
