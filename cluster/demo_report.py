"""What the demo shows at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.console import out, print_table, program
from cluster.demo_data import GOLD_IMAGES
from store.settings import Settings
from store.tracking import open_tracking
from store.workspace import Workspace


def show_summary(settings: Settings, workspace: Workspace, summary: Mapping[str, Any]) -> None:
    """What was gained, by which folds, and where everything is."""
    print_table(
        f"On {GOLD_IMAGES} gold images, over HTTP",
        ["", "version", "mAP50", "mAP50-95"],
        [
            (
                when,
                summary[f"model_version_{version}"],
                f"{summary[f'map50_{when}']:.3f}",
                f"{summary[f'map50_95_{when}']:.3f}",
            )
            for when, version in (("before", "before"), ("after", "served"))
        ],
    )
    print_table(
        "Folds",
        ["fold", "mAP50", "mAP50-95", "seconds"],
        [
            (fold["fold"], f"{fold['map50']:.3f}", f"{fold['map50_95']:.3f}", fold["seconds"])
            for fold in summary["folds"]
        ],
    )
    run_url = f"http://{settings.host}:{settings.mlflow_port}{_run_path(settings, summary)}"
    lines = [
        f"{summary['corrections']} corrections, {summary['second_reviews']} of them settled by a "
        f"second reviewer; {summary['audit_events']} audit events, verified; "
        f"{len(summary['proved'])} MLflow runs and models that carry their proof.",
        "",
        f"Summary       {settings.home / 'summary.json'}",
        f"Results       {workspace.folder / 'media/runs/kfold/kfold_results.csv'}",
        f"Snapshot      {summary['snapshot_sha256'][:12]}, DVC revision {summary['dvc_rev'][:12]}",
        f"Audit log     {program()} --home {settings.home} audit tail",
        f"Its proofs    {program()} --home {settings.home} audit verify-run "
        f"{summary['mlflow_run_id']}",
        f"Look around   {program()} --home {settings.home.parent} up --demo   (app, API, MLflow)",
        f"MLflow run    {run_url}   (once that is up)",
        f"It took       {summary['seconds']['total']} s",
    ]
    for line in lines:
        out.print(line, highlight=False, markup=False)


def _run_path(settings: Settings, summary: Mapping[str, Any]) -> str:
    run = open_tracking(settings).run(summary["mlflow_run_id"])
    return f"/#/experiments/{run.experiment_id}/runs/{summary['mlflow_run_id']}"
