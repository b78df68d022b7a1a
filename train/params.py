"""``params.yaml``: what a training run may be told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector.formats import ExportFormat
from loop.errors import Misconfigured
from loop.near_duplicates import DEFAULT_DISTANCE
from train.hyperparameters import check_hyperparameters
from train.paths import PARAMS


class Precision(StrEnum):
    """Of the numbers in a training step. ``auto`` is bf16 where the hardware computes in it."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class FinalModel(StrEnum):
    """What a cross-validation registers: one more training on all folds, or its best fold."""

    REFIT = "refit"
    BEST_FOLD = "best_fold"


class Params(BaseModel):
    """Names in capitals are those of the older system, and what DVC overrides with ``-S``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    K_FOLDS: int = Field(5, ge=2, le=50)
    EPOCHS: int = Field(50, ge=1)
    BATCH_SIZE: int = Field(8, ge=1)
    IMG_SIZE: int = Field(640, ge=32, multiple_of=32)
    PATIENCE: int = Field(20, ge=0)
    SEED: int = Field(0, ge=0)
    # "champion" (its weights; from scratch while there is none), a .pt file, or an architecture
    # .yaml to train from scratch.
    BASE_MODEL: str = "champion"
    # The architecture when there are no weights to start from.
    ARCHITECTURE: str = "yolo11n.yaml"
    VAL_FRACTION: float = Field(0.2, gt=0, lt=1)
    # Images whose 64-bit perceptual hashes differ in at most so many bits stay on one side of a
    # split; -1 does not look for them.
    NEAR_DUPLICATE_DISTANCE: int = Field(DEFAULT_DISTANCE, ge=-1, le=10)
    # A class that only one subject shows can be trained on or validated on, not both.
    ALLOW_RARE_CLASSES: bool = False
    PRECISION: Precision = Precision.AUTO
    # Validate after every so many epochs, and after the last one.
    VAL_PERIOD: int = Field(1, ge=1)
    FINAL_MODEL: FinalModel = FinalModel.REFIT
    # Formats that a registered model is exported to, beside its .pt file.
    EXPORTS: tuple[ExportFormat, ...] = (ExportFormat.ONNX, ExportFormat.OPENVINO)
    CPUS_PER_FOLD: float = Field(1, gt=0)
    GPUS_PER_FOLD: float = Field(0, ge=0)
    # Hyperparameters of Ultralytics, by its names (lr0, mosaic, …).
    train: dict[str, Any] = Field(default_factory=dict)
    # The space of `secondlook train search`: what each of them may be.
    search: dict[str, Any] = Field(default_factory=dict)


def load_params(path: Path = PARAMS, changes: Mapping[str, Any] | None = None) -> Params:
    """Read and check ``params.yaml``, with ``changes``: ``train.lr0`` is lr0 in the section train.

    Raises `Misconfigured` and names the parameter.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise Misconfigured(
            f"There is no {path} in {Path.cwd()}.",
            hint="Run this in a workspace; `secondlook init DIR` makes one.",
        ) from None
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path} is not YAML: {error}.") from error
    if not isinstance(raw, dict):
        raise Misconfigured(f"{path} must hold names and values.")
    for name, value in (changes or {}).items():
        section, _, key = name.rpartition(".")
        if section:
            raw[section] = {**(raw.get(section) or {}), key: value}
        else:
            raw[key] = value
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise Misconfigured(
            f"{path}: {name} = {first.get('input')!r}: {first['msg']}.",
            hint=f"Known parameters: {', '.join(Params.model_fields)}.",
        ) from error
    check_hyperparameters(params.train)
    return params
