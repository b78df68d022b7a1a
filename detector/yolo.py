"""Ultralytics models on PyTorch, behind `Detector`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector.base import Pixels
from detector.checkpoint import read_checkpoint
from detector.jobs import OnStage, Stage, check_image, ignore_stage
from detector.letterbox import MOST_DETECTIONS, to_detections
from loop.classes import ClassList
from loop.predictions import Detection


def load_detector(
    weights: Path,
    *,
    config_dir: Path,
    min_confidence: float,
    nms_iou: float,
    device: str = "auto",
    image_size: int | None = None,
) -> YoloDetector:
    """Load an Ultralytics detection checkpoint (``.pt``).

    ``config_dir`` is where Ultralytics keeps its settings; ``device`` is ``auto``, ``cpu`` or a
    CUDA device as torch names it; ``image_size`` (pixels) is the training's unless given. Raises
    `NotFound`, and `InvalidInput` for a file that is not such a checkpoint; no code from it runs.
    """
    checkpoint = read_checkpoint(weights, config_dir)
    size = checkpoint.image_size if image_size is None else image_size
    return YoloDetector(
        checkpoint.model,
        classes=checkpoint.classes,
        image_size=size,
        min_confidence=min_confidence,
        nms_iou=nms_iou,
        device=_device(device),
    )


def load_classes(weights: Path, config_dir: Path) -> ClassList:
    """The classes that a checkpoint knows, in id order. Raises what `load_detector` raises."""
    return read_checkpoint(weights, config_dir).classes


class YoloDetector:
    """A loaded model. Calls from several threads wait for one another."""

    def __init__(
        self,
        model: Any,
        *,
        classes: ClassList,
        image_size: int,
        min_confidence: float,
        nms_iou: float,
        device: str,
    ) -> None:
        from detector.predictor import PatientPredictor

        self.classes = classes
        self.image_size = image_size
        self._lock = threading.Lock()
        self._min_confidence = min_confidence
        self._predictor: Any = PatientPredictor(
            overrides={
                "task": "detect",
                "mode": "predict",
                "imgsz": image_size,
                "conf": min_confidence,
                "iou": nms_iou,
                "max_det": MOST_DETECTIONS,
                "device": device,
                "rect": True,
                "save": False,
                "verbose": False,
            }
        )
        self._predictor.setup_model(model, verbose=False)

    def detect(
        self, images: Sequence[Pixels], on_stage: OnStage = ignore_stage
    ) -> list[tuple[Detection, ...]]:
        for image in images:
            check_image(image)
        # A list of mixed shapes would be letterboxed to a square, one of equal shapes to the
        # tightest rectangle: other boxes for the same image. So each shape is a batch of its own.
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            groups.setdefault(image.shape, []).append(index)
        answers: dict[int, tuple[Detection, ...]] = {}
        with self._lock:
            for indices in groups.values():
                bgr = [np.ascontiguousarray(images[index][:, :, ::-1]) for index in indices]
                for index, result in zip(indices, self._predictor(bgr), strict=True):
                    height, width = images[index].shape[:2]
                    # x1 y1 x2 y2 confidence class
                    rows = result.boxes.data.cpu().numpy().astype(np.float64)
                    answers[index] = to_detections(rows, width, height, self._min_confidence)
                    for stage in (Stage.PREPROCESS, Stage.INFERENCE, Stage.POSTPROCESS):
                        on_stage(stage, (result.speed[stage] or 0.0) / 1000)  # in milliseconds
        return [answers[index] for index in range(len(images))]


def _device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
