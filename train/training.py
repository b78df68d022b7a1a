"""What a training run is told and what it tells, without any library behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train.hyperparameters import check_hyperparameters
from train.params import Precision

# By class name, then by the name of the score: AP50 and AP50-95, in [0, 1].
ClassScores = Mapping[str, Mapping[str, float]]
CLASS_SCORES = ("map50", "map50_95")


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """One training run. Raises `Misconfigured` as `check_hyperparameters` does.

    ``base`` is a ``.pt`` to start from or an architecture ``.yaml`` to train from scratch.
    ``image_size`` is the longer side in pixels; ``patience`` is how many epochs without a better
    model end the run (0: none do). ``device`` is ``cpu`` or one CUDA index. Everything is written
    below ``folder``, which must be this run's own. ``hyperparameters`` go by Ultralytics' names.

    The model is validated after every ``val_period``-th epoch and after the last one. 0 is for a
    training that has no validation images: it runs for exactly ``epochs``, and its model is the
    last one.
    """

    base: Path
    folder: Path
    epochs: int
    batch_size: int
    image_size: int
    patience: int
    seed: int
    device: str = "cpu"
    threads: int = 1
    precision: Precision = Precision.AUTO
    val_period: int = 1
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_hyperparameters(self.hyperparameters)


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The state after ``epoch`` (from 1) of at most ``epochs``; ``finished`` if it was the last.

    ``metrics``: ``map50``, ``map50_95``, ``precision``, ``recall`` and ``fitness`` on the
    validation images, all in [0, 1], losses as ``train_…`` and ``val_…``, ``lr``, and ``seconds``
    that the epoch took. After an epoch that was not validated the scores and the ``val_…`` losses
    are absent. ``last``, ``best`` and ``results`` are files of this state; they change with the
    next epoch, and ``best`` is there once an epoch was validated.
    """

    epoch: int
    epochs: int
    metrics: Mapping[str, float]
    last: Path
    best: Path
    results: Path
    finished: bool


@dataclass(frozen=True, slots=True)
class TrainResult:
    """``metrics`` are those of the file ``best``, measured again after training ended.

    ``epochs`` were trained; the best model is from ``best_epoch`` (from 1). ``per_class`` has the
    `CLASS_SCORES` of each class that the validation images show, by its name. ``detections`` is
    what ``best`` saw on them (`train.detections_file`). ``precision`` is ``fp32`` or ``bf16``: what
    ``auto`` came to on this hardware. Without validation images ``metrics`` and ``per_class`` are
    empty and there are no ``detections``.
    """

    best: Path
    last: Path
    metrics: Mapping[str, float]
    epochs: int
    best_epoch: int
    precision: Precision
    per_class: ClassScores = field(default_factory=dict)
    detections: Path | None = None
