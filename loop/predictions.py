"""What one model version saw on one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loop.boxes import Box
from loop.errors import InvalidInput
from loop.images import is_sha256

# Upper bounds of the bins in which confidences are counted, part of them as Prometheus has it.
SCORE_BOUNDS = tuple(step / 10 for step in range(1, 11))


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model version, by its registered name, its version there and the SHA-256 of its weights."""

    name: str
    version: str
    digest: str

    def __post_init__(self) -> None:
        if not self.name or not self.version or not is_sha256(self.digest):
            raise InvalidInput(f"Not a model version: {self}.")

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "digest": self.digest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelRef:
        return cls(str(data["name"]), str(data["version"]), str(data["digest"]))


@dataclass(frozen=True, slots=True)
class Detection:
    """One box the model proposes; ``confidence`` is in [0, 1]."""

    id: str
    box: Box
    class_id: int
    confidence: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise InvalidInput(f"Confidence {self.confidence} is not between 0 and 1.")
        if self.class_id < 0:
            raise InvalidInput(f"Class id {self.class_id} is negative.")

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "box": list(self.box.xyxy),
            "class_id": self.class_id,
            "confidence": self.confidence,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Detection:
        return cls(
            str(data["id"]), Box.of(data["box"]), int(data["class_id"]), float(data["confidence"])
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """All detections of one model version on one image; detection ids are unique in it."""

    id: str
    image_id: str
    model: ModelRef
    detections: tuple[Detection, ...]
    created_at: str
    request_id: str = ""

    def __post_init__(self) -> None:
        if len({detection.id for detection in self.detections}) != len(self.detections):
            raise InvalidInput(f"Prediction {self.id} names a detection twice.")

    @property
    def uncertainty(self) -> float:
        """How unsure the model is, in [0, 1]: 1 less the confidence of its least sure detection.

        An image without any detection counts as 0.5: nothing was found, and nothing says how
        nearly.
        """
        if not self.detections:
            return 0.5
        return 1.0 - min(detection.confidence for detection in self.detections)
