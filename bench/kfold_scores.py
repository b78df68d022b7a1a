"""How good the folds' models are, measured in the same way for whoever trained them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.kfold_settings import Settings


def scores(
    weights: Sequence[Path], files: Sequence[Path], folder: Path, settings: Settings
) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the folds of mAP50 and mAP50-95 in [0, 1].

    ``weights[i]`` is measured on the validation images that ``files[i]``, a data.yaml, names. Call
    `detector.ultralytics_env.prepare` before.
    """
    rows = [_score(*fold, folder, settings) for fold in zip(weights, files, strict=True)]
    return {name: _spread([row[name] for row in rows]) for name in ("map50", "map50_95")}


def _score(weights: Path, file: Path, folder: Path, settings: Settings) -> Mapping[str, float]:
    from ultralytics import YOLO

    metrics = YOLO(weights).val(
        data=str(file),
        imgsz=settings.image_size,
        batch=settings.batch_size,
        device=settings.device,
        workers=0,
        plots=False,
        verbose=False,
        project=str(folder),
        name="val",
        exist_ok=True,
    )
    return {"map50": float(metrics.box.map50), "map50_95": float(metrics.box.map)}


def _spread(values: Sequence[float]) -> dict[str, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": deviation}
