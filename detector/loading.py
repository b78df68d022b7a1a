"""Opens a registered model from its files, whichever this machine runs best.

`open_model` is found by its name (``detector.loading:open_model``) where a model is served by
MLflow, since `store` may not import this package.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from detector.base import Detector
from detector.exported import load_exported
from detector.formats import ExportFormat
from detector.yolo import load_detector
from loop.errors import InvalidInput

WEIGHTS = "weights"
# Fastest first, on a CPU: 36, 15 and 11 images a second for YOLO11n at 640 pixels on two cores.
_BACKENDS = (ExportFormat.OPENVINO.value, ExportFormat.ONNX.value, WEIGHTS)


def open_model(
    files: Mapping[str, Path], *, min_confidence: float, nms_iou: float, backend: str = "auto"
) -> Detector:
    """A detector from ``files``: the ``.pt`` file as `WEIGHTS`, folders by `ExportFormat`.

    ``backend`` is one of those names, or ``auto``. Raises `InvalidInput` for one that is not there.
    """
    names = _BACKENDS if backend == "auto" else (backend,)
    chosen = next((name for name in names if name in files), None)
    if chosen is None:
        raise InvalidInput(
            f"The model has no {backend!r} to run on.",
            hint=f"It has {', '.join(files)}.",
        )
    if chosen != WEIGHTS:
        return load_exported(files[chosen], min_confidence=min_confidence, nms_iou=nms_iou)
    return load_detector(
        files[WEIGHTS],
        # Read when Ultralytics is imported; the process that serves has no home of its own.
        config_dir=Path(tempfile.mkdtemp(prefix="second-look-ultralytics-")),
        min_confidence=min_confidence,
        nms_iou=nms_iou,
    )
