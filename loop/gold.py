"""The frozen gold set, what a model saw on it, and where two models saw different things."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loop.agreement import LabelledBox
from loop.boxes import Box, as_array, iou_matrix
from loop.classes import ClassList
from loop.errors import BrokenRecord, InvalidInput, NotEnoughData
from loop.events import canonical_json
from loop.ports import UnitOfWork
from loop.predictions import ModelRef

SCHEMA_VERSION = 2
# The first one had no groups.
_READABLE = (1, SCHEMA_VERSION)
_IOU = 0.5


@dataclass(frozen=True, slots=True)
class GoldSet:
    """Gold images and their true boxes, by image id; ``sha256`` names images and boxes.

    ``groups`` has a number for each image, the same for images of one subject.
    """

    image_ids: tuple[str, ...]
    truth: tuple[tuple[LabelledBox, ...], ...]
    sha256: str
    groups: tuple[int, ...] = ()


def read_gold(uow: UnitOfWork) -> GoldSet:
    """The gold set as it is annotated now; empty if no image was marked as gold."""
    image_ids: list[str] = []
    truth: list[tuple[LabelledBox, ...]] = []
    names: list[list[str]] = []
    subjects: dict[str, int] = {}
    groups: list[int] = []
    for image in uow.images.gold():
        annotation = uow.annotations.latest_of(image.id)
        if annotation is None:
            raise NotEnoughData(f"Gold image {image.id[:12]} has no annotation.")
        image_ids.append(image.id)
        groups.append(subjects.setdefault(image.subject, len(subjects)))
        truth.append(tuple(LabelledBox(b.id, b.box, b.class_id) for b in annotation.boxes))
        names.append([image.id, *(box.id for box in annotation.boxes)])
    digest = hashlib.sha256(canonical_json(names)).hexdigest()
    return GoldSet(tuple(image_ids), tuple(truth), digest, tuple(groups))


@dataclass(frozen=True, slots=True)
class GoldDetections:
    """Everything that a model saw on the gold set, beside the truth as it was then.

    ``truth`` and ``detected`` have an entry for each of ``image_ids``, in that order; so has
    ``groups``, as in `GoldSet`, where subjects are known. Numbers, since who they are is of no
    use beside the model.
    """

    model: ModelRef
    gold_sha256: str
    classes: ClassList
    image_ids: tuple[str, ...]
    truth: tuple[tuple[LabelledBox, ...], ...]
    detected: tuple[tuple[LabelledBox, ...], ...]
    groups: tuple[int, ...] = ()

    @property
    def grouping(self) -> tuple[int, ...]:
        """``groups``, or each image by itself."""
        return self.groups or tuple(range(len(self.image_ids)))

    @property
    def sha256(self) -> str:
        """The digest of its record."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_json(self) -> bytes:
        """Canonical JSON: the same detections give the same bytes. Ids of boxes are not in it."""
        return canonical_json(
            {
                "schema": SCHEMA_VERSION,
                "model": self.model.as_dict(),
                "gold_sha256": self.gold_sha256,
                "classes": list(self.classes),
                "groups": list(self.groups),
                "images": [
                    {
                        "id": image_id,
                        "truth": [_box(each) for each in truth],
                        "detections": [
                            _box(each) | {"confidence": each.confidence} for each in detected
                        ],
                    }
                    for image_id, truth, detected in zip(
                        self.image_ids, self.truth, self.detected, strict=True
                    )
                ],
            }
        )

    @classmethod
    def from_json(cls, data: bytes | str) -> GoldDetections:
        """Raises `BrokenRecord`. Boxes get their places in the file as ids: ``t0``, ``d3``."""
        try:
            raw = json.loads(data)
            if raw["schema"] not in _READABLE:
                raise BrokenRecord(
                    f"Detections on the gold set have the schema {raw['schema']!r}, which is not "
                    f"known here.",
                    hint="Measure the model again.",
                )
            images = raw["images"]
            return cls(
                ModelRef.from_dict(raw["model"]),
                raw["gold_sha256"],
                ClassList(tuple(raw["classes"])),
                tuple(str(image["id"]) for image in images),
                tuple(_boxes("t", image["truth"]) for image in images),
                tuple(_boxes("d", image["detections"]) for image in images),
                tuple(int(group) for group in raw.get("groups", ())),
            )
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise BrokenRecord(
                f"Not a record of detections on the gold set: {error}.",
                hint="Measure the model again.",
            ) from error


def detections_path(gold_sha256: str, version: str) -> str:
    """Where they are kept, among the artifacts of the run that made the model version."""
    return f"gold/{gold_sha256[:12]}/detections-{version}.json"


def superseded_path(gold_sha256: str, version: str, sha256: str) -> str:
    """Where those with that digest are moved when the model is measured again and sees something
    else, so that a verdict can still be computed from what it rests on."""
    return f"gold/{gold_sha256[:12]}/detections-{version}-{sha256[:12]}.json"


@dataclass(frozen=True, slots=True)
class Difference:
    """A gold image on which two models differ, ``place`` of them in both `GoldDetections`.

    ``lost`` are true boxes that only the first one finds, ``gained`` those that only the second
    one does, both places in the truth; ``false_before`` and ``false_after`` count their false
    detections.
    """

    place: int
    lost: tuple[int, ...]
    gained: tuple[int, ...]
    false_before: int
    false_after: int


def differences(
    before: GoldDetections, after: GoldDetections, confidence: float
) -> list[Difference]:
    """Where they find different true boxes, or not as many false ones, worst for ``after`` first.

    A true box is found by a detection of its class and at least ``confidence`` that overlaps it
    with an IoU of 0.5. Both must be of one gold set: raises ValueError.
    """
    if before.gold_sha256 != after.gold_sha256 or before.image_ids != after.image_ids:
        raise ValueError("These detections are on two different gold sets.")
    found: list[Difference] = []
    for place, truth in enumerate(after.truth):
        hits_before = found_boxes(truth, before.detected[place], confidence)
        hits_after = found_boxes(truth, after.detected[place], confidence)
        difference = Difference(
            place,
            lost=tuple(sorted(hits_before.keys() - hits_after.keys())),
            gained=tuple(sorted(hits_after.keys() - hits_before.keys())),
            false_before=_sure(before.detected[place], confidence) - len(hits_before),
            false_after=_sure(after.detected[place], confidence) - len(hits_after),
        )
        if (
            difference.lost
            or difference.gained
            or difference.false_before != difference.false_after
        ):
            found.append(difference)
    return sorted(found, key=_worst_first)


def found_boxes(
    truth: Sequence[LabelledBox], detected: Sequence[LabelledBox], confidence: float
) -> dict[int, int]:
    """Places of the true boxes that are found, with the places of what finds them.

    As `loop.metrics` does it: the surest detection first takes the free box that it overlaps most.
    """
    hits: dict[int, int] = {}
    sure = [place for place, box in enumerate(detected) if box.confidence >= confidence]
    if not truth or not sure:
        return hits
    iou = iou_matrix(as_array([detected[n].box for n in sure]), as_array([b.box for b in truth]))
    classes = np.array([box.class_id for box in truth])
    free = np.ones(len(truth), dtype=bool)
    for row in sorted(range(len(sure)), key=lambda each: -detected[sure[each]].confidence):
        box = detected[sure[row]]
        overlaps = np.where(free & (classes == box.class_id), iou[row], -1.0)
        best = int(overlaps.argmax())
        if overlaps[best] >= _IOU:
            free[best] = False
            hits[best] = sure[row]
    return hits


def _sure(detected: Sequence[LabelledBox], confidence: float) -> int:
    return sum(box.confidence >= confidence for box in detected)


def _worst_first(difference: Difference) -> tuple[int, int, int, int]:
    """A box that is no longer found weighs more than a new false one."""
    more_false = difference.false_after - difference.false_before
    return (-len(difference.lost), -more_false, len(difference.gained), difference.place)


def _box(box: LabelledBox) -> dict[str, Any]:
    return {"box": list(box.box.xyxy), "class_id": box.class_id}


def _boxes(prefix: str, raw: Sequence[Mapping[str, Any]]) -> tuple[LabelledBox, ...]:
    return tuple(
        LabelledBox(
            f"{prefix}{place}",
            Box.of(each["box"]),
            int(each["class_id"]),
            float(each.get("confidence", 1.0)),
        )
        for place, each in enumerate(raw)
    )
