"""Ultralytics models on PyTorch, behind `Detector`.

Weights are untrusted: a ``.pt`` file is a pickle, and only known classes are built from it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector.base import Detector, Pixels
from detector.ultralytics_env import prepare
from loop.boxes import Box
from loop.classes import ClassList
from loop.errors import InvalidInput, LoopError, NotFound
from loop.events import new_id
from loop.predictions import Detection

# Above it one image takes gigabytes; a checkpoint that asks for more is broken or hostile.
_LARGEST_IMAGE_SIZE = 4096
_DEFAULT_IMAGE_SIZE = 640
# A crowded smear has more cells than Ultralytics' default of 300.
_MOST_DETECTIONS = 1000


def load_detector(
    weights: Path,
    *,
    config_dir: Path,
    min_confidence: float,
    nms_iou: float,
    device: str = "auto",
    image_size: int | None = None,
) -> Detector:
    """Load an Ultralytics detection checkpoint (``.pt``).

    ``config_dir`` is where Ultralytics keeps its settings; ``device`` is ``auto``, ``cpu`` or a
    CUDA device as torch names it; ``image_size`` (pixels) is the training's unless given. Raises
    `NotFound`, and `InvalidInput` for a file that is not such a checkpoint; no code from it runs.
    """
    model, checkpoint = _read_checkpoint(weights, config_dir)
    size = _image_size(checkpoint) if image_size is None else image_size
    return YoloDetector(
        model,
        classes=_class_list(model),
        image_size=size,
        min_confidence=min_confidence,
        nms_iou=nms_iou,
        device=_device(device),
    )


def load_classes(weights: Path, config_dir: Path) -> ClassList:
    """The classes that a checkpoint knows, in id order. Raises what `load_detector` raises."""
    model, _ = _read_checkpoint(weights, config_dir)
    return _class_list(model)


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
                "max_det": _MOST_DETECTIONS,
                "device": device,
                "rect": True,
                "save": False,
                "verbose": False,
            }
        )
        self._predictor.setup_model(model, verbose=False)

    def detect(self, images: Sequence[Pixels]) -> list[tuple[Detection, ...]]:
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
                    answers[index] = self._to_detections(result, width, height)
        return [answers[index] for index in range(len(images))]

    def _to_detections(self, result: Any, width: int, height: int) -> tuple[Detection, ...]:
        rows = result.boxes.data.cpu().numpy().astype(np.float64)  # x1 y1 x2 y2 confidence class
        found = []
        for x1, y1, x2, y2, confidence, class_id in rows[np.argsort(-rows[:, 4], kind="stable")]:
            if not np.isfinite((x1, y1, x2, y2, confidence)).all() or x2 <= x1 or y2 <= y1:
                continue
            box = Box(float(x1), float(y1), float(x2), float(y2)).clipped(width, height)
            if box is None or confidence < self._min_confidence:
                continue
            found.append(Detection(new_id(), box, int(class_id), min(float(confidence), 1.0)))
        return tuple(found)


def _read_checkpoint(weights: Path, config_dir: Path) -> tuple[Any, Mapping[str, Any]]:
    """The module and the rest of the checkpoint, once it is known to be a detection model."""
    if not weights.is_file():
        raise NotFound(f"There is no file {weights}.", hint="Give the path of a .pt file.")
    if weights.suffix != ".pt":
        raise InvalidInput(f"{weights} is not a .pt file.", hint="Give an Ultralytics checkpoint.")
    prepare(config_dir)
    from ultralytics.nn.tasks import load_checkpoint

    try:
        model, checkpoint = load_checkpoint(str(weights.absolute()))
    except Exception as error:  # the bytes are anyone's, so any exception may come out of them
        raise InvalidInput(
            f"{weights} cannot be loaded as an Ultralytics checkpoint "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}).",
            hint="Use a .pt file that Ultralytics 8.4 or Second Look wrote, and check its digest.",
            code="invalid_weights",
        ) from error
    if getattr(model, "task", None) != "detect":
        raise InvalidInput(
            f"{weights} is a model for {getattr(model, 'task', 'something else')!r}.",
            hint="Second Look serves models for the task 'detect'.",
            code="invalid_weights",
        )
    return model, checkpoint


def _class_list(model: Any) -> ClassList:
    try:
        names = dict(model.names)
        return ClassList(tuple(str(names[index]) for index in range(len(names))))
    except (AttributeError, KeyError, TypeError, ValueError, LoopError) as error:
        raise InvalidInput(
            f"The checkpoint has no usable list of class names: {error}.",
            hint="Class ids must be 0, 1, 2, … with a name each.",
            code="invalid_weights",
        ) from error


def _image_size(checkpoint: Mapping[str, Any]) -> int:
    trained = (checkpoint.get("train_args") or {}).get("imgsz", _DEFAULT_IMAGE_SIZE)
    size = max(trained) if isinstance(trained, list | tuple) and trained else trained
    if not isinstance(size, int) or not 32 <= size <= _LARGEST_IMAGE_SIZE:
        raise InvalidInput(
            f"The checkpoint was trained at an image size of {size!r}.",
            hint=f"Give an image size between 32 and {_LARGEST_IMAGE_SIZE} pixels.",
            code="invalid_weights",
        )
    return size


def _device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"
