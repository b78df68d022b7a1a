"""Stage model_training: one training on the standard split."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from loop.snapshots import Labels
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.snapshot_files import open_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train.indices import TRAIN, VAL, check_index, read_split
from train.params import load_params
from train.paths import StagePaths
from train.publishing import publish_results
from train.results import results_table, spread, write_csv, write_summary
from train.session import Context, Plan, Split, training
from train.stage import out as console
from train.stage import run_stage

_RESULTS_CSV = "results.csv"


def main(labels: Labels = Labels.ADJUDICATED) -> None:
    settings, paths = load_settings(), StagePaths(labels)
    context = Context(
        settings=settings,
        params=load_params(),
        snapshot=open_snapshot(paths.snapshot),
        units=open_units_of_work(settings),
        tracking=open_tracking(settings),
        registry=open_model_registry(settings),
        workspace=Path.cwd(),
    )
    train_once(context, _plan(context, labels, paths))


def train_once(context: Context, plan: Plan) -> None:
    """Train the only split of ``plan``; weights and results go to ``plan.out`` and to MLflow."""
    with training(plan, context) as trained:
        row = trained.rows[0]
        weights = Path(shutil.copyfile(row.weights, plan.out / "best.pt"))
        write_csv(plan.out / _RESULTS_CSV, trained.rows)
        run_id = trained.record.run_id
        context.tracking.log_file(run_id, weights)
        publish_results(context, plan, trained)
        write_summary(plan.out / "summary.json", {"mlflow_run_id": run_id, **asdict(row)})
        trained.record.end(asdict(row))
    console.print(results_table(trained.rows, spread(trained.rows)))
    console.print(f"Results in {plan.out / _RESULTS_CSV}", highlight=False, markup=False)


def _plan(context: Context, labels: Labels, paths: StagePaths) -> Plan:
    split = read_split(paths.split)
    check_index(split, context.snapshot)
    train_rows, val_rows = tuple(split.rows_of(TRAIN)), tuple(split.rows_of(VAL))
    return Plan(
        kind="standard",
        noun="training",
        labels=labels,
        splits=(Split(0, train_rows, val_rows),),
        index_name="split",
        index_sha256=split.sha256,
        out=paths.standard_runs,
        one_run=True,
    )


if __name__ == "__main__":
    sys.exit(run_stage(main, "model_training"))
