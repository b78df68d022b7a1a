"""A fold's job that goes through the very same code as the real one, but learns next to nothing.

An epoch takes a fraction of a second, so that a test can see many of them die.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from loop.errors import TrainingFailed
from train.fold_job import FoldFailure, FoldResult, FoldTask, Keep, run_fold
from train.params import Precision
from train.training import EpochReport, TrainResult

EPOCH_S = 0.2


def light_fold(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    return run_fold(task, folder, checkpoint, keep, train=_train)


def _train(
    task: FoldTask, on_epoch: Callable[[EpochReport], None], last: Path | None
) -> TrainResult:
    """The weights are the number of the epoch: a resumed run goes on with what it was given."""
    spec, done = task.spec, 0
    results, weights = spec.folder / "results.csv", spec.folder / "last.pt"
    best = spec.folder / "best.pt"
    if last is not None:
        done = int(last.read_text())
        results.write_text(last.with_name("results.csv").read_text())
        best.write_text(last.with_name("best.pt").read_text())
        if len(results.read_text().splitlines()) != done:
            raise TrainingFailed(f"The checkpoint of epoch {done} has another results.csv.")
    for epoch in range(done + 1, spec.epochs + 1):
        time.sleep(EPOCH_S)
        weights.write_text(str(epoch))
        best.write_text(str(epoch))
        with results.open("a") as file:
            file.write(f"{epoch}\n")
        metrics = {
            "map50": epoch / 100,
            "map50_95": epoch / 200,
            "train_box_loss": 1 / epoch,
            "seconds": EPOCH_S,
        }
        finished = epoch == spec.epochs
        on_epoch(EpochReport(epoch, spec.epochs, metrics, weights, best, results, finished))
    scores = {"map50": 0.5, "map50_95": 0.25, "precision": 0.5, "recall": 0.5}
    return TrainResult(best, weights, scores, spec.epochs, spec.epochs, Precision.FP32)
