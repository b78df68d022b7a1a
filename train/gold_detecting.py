"""Runs models on the gold images, in turns, and times them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.base import Detector, Pixels
from detector.yolo import load_detector
from loop.agreement import LabelledBox
from loop.drift import reference_of
from loop.errors import NotFound
from loop.gold import GoldDetections, GoldSet, detections_path, superseded_path
from loop.predictions import ModelRef
from store.drift_references import keep_reference
from store.image_codec import Limits, decode
from store.image_store import open_image_store
from store.model_registry import ModelRegistry
from store.settings import Settings
from store.tracking import Tracking

# COCO's curve runs down to no confidence at all; what lies below this changes no digit of it.
MIN_CONFIDENCE = 0.001

# On a machine that does nothing else the first round is clear.
_MORE_ROUNDS = 4

Progress = Callable[[int, int], None]
# Milliseconds by model and image.
Times = list[list[float]]
_Boxes = tuple[LabelledBox, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model saw on the gold images, and how long each of them took it, in milliseconds:
    from decoded pixels to boxes, one image at a time."""

    detections: GoldDetections
    milliseconds: tuple[float, ...]


def detect_gold(
    settings: Settings,
    gold: GoldSet,
    models: Sequence[tuple[ModelRef, Detector]],
    progress: Progress | None = None,
    *,
    is_clear: Callable[[Times], bool] | None = None,
) -> list[Seen]:
    """Every model on every gold image: detectors that show what they are unsure of as well, as
    those of `open_weights` do.

    They take turns on each image, first and last by turns too, so that what else the machine does
    slows all of them alike. Where the times are not clear enough all is timed again, a few times
    at most, and the shortest time of each image counts. ``progress`` is called with (images done,
    images in all), each image counted once for each model.
    """
    run = _Run(settings, gold, [detector for _, detector in models])
    boxes, times = run.once(progress)
    for _ in range(_MORE_ROUNDS):
        if is_clear is None or is_clear(times):
            break
        _, again = run.once()
        times = [list(map(min, *pair)) for pair in zip(times, again, strict=True)]
    return [
        Seen(
            GoldDetections(
                model,
                gold.sha256,
                run.detectors[place].classes,
                gold.image_ids,
                gold.truth,
                tuple(boxes[place]),
                gold.groups,
            ),
            tuple(times[place]),
        )
        for place, (model, _) in enumerate(models)
    ]


def open_weights(settings: Settings, weights: Path) -> Detector:
    return load_detector(
        weights,
        config_dir=settings.home / "ultralytics",
        min_confidence=MIN_CONFIDENCE,
        nms_iou=settings.nms_iou,
    )


class _Run:
    def __init__(self, settings: Settings, gold: GoldSet, detectors: list[Detector]) -> None:
        self.detectors = detectors
        self._gold = gold
        self._images = open_image_store(settings)
        self._limits = Limits(settings.max_image_bytes, settings.max_image_pixels)

    def once(self, progress: Progress | None = None) -> tuple[list[list[_Boxes]], Times]:
        """Boxes and milliseconds of each model for each image."""
        boxes: list[list[_Boxes]] = [[] for _ in self.detectors]
        times: Times = [[] for _ in self.detectors]
        count, total = len(self.detectors), len(self._gold.image_ids)
        for number, image_id in enumerate(self._gold.image_ids):
            pixels = decode(self._images.get(image_id), self._limits).pixels
            if number == 0:
                for detector in self.detectors:
                    detector.detect([pixels])  # the first one pays for what is made ready
            order = range(count) if number % 2 == 0 else reversed(range(count))
            for place in order:
                found, seconds = _detect(self.detectors[place], pixels)
                boxes[place].append(found)
                times[place].append(seconds * 1000)
            if progress:
                progress((number + 1) * count, total * count)
        return boxes, times


def keep(tracking: Tracking, registry: ModelRegistry, seen: GoldDetections, at_least: float) -> str:
    """Put what a model saw beside it, into the run that made it; returns the digest of that.

    What it saw from the confidence ``at_least`` is counted as its reference for drift.

    What it saw there before stays, under its digest, if it is something else.
    """
    data = seen.to_json()
    run_id = registry.run_of(seen.model)
    path = detections_path(seen.gold_sha256, seen.model.version)
    try:
        before = tracking.read_text(run_id, path)
    except NotFound:
        before = ""
    if before and before != data.decode():
        digest = hashlib.sha256(before.encode()).hexdigest()
        aside = superseded_path(seen.gold_sha256, seen.model.version, digest)
        tracking.log_text(run_id, before, aside)
    if before != data.decode():
        tracking.log_text(run_id, data.decode(), path)
    keep_reference(tracking, registry, reference_of(seen, at_least))
    return hashlib.sha256(data).hexdigest()


def _detect(detector: Detector, pixels: Pixels) -> tuple[_Boxes, float]:
    started = time.perf_counter()
    (detections,) = detector.detect([pixels])
    seconds = time.perf_counter() - started
    found = tuple(LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in detections)
    return found, seconds
