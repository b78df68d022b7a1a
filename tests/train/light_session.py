"""``python -m tests.train.light_session EPOCHS FOLDS [JOB]``: a training session to be killed.

It runs in the workspace-like folder that it is started in, as a stage does, with the settings of
the environment; ``SECONDLOOK_RESUME`` names a session to take up, and a fold asks for so many GPUs
as ``LIGHT_GPUS`` says.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from loop.snapshots import Labels
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.snapshot_files import open_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.train.generated import ARCHITECTURE, SIZE_PX
from tests.train.light_job import light_fold
from train.fold_job import run_fold
from train.params import Params
from train.results import write_csv
from train.session import Context, Plan, Split, training
from train.stage import run_stage

SNAPSHOT, OUT = Path("snapshot"), Path("out")
JOBS = {"light": light_fold, "real": run_fold}


def session(epochs: int, folds: int) -> tuple[Plan, Context]:
    settings = load_settings()
    snapshot = open_snapshot(SNAPSHOT)
    rows = range(len(snapshot.samples))
    splits = tuple(
        Split(
            fold,
            tuple(row for row in rows if row % folds != fold),
            tuple(row for row in rows if row % folds == fold),
        )
        for fold in range(folds)
    )
    plan = Plan("cv", "kfold", Labels.ADJUDICATED, splits, "folds", "0" * 64, OUT)
    params = Params(
        K_FOLDS=max(folds, 2),
        EPOCHS=epochs,
        BATCH_SIZE=4,
        IMG_SIZE=SIZE_PX,
        PATIENCE=0,
        CPUS_PER_FOLD=0.5,
        GPUS_PER_FOLD=float(os.environ.get("LIGHT_GPUS", "0")),
        NEAR_DUPLICATE_DISTANCE=-1,
        ARCHITECTURE=str(ARCHITECTURE),
        train={"nbs": 4},
    )
    context = Context(
        settings,
        params,
        snapshot,
        open_units_of_work(settings),
        open_tracking(settings),
        open_model_registry(settings),
        Path.cwd(),
    )
    return plan, context


def main(epochs: int, folds: int, job: str) -> None:
    plan, context = session(epochs, folds)
    with training(plan, context, job=JOBS[job]) as trained:
        write_csv(OUT / "results.csv", trained.rows)
        trained.record.end({})


if __name__ == "__main__":
    arguments = [*sys.argv[1:], "light"]
    sys.exit(run_stage(lambda: main(int(arguments[0]), int(arguments[1]), arguments[2])))
