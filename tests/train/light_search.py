"""``python -m tests.train.light_search TRIALS [RUN]``: a search to be killed, and to be resumed.

It runs in the workspace-like folder that it is started in, with the settings of the environment.
A trial's folds learn next to nothing, and score the better the nearer lr0 is to 0.01; above 0.5
its loss is not a number. While `ONLY`, in the home folder, has a learning rate, trials with another
one go no further than their first epoch.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from loop.errors import TrainingFailed
from loop.snapshots import Labels
from store.settings import load_settings
from train.fold_job import FoldFailure, FoldResult, FoldTask, Keep, run_fold
from train.params import Precision, load_params
from train.search import resume_search, start_search
from train.stage import run_stage
from train.training import EpochReport, TrainResult

# So that a trial which is stopped after its third epoch is not through all of them by then.
EPOCH_S = 0.6
BEST_LR0, TOO_HIGH = 0.01, 0.5
ONLY = "only-lr0"


def score(lr0: float, epoch: int) -> float:
    """mAP50-95 after ``epoch``."""
    return max(0.0, 0.8 - 0.2 * abs(math.log10(lr0 / BEST_LR0))) * (1 - 0.5**epoch)


def _wait_while_another_may_go_on(lr0: float) -> None:
    only = Path(os.environ["SECONDLOOK_HOME"]) / ONLY
    while only.is_file() and float(only.read_text()) != lr0:
        time.sleep(EPOCH_S)


def fold(
    task: FoldTask, folder: Path, checkpoint: Path | None, keep: Keep
) -> FoldResult | FoldFailure:
    return run_fold(task, folder, checkpoint, keep, train=_train)


def _train(
    task: FoldTask, on_epoch: Callable[[EpochReport], None], last: Path | None
) -> TrainResult:
    spec = task.spec
    lr0 = float(spec.hyperparameters["lr0"])
    results, weights, best = (spec.folder / name for name in ("results.csv", "last.pt", "best.pt"))
    done = int(last.read_text()) if last is not None else 0
    for epoch in range(done + 1, spec.epochs + 1):
        time.sleep(EPOCH_S)
        if lr0 > TOO_HIGH:
            raise TrainingFailed(f"The loss is not a number after epoch {epoch}.")
        for file in (weights, best, results):
            file.write_text(str(epoch))
        scores = {"map50": score(lr0, epoch), "map50_95": score(lr0, epoch) + task.fold / 1000}
        finished = epoch == spec.epochs
        on_epoch(EpochReport(epoch, spec.epochs, scores, weights, best, results, finished))
        _wait_while_another_may_go_on(lr0)
    end = score(lr0, spec.epochs)
    scores = {"map50": end, "map50_95": end + task.fold / 1000, "precision": 0.5, "recall": 0.5}
    return TrainResult(best, weights, scores, spec.epochs, spec.epochs, Precision.FP32)


def main(trials: int, run: str | None) -> None:
    settings, workspace = load_settings(), Path.cwd()
    console = Console(width=160)
    if run:
        resume_search(
            settings,
            run,
            workspace=workspace,
            trials=trials,
            at_once=1,
            console=console,
            job=fold,
        )
    else:
        start_search(
            settings,
            load_params(),
            Labels.ADJUDICATED,
            workspace=workspace,
            trials=trials,
            at_once=1,
            console=console,
            job=fold,
        )


if __name__ == "__main__":
    sys.exit(run_stage(lambda: main(int(sys.argv[1]), sys.argv[2] if sys.argv[2:] else None)))
