"""What a fold's worker does, told and observed without Ray and without MLflow.

A worker may die at any point and be started again from its last checkpoint: everything here is
safe to do twice. A checkpoint is a folder with ``last.pt``, ``best.pt`` (once an epoch was
validated), ``results.csv`` and ``state.json``; the last one of a fold has only ``best.pt``,
``results.csv``, ``state.json`` and what the best model saw, if the fold validates.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.ultralytics_env import prepare
from loop.errors import LoopError, TrainingFailed
from store.snapshot_files import Snapshot, open_snapshot
from store.snapshot_objects import fetch_snapshot
from train.params import Precision
from train.training import ClassScores, EpochReport, TrainResult, TrainSpec

if TYPE_CHECKING:
    from train.decoded import ImageSource
    from train.far_training import FarTraining

_STATE = "state.json"
# Names of the process group of distributed training. Ultralytics takes them, at import, for its
# own: with a rank but no world of its own it multiplies the loss by zero.
_PROCESS_GROUP = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK")

# Takes the files of a folder as a checkpoint, with the metrics that go with it; returns when they
# are safe. Raises `OSError`.
Keep = Callable[[Path, Mapping[str, float]], None]
# Trains in the folder of the task's spec, from a ``last.pt`` on if there is one.
TrainFold = Callable[["FoldTask", Callable[[EpochReport], None], Path | None], TrainResult]


@dataclass(frozen=True, slots=True)
class FoldTask:
    """One fold to train. Rows are places in the snapshot's samples; ``run_id`` is its MLflow run.

    The folder in ``spec`` stands for whichever one the worker gets. ``images`` has the snapshot's
    images decoded; without it, each is decoded whenever it is needed. With ``far`` the paths are
    those of the driver's machine, and a worker finds there what they stand for; ``base_key`` is
    that of the weights, empty if every machine has them.
    """

    fold: int
    run_id: str
    snapshot: Path
    train_rows: tuple[int, ...]
    val_rows: tuple[int, ...]
    spec: TrainSpec
    config_dir: Path
    images: ImageSource | None = None
    far: FarTraining | None = None
    base_key: str = ""

    def open_snapshot(self, *, images: bool) -> Snapshot:
        """The driver verified it. Without ``images``, their bytes are not asked for."""
        if self.far is None:
            return open_snapshot(self.snapshot, verify=False, images=images)
        from train.far_training import node_cache, patiently

        far, cache = self.far, node_cache() / "snapshots"
        return patiently(
            lambda: fetch_snapshot(far.objects, far.snapshot_sha256, cache, images=images)
        )


@dataclass(frozen=True, slots=True)
class FoldResult:
    """``metrics`` are those of the best model; ``history`` has an entry an epoch, with its number.

    ``seconds`` is the time its workers spent, lost epochs included as far as they were kept.
    ``precision`` and ``per_class`` are as in `TrainResult`.
    """

    metrics: Mapping[str, float]
    epochs: int
    best_epoch: int
    seconds: float
    history: tuple[Mapping[str, float], ...]
    per_class: ClassScores = field(default_factory=dict)
    precision: str = Precision.FP32


@dataclass(frozen=True, slots=True)
class FoldFailure:
    """The fold cannot be trained, and trying again would not change that."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class FoldOutcome:
    """``result`` and the folder with the files of its last checkpoint, or why there is none."""

    task: FoldTask
    result: FoldResult | None
    folder: Path
    reason: str = ""
    hint: str = ""


@dataclass(slots=True)
class FoldState:
    """How far a fold is: what a checkpoint says beside its weights.

    ``history`` has an entry an epoch, ``ended_ms`` when each ended (milliseconds since 1970),
    ``resumed_after`` the epochs after which a worker took over, ``result`` is there at the end.
    """

    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    ended_ms: list[int] = field(default_factory=list)
    resumed_after: list[int] = field(default_factory=list)
    result: dict[str, Any] | None = None

    def fold_result(self) -> FoldResult | None:
        if self.result is None:
            return None
        return FoldResult(
            metrics=self.result["metrics"],
            epochs=self.result["epochs"],
            best_epoch=self.result["best_epoch"],
            seconds=round(self.seconds, 2),
            history=tuple(self.history),
            per_class=self.result["per_class"],
            precision=self.result["precision"],
        )


def read_state(checkpoint: Path) -> FoldState:
    """Raises `OSError` where the checkpoint was removed in the meantime."""
    return FoldState(**json.loads((checkpoint / _STATE).read_text(encoding="utf-8")))


def train_with_ultralytics(
    task: FoldTask, on_epoch: Callable[[EpochReport], None], last: Path | None
) -> TrainResult:
    """Train in the folder of ``task.spec``, from the checkpoint ``last`` on if there is one."""
    for name in _PROCESS_GROUP:
        os.environ.pop(name, None)
    prepare(task.config_dir)
    from train.trainer import train_detector  # imports Ultralytics, prepared just now

    images = task.images.open() if task.images else None
    return train_detector(
        task.open_snapshot(images=images is None),
        task.train_rows,
        task.val_rows,
        task.spec,
        on_epoch,
        last,
        images=images,
    )


def run_fold(
    task: FoldTask,
    folder: Path,
    checkpoint: Path | None,
    keep: Keep,
    *,
    train: TrainFold = train_with_ultralytics,
) -> FoldResult | FoldFailure:
    """Train a fold in ``folder``, from ``checkpoint`` on if there is one.

    ``keep`` gets each epoch: the driver logs what was kept.
    """
    try:
        return _Fold(task, folder, keep, train).run(checkpoint)
    except LoopError as error:
        return FoldFailure(error.message, error.hint)


class _Fold:
    def __init__(self, task: FoldTask, folder: Path, keep: Keep, train: TrainFold) -> None:
        self._task = task
        self._folder = folder
        self._keep = keep
        self._train_fold = train
        self._state = FoldState()
        self._started = time.monotonic()
        self._seconds_before = 0.0

    def run(self, checkpoint: Path | None) -> FoldResult:
        if checkpoint is not None:
            self._state = read_state(checkpoint)
            self._seconds_before = self._state.seconds
        result = self._state.fold_result()
        if result is None:
            if checkpoint is not None:
                self._state.resumed_after.append(len(self._state.history))
            self._train(checkpoint)
            result = self._state.fold_result()
        if result is None:
            raise TrainingFailed(f"Fold {self._task.fold} ended without a result.")
        return result

    def _train(self, checkpoint: Path | None) -> None:
        trained = self._train_fold(
            replace(self._task, spec=replace(self._task.spec, folder=self._folder)),
            self._on_epoch,
            checkpoint / "last.pt" if checkpoint is not None else None,
        )
        self._state.seconds = self._elapsed()
        self._state.result = {
            "metrics": dict(trained.metrics),
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "precision": trained.precision.value,
            "per_class": {name: dict(scores) for name, scores in trained.per_class.items()},
        }
        files = [trained.best, self._folder / "results.csv"]
        if trained.detections is not None:
            files.append(trained.detections)
        self._keep_files(files, trained.metrics)

    def _on_epoch(self, report: EpochReport) -> None:
        metrics = {"epoch": float(report.epoch), **report.metrics}
        self._state.history.append(metrics)
        self._state.ended_ms.append(int(time.time() * 1000))
        self._state.seconds = self._elapsed()
        files = [report.last, report.results]
        if report.best.exists():
            files.append(report.best)
        self._keep_files(files, metrics)

    def _keep_files(self, files: Sequence[Path], metrics: Mapping[str, float]) -> None:
        try:
            folder = Path(tempfile.mkdtemp(dir=self._folder, prefix="kept-"))
            for file in files:
                shutil.copyfile(file, folder / file.name)
            (folder / _STATE).write_text(json.dumps(asdict(self._state)), encoding="utf-8")
            self._keep(folder, metrics)
        except OSError as error:
            raise TrainingFailed(
                f"A checkpoint of fold {self._task.fold} cannot be written: {error.strerror}.",
                hint=f"Make room for {self._folder}, then resume the run.",
            ) from error

    def _elapsed(self) -> float:
        return self._seconds_before + time.monotonic() - self._started
