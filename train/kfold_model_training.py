"""Stage kfold_model_training: train each fold, and register a final model as a candidate."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loop.impact import class_metrics
from loop.predictions import ModelRef
from loop.promotions import Promotion
from loop.snapshots import Labels
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.snapshot_files import open_snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train.final_model import Final, final_model
from train.indices import check_index, read_folds
from train.params import load_params
from train.paths import RESULTS_CSV, StagePaths
from train.publishing import publish_results
from train.registering_model import measure, register_candidate
from train.results import (
    best_row,
    class_spread,
    results_table,
    spread,
    spread_metrics,
    write_csv,
    write_summary,
)
from train.session import Context, Plan, Split, Trained, training
from train.stage import out as console
from train.stage import run_stage


def main(labels: Labels = Labels.ADJUDICATED) -> None:
    settings, paths = load_settings(), StagePaths(labels)
    tracking = open_tracking(settings)
    context = Context(
        settings=settings,
        params=load_params(),
        snapshot=open_snapshot(paths.snapshot),
        units=open_units_of_work(settings),
        tracking=tracking,
        registry=open_model_registry(settings),
        workspace=Path.cwd(),
    )
    cross_validate(context, _plan(context, labels, paths))


def cross_validate(context: Context, plan: Plan) -> None:
    """Train ``plan``, write its results to ``plan.out`` and to MLflow, and register a model."""
    with training(plan, context) as trained:
        rows = trained.rows
        shutil.copyfile(best_row(rows).weights, plan.out / "best.pt")
        _write_results(context, plan, trained)
        final = final_model(context, plan, trained)
        candidate, promotion = None, None
        # First answers are not settled: a model of them is for comparison, not for service.
        if plan.labels is Labels.ADJUDICATED:
            candidate = register_candidate(context, plan, trained, final)
            promotion = measure(context, trained, candidate)
        write_summary(
            plan.out / "summary.json",
            _summary(context, plan, trained, final, candidate, promotion),
        )
        spreads = spread(rows)
        details = {
            "folds": [asdict(row) for row in rows],
            "mean": {name: value.mean for name, value in spreads.items()},
            "std": {name: value.std for name, value in spreads.items()},
            "final_model": final.as_dict(),
            "candidate": candidate.as_dict() if candidate else None,
        }
        trained.record.end(details)
    console.print(results_table(rows, spreads))
    console.print(f"Results in {plan.out / RESULTS_CSV}", highlight=False, markup=False)


def _plan(context: Context, labels: Labels, paths: StagePaths) -> Plan:
    folds = read_folds(paths.folds)
    check_index(folds, context.snapshot)
    return Plan(
        kind="cv",
        noun="kfold",
        labels=labels,
        splits=tuple(
            Split(fold, tuple(folds.train_rows(fold)), tuple(folds.val_rows(fold)))
            for fold in range(folds.k)
        ),
        index_name="folds",
        index_sha256=folds.sha256,
        out=paths.kfold_runs,
    )


def _write_results(context: Context, plan: Plan, trained: Trained) -> None:
    write_csv(plan.out / RESULTS_CSV, trained.rows)
    context.tracking.log_file(trained.record.run_id, plan.out / RESULTS_CSV)
    per_class = class_metrics(class_spread(trained.outcomes), context.snapshot.classes)
    trained.record.log_metrics(spread_metrics(spread(trained.rows)) | per_class)
    publish_results(context, plan, trained)


def _summary(
    context: Context,
    plan: Plan,
    trained: Trained,
    final: Final,
    candidate: ModelRef | None,
    promotion: Promotion | None,
) -> dict[str, Any]:
    spreads = spread(trained.rows)
    return {
        "mlflow_run_id": trained.record.run_id,
        "cv_id": trained.record.tags["loop.cv_id"],
        "dvc_rev": trained.record.tags["loop.dvc_rev"],
        "snapshot_sha256": context.snapshot.sha256,
        "folds_sha256": plan.index_sha256,
        "candidate": candidate.as_dict() if candidate else None,
        "decision": promotion.decision.verdict.value if promotion else None,
        "best_fold": best_row(trained.rows).fold,
        "final_model": final.as_dict(),
        "folds": [asdict(row) for row in trained.rows],
        "mean": {name: value.mean for name, value in spreads.items()},
        "std": {name: value.std for name, value in spreads.items()},
        "per_class": [
            {"fold": outcome.task.fold, "scores": outcome.result.per_class}
            for outcome in trained.outcomes
            if outcome.result is not None
        ],
    }


if __name__ == "__main__":
    sys.exit(run_stage(main, "kfold_model_training"))
