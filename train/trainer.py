"""Trains a detector with Ultralytics on rows of a snapshot, without Ray.

Call `detector.ultralytics_env.prepare` before this module is imported.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.metrics import DetMetrics

from loop.classes import ClassList
from loop.errors import LoopError, Misconfigured, NotEnoughData, TrainingFailed
from store.snapshot_files import Snapshot
from train.arrow_dataset import ArrowDataset
from train.training import CLASS_SCORES, ClassScores, EpochReport, TrainResult, TrainSpec

# Ultralytics pads validation images by half a stride (ultralytics/data/build.py).
_VALIDATION_PAD_STRIDES = 0.5
_METRIC_NAMES = {
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "map50",
    "metrics/mAP50-95(B)": "map50_95",
}


def train_detector(
    snapshot: Snapshot,
    train_rows: Sequence[int],
    val_rows: Sequence[int],
    spec: TrainSpec,
    on_epoch: Callable[[EpochReport], None],
    resume_from: Path | None = None,
) -> TrainResult:
    """Train on ``train_rows`` of ``snapshot.samples`` and validate on ``val_rows``.

    ``resume_from`` is a ``last.pt`` from another run of the same ``spec``; its ``best.pt`` and
    ``results.csv`` are taken from beside it. Random states are not in it, so a resumed run is
    not the same to the last digit. Raises `NotEnoughData`, `Misconfigured`, `TrainingFailed`.
    """
    if not train_rows or not val_rows:
        raise NotEnoughData(
            f"There are {len(train_rows)} images to train on and {len(val_rows)} to validate on.",
            hint="Annotate more images, or lower K_FOLDS.",
        )
    overrides = _overrides(snapshot, spec)
    trained = None
    if resume_from is not None:
        trained = _restore(resume_from, spec)
        overrides["resume"] = str(spec.folder / "weights" / "last.pt")
    try:
        trainer = _Trainer(
            snapshot, train_rows, val_rows, spec.threads, overrides, on_epoch, trained
        )
        trainer.train()
    except LoopError:
        raise
    except (SyntaxError, TypeError, ValueError) as error:  # how Ultralytics refuses an argument
        raise Misconfigured(
            f"Ultralytics refuses the training's parameters: {error}.",
            hint="See `train` and BASE_MODEL in params.yaml.",
        ) from error
    except (RuntimeError, AssertionError, OSError) as error:
        raise TrainingFailed(
            f"Training ended in {type(error).__name__}: {error}.",
            hint="With a memory error, lower BATCH_SIZE or IMG_SIZE.",
        ) from error
    return trainer.result()


@dataclass(frozen=True, slots=True)
class _Trained:
    """``epoch`` counts from 0, ``best_epoch`` from 1, as Ultralytics does."""

    epoch: int
    best_epoch: int


class _Trainer(DetectionTrainer):  # type: ignore[misc]  # Ultralytics is not typed
    def __init__(
        self,
        snapshot: Snapshot,
        train_rows: Sequence[int],
        val_rows: Sequence[int],
        threads: int,
        overrides: dict[str, Any],
        on_epoch: Callable[[EpochReport], None],
        trained: _Trained | None,
    ) -> None:
        self._snapshot = snapshot
        self._rows = {"train": list(train_rows), "val": list(val_rows)}
        self._threads = threads
        self._on_epoch = on_epoch
        self._in_final_eval = False
        self._trained = trained
        self._epoch_started = time.monotonic()
        super().__init__(overrides=overrides)
        # Ultralytics takes all cores but one whenever it selects the CPU (`select_device`), which
        # a fold has not got to itself; validation selects the device once more.
        self.add_callback("on_pretrain_routine_end", self._set_threads)
        self.add_callback("on_val_start", self._set_threads)
        self.add_callback("on_train_epoch_start", self._start_clock)
        self.add_callback("on_fit_epoch_end", self._report)

    def get_dataset(self) -> dict[str, Any]:
        names = dict(enumerate(self._snapshot.classes))
        return {**self._rows, "names": names, "nc": len(names), "channels": 3}

    def build_dataset(
        self, img_path: list[int], mode: str = "train", batch: int | None = None
    ) -> ArrowDataset:
        """``img_path`` is what `get_dataset` names: rows. As `build_yolo_dataset`, but for them."""
        training = mode == "train"
        return ArrowDataset(
            self._snapshot,
            img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=not training,
            cache=None,
            stride=max(int(self.model.stride.max()), 32),
            pad=0.0 if training else _VALIDATION_PAD_STRIDES,
            data=self.data,
        )

    def resume_training(self, ckpt: Mapping[str, Any] | None) -> None:
        if self._trained is None:
            super().resume_training(ckpt)

    def _do_train(self) -> None:
        if self._trained is None:
            super()._do_train()
            return
        # The process before this one ended after its last epoch, in the final evaluation.
        self._setup_train()
        self.epoch = self._trained.epoch
        self.stopper.best_epoch = self._trained.best_epoch
        self.final_eval()

    def final_eval(self) -> None:
        """Measure best.pt on the validation rows: Ultralytics keeps the trainer's own loader."""
        self._in_final_eval = True
        super().final_eval()

    def read_results_csv(self) -> dict[str, Any]:
        # Ultralytics would put the whole table into each checkpoint; MLflow has it.
        return {}

    def result(self) -> TrainResult:
        if not self.best.exists():
            raise TrainingFailed(
                "Training ended without a usable model.",
                hint="Lower the learning rate (train.lr0 in params.yaml) or raise EPOCHS.",
            )
        return TrainResult(
            best=self.best,
            last=self.last,
            metrics=_renamed(self.metrics),
            epochs=self.epoch + 1,
            best_epoch=int(self.stopper.best_epoch),
            per_class=_per_class(self.validator.metrics, self._snapshot.classes),
        )

    def _set_threads(self, _: object) -> None:
        torch.set_num_threads(self._threads)

    def _start_clock(self, _: object) -> None:
        self._epoch_started = time.monotonic()

    def _report(self, _: object) -> None:
        # `final_eval` fires this once more, with the epoch counted up.
        if self._in_final_eval:
            return
        metrics = {
            **_renamed(self.metrics),
            **_renamed(self.label_loss_items(self.tloss)),
            "fitness": float(self.fitness),
            "lr": float(self.lr["lr/pg0"]),
            "seconds": time.monotonic() - self._epoch_started,
        }
        self._on_epoch(
            EpochReport(
                epoch=self.epoch + 1,
                epochs=self.epochs,
                metrics=metrics,
                last=self.last,
                best=self.best,
                results=self.csv,
                finished=bool(self.stop),
            )
        )


def _overrides(snapshot: Snapshot, spec: TrainSpec) -> dict[str, Any]:
    spec.folder.mkdir(parents=True, exist_ok=True)
    data = spec.folder / "data.yaml"
    # Only read by the final evaluation, which wants a path that exists; the images come from the
    # trainer's own loader.
    place = str(snapshot.folder.absolute())
    names = dict(enumerate(snapshot.classes))
    data.write_text(yaml.safe_dump({"path": place, "train": ".", "val": ".", "names": names}))
    return {
        **spec.hyperparameters,
        "task": "detect",
        "mode": "train",
        "model": str(spec.base.absolute()),
        "data": str(data.absolute()),
        "save_dir": str(spec.folder.absolute()),
        "epochs": spec.epochs,
        "batch": spec.batch_size,
        "imgsz": spec.image_size,
        "patience": spec.patience,
        "seed": spec.seed,
        "device": spec.device,
        "exist_ok": True,
        # Loader processes would copy the snapshot's memory map and outlive a killed worker.
        "workers": 0,
        # The check for mixed precision downloads weights.
        "amp": False,
        "plots": False,
        "verbose": False,
        "val": True,
        "deterministic": True,
    }


def _restore(last: Path, spec: TrainSpec) -> _Trained | None:
    """Put a checkpoint's files where a resumed run looks; not None if no epoch is left to train."""
    weights = spec.folder / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(last.with_name("best.pt"), weights / "best.pt")
    shutil.copyfile(last.with_name("results.csv"), spec.folder / "results.csv")
    copied = shutil.copyfile(last, weights / "last.pt")
    try:
        _, checkpoint = load_checkpoint(str(copied))
        epochs = int(checkpoint["epoch"]) + 1
        best_epoch = int(checkpoint["stopper"]["best_epoch"])
    except Exception as error:  # a damaged pickle may raise anything
        raise TrainingFailed(
            f"The checkpoint {last} cannot be read: {error}.", hint="Start the run again."
        ) from error
    stale = spec.patience and epochs - best_epoch >= spec.patience
    return _Trained(epochs - 1, best_epoch) if stale or epochs >= spec.epochs else None


def _per_class(metrics: DetMetrics, classes: ClassList) -> ClassScores:
    """Of the last validation, which was that of best.pt; for classes that its images show."""
    scores = {}
    # Its `maps` puts the mean of the others in the place of a class that no image shows.
    for place, class_id in enumerate(metrics.ap_class_index):
        _, _, map50, map50_95 = metrics.class_result(place)
        scores[classes.name_of(int(class_id))] = dict(
            zip(CLASS_SCORES, (float(map50), float(map50_95)), strict=True)
        )
    return scores


def _renamed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Our names: MLflow takes no parentheses, and Ultralytics' ones say ``(B)`` for boxes."""
    return {
        _METRIC_NAMES.get(name, name.replace("/", "_")): float(value)
        for name, value in metrics.items()
    }
