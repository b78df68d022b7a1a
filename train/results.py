"""The results of a training: a row a fold, their mean and spread, and where they are written."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.table import Table

from train.fold_job import FoldOutcome
from train.training import CLASS_SCORES

SCORES = ("map50", "map50_95", "precision", "recall")


@dataclass(frozen=True, slots=True)
class FoldRow:
    """A line of the results CSV. Scores are in [0, 1]; ``weights`` is relative to the workspace."""

    fold: int
    map50: float
    map50_95: float
    precision: float
    recall: float
    epochs: int
    best_epoch: int
    seconds: float
    train_images: int
    val_images: int
    mlflow_run_id: str
    weights: str


@dataclass(frozen=True, slots=True)
class Spread:
    """``std`` is the sample standard deviation over the folds, 0 for a single one."""

    mean: float
    std: float


def row_of(outcome: FoldOutcome) -> FoldRow:
    """The row of a fold that was trained."""
    if outcome.result is None:
        raise ValueError(f"fold {outcome.task.fold} has no result")
    result, task = outcome.result, outcome.task
    scores = {name: float(result.metrics[name]) for name in SCORES}
    return FoldRow(
        fold=task.fold,
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        seconds=result.seconds,
        train_images=len(task.train_rows),
        val_images=len(task.val_rows),
        mlflow_run_id=task.run_id,
        weights=(outcome.folder / "best.pt").as_posix(),
        **scores,
    )


def spread(rows: Sequence[FoldRow]) -> dict[str, Spread]:
    """Mean and spread of each of `SCORES`."""
    found = {}
    for name in SCORES:
        values = [float(getattr(row, name)) for row in rows]
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        found[name] = Spread(statistics.fmean(values), std)
    return found


def class_spread(outcomes: Sequence[FoldOutcome]) -> dict[str, dict[str, float]]:
    """By class name: ``map50_mean``, ``map50_std`` and so on, over the folds that show it."""
    found: dict[str, dict[str, float]] = {}
    per_class = [outcome.result.per_class for outcome in outcomes if outcome.result is not None]
    for name in dict.fromkeys(name for scores in per_class for name in scores):
        for score in CLASS_SCORES:
            values = [scores[name][score] for scores in per_class if name in scores]
            std = statistics.stdev(values) if len(values) > 1 else 0.0
            own = {f"{score}_mean": statistics.fmean(values), f"{score}_std": std}
            found.setdefault(name, {}).update(own)
    return found


def spread_metrics(spreads: Mapping[str, Spread]) -> dict[str, float]:
    """As MLflow's metrics: ``map50_mean``, ``map50_std`` and so on."""
    means = {f"{name}_mean": value.mean for name, value in spreads.items()}
    return means | {f"{name}_std": value.std for name, value in spreads.items()}


def best_row(rows: Sequence[FoldRow]) -> FoldRow:
    """The fold with the highest mAP50-95; of equals the first."""
    return max(rows, key=lambda row: (row.map50_95, row.map50, -row.fold))


def write_csv(path: Path, rows: Sequence[FoldRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(FoldRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def results_table(rows: Sequence[FoldRow], spreads: Mapping[str, Spread]) -> Table:
    table = Table(title="Validation results of the best model of each fold", title_justify="left")
    for heading in ("fold", "mAP50", "mAP50-95", "precision", "recall", "epochs", "seconds"):
        table.add_column(heading, justify="right")
    for row in rows:
        scores = (f"{getattr(row, name):.3f}" for name in SCORES)
        table.add_row(str(row.fold), *scores, str(row.epochs), f"{row.seconds:.1f}")
    if len(rows) > 1:
        table.add_section()
        table.add_row("mean", *(f"{spreads[name].mean:.3f}" for name in SCORES), "", "")
        table.add_row("± sd", *(f"{spreads[name].std:.3f}" for name in SCORES), "", "")
    return table
