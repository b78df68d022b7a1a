"""The JSON of the HTTP API, as OpenAPI shows it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from loop.trials import TrialKind
from serve.service import Detected


class Model(BaseModel):
    """A registered model version; ``digest`` is the SHA-256 of its weights."""

    name: str
    version: str
    digest: str


class DetectionOut(BaseModel):
    id: str
    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the image, origin at the top left"
    )
    class_id: int
    class_name: str
    confidence: float = Field(ge=0, le=1)


class Detections(BaseModel):
    """``width`` and ``height`` are pixels after the EXIF orientation was applied."""

    model: Model
    width: int
    height: int
    detections: list[DetectionOut]


class QueuedImage(Detections):
    image_id: str = Field(description="SHA-256 of the stored, sanitised image")
    prediction_id: str
    review_id: str


class TrialState(BaseModel):
    """A candidate that is tried beside the model in service."""

    id: str
    kind: TrialKind = Field(
        description="canary: it answers a share of the images; shadow: it is shown them too"
    )
    share: float = Field(gt=0, le=1, description="of the images")
    model: Model
    loading: bool
    error: str | None = Field(description="why it is not tried")


class TrialCounts(BaseModel):
    trials: dict[str, dict[str, dict[str, Any]]] = Field(
        description="sums, by the trial's id and the replica's name; what they come to is shown by "
        "`secondlook models trial`"
    )


class StopState(BaseModel):
    """The stop switch is on."""

    by: str = Field(description="who took the model out of service, by pseudonym")
    at: str = Field(description="since when, RFC 3339 in UTC")
    reason: str


class ModelState(BaseModel):
    """Which model serves, and what became of the last swap."""

    model: Model | None
    classes: list[str]
    image_size: int | None = Field(description="length in pixels of the side the model sees")
    wanted: Model | None = Field(description="the version that was last asked for")
    loading: bool
    error: str | None = Field(description="why the wanted version is not in service")
    trial: TrialState | None = None
    order: str = Field(description="id of the order that all replicas follow; empty in between")
    stopped: StopState | None = Field(
        None, description="set while nothing is detected because a person took the model out"
    )


class Health(BaseModel):
    status: str


class ErrorDetail(BaseModel):
    """``code`` is stable; ``message`` says what is wrong and ``hint`` what to do."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    hint: str


class ErrorBody(BaseModel):
    error: ErrorDetail


def error_body(code: str, message: str, hint: str, **more: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint, **more}}


def detections_out(detected: Detected) -> list[DetectionOut]:
    return [
        DetectionOut(
            id=detection.id,
            box=detection.box.xyxy,
            class_id=detection.class_id,
            class_name=detected.classes.name_of(detection.class_id),
            confidence=detection.confidence,
        )
        for detection in detected.detections
    ]
