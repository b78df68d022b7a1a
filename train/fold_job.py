"""What a fold's worker does, told and observed without Ray.

A worker may die at any point and be started again from its last checkpoint: everything here is
safe to do twice. A checkpoint is a folder with ``last.pt``, ``best.pt``, ``results.csv`` and
``state.json``; the last one of a fold has only ``best.pt``, ``results.csv`` and ``state.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from detector.ultralytics_env import prepare
from loop.classes import ClassList
from loop.errors import LoopError
from loop.impact import class_metrics
from store.snapshot_files import open_snapshot, read_manifest
from store.tracking import Tracking
from train.training import ClassScores, EpochReport, TrainSpec

_STATE = "state.json"
# Names of the process group of distributed training. Ultralytics takes them, at import, for its
# own: with a rank but no world of its own it multiplies the loss by zero.
_PROCESS_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK")

# Keeps a checkpoint folder and the metrics that go with it; returns when they are safe.
Keep = Callable[[Path, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class FoldTask:
    """One fold to train. Rows are places in the snapshot's samples; ``run_id`` is its MLflow run.

    The folder in ``spec`` stands for whichever one the worker gets.
    """

    fold: int
    run_id: str
    snapshot: Path
    train_rows: tuple[int, ...]
    val_rows: tuple[int, ...]
    spec: TrainSpec
    tracking_uri: str
    artifacts: Path
    config_dir: Path


@dataclass(frozen=True, slots=True)
class FoldResult:
    """``metrics`` are those of the best model; ``history`` has an entry an epoch, with its number.

    ``seconds`` is the time its workers spent, lost epochs included as far as they were kept.
    ``per_class`` is as in `TrainResult`.
    """

    metrics: Mapping[str, float]
    epochs: int
    best_epoch: int
    seconds: float
    history: tuple[Mapping[str, float], ...]
    per_class: ClassScores = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoldFailure:
    """The fold cannot be trained, and trying again would not change that."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class FoldOutcome:
    """``result`` and the folder with ``best.pt`` and ``results.csv``, or why there is none."""

    task: FoldTask
    result: FoldResult | None
    folder: Path
    reason: str = ""
    hint: str = ""


@dataclass(slots=True)
class _State:
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    result: dict[str, Any] | None = None


def run_fold(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    """Train a fold in ``folder``, from ``checkpoint`` on if there is one.

    Each epoch is first kept, then logged: what a checkpoint says is logged by whoever takes over.
    """
    try:
        return _Fold(task, folder, keep).run(checkpoint)
    except LoopError as error:
        return FoldFailure(error.message, error.hint)


class _Fold:
    def __init__(self, task: FoldTask, folder: Path, keep: Keep) -> None:
        self._task = task
        self._folder = folder
        self._keep = keep
        self._log = _MetricLog(Tracking(task.tracking_uri, task.artifacts), task.run_id)
        self._state = _State()
        self._started = time.monotonic()
        self._seconds_before = 0.0

    def run(self, checkpoint: Path | None) -> FoldResult:
        if checkpoint is not None:
            self._take_over(checkpoint)
        if self._state.result is None:
            self._train(checkpoint)
        result = self._result()
        classes = ClassList(read_manifest(self._task.snapshot).classes)
        self._log.log_best(result, class_metrics(result.per_class, classes))
        return result

    def _take_over(self, checkpoint: Path) -> None:
        self._state = _State(**json.loads((checkpoint / _STATE).read_text(encoding="utf-8")))
        self._seconds_before = self._state.seconds
        for metrics in self._state.history:
            self._log.log_epoch(metrics)
        self._log.note_resumed(len(self._state.history))

    def _train(self, checkpoint: Path | None) -> None:
        for name in _PROCESS_GROUP:
            os.environ.pop(name, None)
        prepare(self._task.config_dir)
        from train.trainer import train_detector  # imports Ultralytics, prepared just now

        trained = train_detector(
            open_snapshot(self._task.snapshot, verify=False),  # the driver verified it
            self._task.train_rows,
            self._task.val_rows,
            replace(self._task.spec, folder=self._folder),
            self._on_epoch,
            checkpoint / "last.pt" if checkpoint is not None else None,
        )
        self._state.seconds = self._elapsed()
        self._state.result = {
            "metrics": dict(trained.metrics),
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "per_class": {name: dict(scores) for name, scores in trained.per_class.items()},
        }
        self._keep_files((trained.best, self._folder / "results.csv"), trained.metrics)

    def _on_epoch(self, report: EpochReport) -> None:
        metrics = {"epoch": float(report.epoch), **report.metrics}
        self._state.history.append(metrics)
        self._state.seconds = self._elapsed()
        self._keep_files((report.last, report.best, report.results), metrics)
        self._log.log_epoch(metrics)

    def _keep_files(self, files: tuple[Path, ...], metrics: Mapping[str, float]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file in files:
                shutil.copyfile(file, folder / file.name)
            (folder / _STATE).write_text(json.dumps(asdict(self._state)), encoding="utf-8")
            self._keep(folder, metrics)

    def _elapsed(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _result(self) -> FoldResult:
        found = self._state.result or {}
        return FoldResult(
            metrics=found["metrics"],
            epochs=found["epochs"],
            best_epoch=found["best_epoch"],
            seconds=round(self._state.seconds, 2),
            history=tuple(self._state.history),
            per_class=found["per_class"],
        )


class _MetricLog:
    """Logs each epoch of a run once, whoever trains it.

    MLflow cannot take a metric back: an epoch that was logged, lost with its worker and trained
    again keeps its first values there. ``results.csv`` and the checkpoints have the second ones.
    """

    def __init__(self, tracking: Tracking, run_id: str) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._logged: set[int] | None = None

    def log_epoch(self, metrics: Mapping[str, float]) -> None:
        step = int(metrics["epoch"])
        if self._logged is None:
            self._logged = set(self._tracking.metric_steps(self._run_id, "epoch"))
        if step not in self._logged:
            self._tracking.log_metrics(self._run_id, metrics, step)
            self._logged.add(step)

    def log_best(self, result: FoldResult, per_class: Mapping[str, float]) -> None:
        if self._tracking.metric_steps(self._run_id, "best_epoch"):
            return
        best = {f"best_{name}": value for name, value in result.metrics.items()}
        best |= {"best_epoch": float(result.best_epoch), "fold_seconds": result.seconds}
        self._tracking.log_metrics(self._run_id, best | dict(per_class), result.epochs)

    def note_resumed(self, epoch: int) -> None:
        self._tracking.set_tags(self._run_id, {"loop.resumed_after_epoch": str(epoch)})
