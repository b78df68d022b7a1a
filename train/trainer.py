"""Trains a detector with Ultralytics on rows of a snapshot, without Ray.

Call `detector.ultralytics_env.prepare` before this module is imported.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loop.errors import LoopError, Misconfigured, NotEnoughData, TrainingFailed
from store.snapshot_files import Snapshot
from train.checkpoints import read_state
from train.decoded import DecodedImages
from train.detections_file import DETECTIONS_FILE, write_detections
from train.params import Precision
from train.precision import computes_in_bf16, has_bf16
from train.scores import per_class, renamed
from train.training import EpochReport, TrainResult, TrainSpec
from train.yolo_trainer import YoloTrainer

# A file system that is full, a quota that is used up, a limit on the size of a file.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def train_detector(
    snapshot: Snapshot,
    train_rows: Sequence[int],
    val_rows: Sequence[int],
    spec: TrainSpec,
    on_epoch: Callable[[EpochReport], None],
    resume_from: Path | None = None,
    images: DecodedImages | None = None,
) -> TrainResult:
    """Train on ``train_rows`` of ``snapshot.samples`` and validate on ``val_rows``.

    ``resume_from`` is a ``last.pt`` from another run of the same ``spec``; its ``best.pt`` and
    ``results.csv`` are taken from beside it. ``images`` are decoded already; what is not in them
    is read from the snapshot.

    The same arguments give the same model and the same metrics, resumed at any epoch or not: to
    the last digit on the CPU with the same ``threads`` and the same kind of processor. Another
    processor or a GPU adds up in another order; there the metrics of two runs differ by as much
    as those of two seeds.

    Raises `NotEnoughData`, `Misconfigured`, `BrokenRecord` for an image that cannot be read, and
    `TrainingFailed`, among others for losses that are not finite and for a full disk.
    """
    _check(train_rows, val_rows, spec)
    try:
        run = _Run(snapshot, train_rows, val_rows, spec, on_epoch, resume_from, images)
        return run.train()
    except LoopError:
        raise
    except OSError as error:
        raise _disk_failure(error, spec.folder) from error
    except Exception as error:  # Ultralytics and torch raise all kinds of them
        raise TrainingFailed(
            f"Training ended in {type(error).__name__}: {error}.",
            hint="With a memory error, lower BATCH_SIZE or IMG_SIZE.",
        ) from error


class _Run:
    def __init__(
        self,
        snapshot: Snapshot,
        train_rows: Sequence[int],
        val_rows: Sequence[int],
        spec: TrainSpec,
        on_epoch: Callable[[EpochReport], None],
        resume_from: Path | None,
        images: DecodedImages | None,
    ) -> None:
        self._snapshot = snapshot
        self._spec = spec
        self._on_epoch = on_epoch
        state = read_state(resume_from) if resume_from is not None else None
        self._finished = state is not None and _is_finished(state, spec)
        # Ultralytics takes bf16 on GPUs that have it; elsewhere the trainer does.
        bf16 = computes_in_bf16(spec.precision, spec.device)
        self._precision = Precision.BF16 if bf16 else Precision.FP32
        by_ultralytics = bf16 and spec.device != "cpu" and has_bf16(spec.device)
        try:
            self._trainer = YoloTrainer(
                snapshot,
                train_rows,
                val_rows,
                spec,
                _overrides(snapshot, spec) | {"amp": "bf16" if by_ultralytics else False},
                self._report,
                state,
                images,
                autocasts=bf16 and not by_ultralytics,
            )
        except (SyntaxError, TypeError, ValueError) as error:  # how Ultralytics refuses arguments
            raise Misconfigured(
                f"Ultralytics refuses the training's parameters: {error}.",
                hint="See `train` in params.yaml, and GPUS_PER_FOLD.",
            ) from error
        if resume_from is not None:
            _take_over(resume_from, self._trainer)

    def train(self) -> TrainResult:
        trainer, folder = self._trainer, self._spec.folder
        if self._finished:  # the process before this one ended in the final evaluation
            trainer.evaluate()
        else:
            trainer.train()
        validated = bool(self._spec.val_period)
        if validated:
            write_detections(folder / DETECTIONS_FILE, trainer.validator.detections)
        return TrainResult(
            best=trainer.best,
            last=trainer.last,
            metrics=renamed(trainer.metrics),
            epochs=trainer.epoch + 1,
            best_epoch=trainer.best_epoch,
            precision=self._precision,
            per_class=(
                per_class(trainer.validator.metrics, self._snapshot.classes) if validated else {}
            ),
            detections=folder / DETECTIONS_FILE if validated else None,
        )

    def _report(self) -> None:
        trainer = self._trainer
        metrics = {
            **renamed(trainer.metrics),
            **renamed(trainer.label_loss_items(trainer.tloss)),
            "lr": float(trainer.lr["lr/pg0"]),
            "seconds": time.monotonic() - trainer.epoch_started,
        }
        if trainer.fitness is not None:
            metrics["fitness"] = float(trainer.fitness)
        self._on_epoch(
            EpochReport(
                epoch=trainer.epoch + 1,
                epochs=trainer.epochs,
                metrics=metrics,
                last=trainer.last,
                best=trainer.best,
                results=trainer.csv,
                finished=bool(trainer.stop),
            )
        )


def _check(train_rows: Sequence[int], val_rows: Sequence[int], spec: TrainSpec) -> None:
    if not train_rows or (spec.val_period and not val_rows):
        raise NotEnoughData(
            f"There are {len(train_rows)} images to train on and {len(val_rows)} to validate on.",
            hint="Annotate more images, or lower K_FOLDS.",
        )
    if val_rows and not spec.val_period:
        raise Misconfigured("A training with a VAL_PERIOD of 0 has no use for validation images.")


def _is_finished(state: Mapping[str, Any], spec: TrainSpec) -> bool:
    """Whether no epoch is left to train, as the parent process would have decided."""
    epochs = state["epoch"] + 1
    waited = epochs - state["stopper"]["best_epoch"]
    stale = spec.patience and state["validated"] and waited >= spec.patience
    return bool(stale) or epochs >= spec.epochs


def _take_over(last: Path, trainer: YoloTrainer) -> None:
    """Copy what is beside a checkpoint; the trainer has emptied its folder by now."""
    try:
        shutil.copyfile(last.with_name("results.csv"), trainer.csv)
        if last.with_name("best.pt").exists():  # not before an epoch is validated
            shutil.copyfile(last.with_name("best.pt"), trainer.best)
    except FileNotFoundError as error:
        raise TrainingFailed(
            f"The checkpoint {last} is not complete: {error}.", hint="Start the run again."
        ) from error


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
        "plots": False,
        "verbose": False,
        "val": True,
        "deterministic": True,
    }


def _disk_failure(error: OSError, folder: Path) -> TrainingFailed:
    if error.errno in _NO_SPACE:
        return TrainingFailed(
            f"No space left for the training in {folder}: {error.strerror}.",
            hint="Free some space on that disk, or put SECONDLOOK_HOME on another one.",
        )
    return TrainingFailed(
        f"Training ended in {type(error).__name__}: {error}.",
        hint=f"See that {folder} can be written to.",
    )
