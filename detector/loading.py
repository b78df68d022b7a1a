"""Opens a registered model from its files, whichever this machine runs best.

`open_model` is found by its name (``detector.loading:open_model``) where a model is served by
MLflow, since `store` may not import this package.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from detector.base import Detector
from detector.exported import load_exported
from detector.formats import INT8, ExportFormat
from detector.yolo import YoloDetector, load_detector
from loop.errors import InvalidInput
from store.model_folder import WEIGHTS_NAME

WEIGHTS = WEIGHTS_NAME
# Fastest first, on a CPU: 36, 15 and 11 images a second for YOLO11n at 640 pixels on two cores.
ON_CPU = (ExportFormat.OPENVINO.value, ExportFormat.ONNX.value, WEIGHTS)
# All that a version may have to run on.
FILES = (*(each.value for each in ExportFormat), INT8, WEIGHTS)


def open_model(
    files: Mapping[str, Path], *, min_confidence: float, nms_iou: float, backend: str = "auto"
) -> Detector:
    """A detector from ``files``: the ``.pt`` file as `WEIGHTS`, folders by `ExportFormat`.

    ``backend`` is one of those names, or ``auto``. Raises `InvalidInput` for one that is not there.
    """
    chosen = choose(files, backend, ON_CPU)
    if chosen != WEIGHTS:
        return load_exported(files[chosen], min_confidence=min_confidence, nms_iou=nms_iou)
    return load_weights(files[WEIGHTS], min_confidence=min_confidence, nms_iou=nms_iou)


def served_backend(files: Mapping[str, object]) -> str:
    """What a version with these files is served on, and so what the gate measures: its INT8 model
    if it has one, since that is what makes it a version of its own; else ``auto``."""
    return INT8 if INT8 in files else "auto"


def choose(files: Mapping[str, object], backend: str, fastest_first: Sequence[str]) -> str:
    """``backend``, or for ``auto`` the first of ``fastest_first``, that is among ``files``.

    Raises `InvalidInput` if there is none.
    """
    names = fastest_first if backend == "auto" else (backend,)
    chosen = next((name for name in names if name in files), None)
    if chosen is None:
        raise InvalidInput(
            f"The model has no {backend!r} to run on.",
            hint=f"It has {', '.join(files)}.",
        )
    return chosen


def load_weights(weights: Path, *, min_confidence: float, nms_iou: float) -> YoloDetector:
    """A ``.pt`` file, in a process without a home of its own. Raises what `load_detector` does."""
    return load_detector(
        weights,
        # Read when Ultralytics is imported, which may be later.
        config_dir=Path(tempfile.mkdtemp(prefix="second-look-ultralytics-")),
        min_confidence=min_confidence,
        nms_iou=nms_iou,
    )
