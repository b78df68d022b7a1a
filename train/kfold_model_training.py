"""Stage kfold_model_training: train each fold, and register the best one as a candidate."""

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
from train.gold import propose_promotion
from train.indices import check_index, read_folds
from train.params import load_params
from train.paths import RESULTS_CSV, StagePaths
from train.plots import write_plots
from train.results import (
    FoldRow,
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
from train.stage import progress, run_stage

CANDIDATE = "candidate"
_PLOTS = "plots.html"


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
    """Train ``plan``, write its results to ``plan.out`` and to MLflow, and register the best."""
    with training(plan, context) as trained:
        rows = trained.rows
        best = best_row(rows)
        weights = Path(shutil.copyfile(best.weights, plan.out / "best.pt"))
        _write_results(context, plan, trained)
        candidate, promotion = None, None
        # First answers are not settled: a model of them is for comparison, not for service.
        if plan.labels is Labels.ADJUDICATED:
            candidate = _register(context, trained, best, weights)
            promotion = _measure(context, trained, candidate)
        write_summary(
            plan.out / "summary.json", _summary(context, plan, trained, best, candidate, promotion)
        )
        spreads = spread(rows)
        details = {
            "folds": [asdict(row) for row in rows],
            "mean": {name: value.mean for name, value in spreads.items()},
            "std": {name: value.std for name, value in spreads.items()},
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
    spreads = spread(trained.rows)
    write_csv(plan.out / RESULTS_CSV, trained.rows)
    histories = {o.task.fold: o.result.history for o in trained.outcomes if o.result is not None}
    write_plots(plan.out / _PLOTS, trained.rows, spreads, histories)
    run_id = trained.record.run_id
    per_class = class_metrics(class_spread(trained.outcomes), context.snapshot.classes)
    context.tracking.log_metrics(run_id, spread_metrics(spreads) | per_class, 0)
    for name in (RESULTS_CSV, _PLOTS):
        context.tracking.log_file(run_id, plan.out / name)


def _register(context: Context, trained: Trained, best: FoldRow, weights: Path) -> ModelRef:
    record = trained.record
    tags = record.tags | {"loop.kind": "cv", "loop.fold": str(best.fold)}
    candidate = context.registry.register(
        weights, classes=context.snapshot.classes, run_id=record.run_id, tags=tags
    )
    context.registry.set_alias(CANDIDATE, candidate)
    record.note(
        "model.registered", {"model": candidate.as_dict()}, {"alias": CANDIDATE, "fold": best.fold}
    )
    console.print(
        f"Registered {candidate.name} version {candidate.version}, from fold {best.fold}, "
        f"as {CANDIDATE}.",
        highlight=False,
        markup=False,
    )
    return candidate


def _measure(context: Context, trained: Trained, candidate: ModelRef) -> Promotion | None:
    with context.units() as uow:
        if not uow.images.gold():
            return None
    with progress("Measuring on the gold set") as step:
        promotion = propose_promotion(context.settings, candidate, step)
    if promotion is not None:
        decision = promotion.decision
        context.tracking.set_tags(trained.record.run_id, {"loop.decision": decision.verdict.value})
        console.print(
            f"Gate: {decision.verdict.value}. {' '.join(decision.reasons)}",
            highlight=False,
            markup=False,
        )
    return promotion


def _summary(
    context: Context,
    plan: Plan,
    trained: Trained,
    best: FoldRow,
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
        "best_fold": best.fold,
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
    sys.exit(run_stage(main))
