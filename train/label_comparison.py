"""First answers against settled ones: which labels make the better model, measured on the gold set.

Nothing is promoted by it, and none of the gold set's uses for that is used up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.yolo import load_classes
from loop.bootstrap import Interval, PairedBootstrap, paired_bootstrap, seed_of
from loop.errors import Conflict, NotEnoughData, NotFound
from loop.events import Actor, Event, Role, canonical_json
from loop.gold import read_gold
from loop.metrics import rank
from loop.predictions import ModelRef
from loop.promotions import GoldScore
from loop.snapshots import Labels
from store.settings import Settings
from store.tracking import EXPERIMENT, Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from train.gold_detecting import Progress, detect_gold, open_weights
from train.gold_scores import score_of
from train.paths import StagePaths

# A refit on all folds where there is one, else the best fold.
_WEIGHTS = ("final.pt", "best.pt")
# Each side of an interval that holds in 95 of 100 cases.
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class LabelComparison:
    """Changes are what settled answers add to a score: the model of them less that of first ones.
    Intervals are two-sided, at 95 %."""

    first_reviewer: GoldScore
    adjudicated: GoldScore
    map50_95: Interval
    map50: Interval
    classes: Mapping[str, Interval]
    runs: Mapping[str, str]
    replicates: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "first_reviewer": self.first_reviewer.as_dict(),
            "adjudicated": self.adjudicated.as_dict(),
            "map50_95": self.map50_95.as_dict(),
            "map50": self.map50.as_dict(),
            "classes": {name: each.as_dict() for name, each in self.classes.items()},
            "trained_in": dict(self.runs),
            "replicates": self.replicates,
        }


def compare_labels(
    settings: Settings, workspace: Path, progress: Progress | None = None
) -> tuple[LabelComparison, str]:
    """Measure the models of both kinds of labels that ``workspace`` has, and record what came out;
    also returns the id of its run in MLflow.

    Raises `NotFound` for a kind that was not trained, `Conflict` if the two know different classes,
    `NotEnoughData` while there is no gold set.
    """
    weights = {labels: _weights(workspace, labels) for labels in Labels}
    config_dir = settings.home / "ultralytics"
    if len({load_classes(path, config_dir).names for path in weights.values()}) > 1:
        raise Conflict(
            "The models of the two kinds of labels know different classes.",
            hint="Train both again on today's classes: dvc repro kfold_model_training "
            "first_reviewer_kfold_model_training",
        )
    units = open_units_of_work(settings)
    with units() as uow:
        gold = read_gold(uow)
    if not gold.image_ids:
        raise NotEnoughData(
            "There is no gold set to measure on.",
            hint="Bring one in: secondlook import PATH --format … --gold",
        )
    first, settled = Labels.FIRST_REVIEWER, Labels.ADJUDICATED
    models = [
        (_reference(each, weights[each]), open_weights(settings, weights[each]))
        for each in (first, settled)
    ]
    before, after = (each.detections for each in detect_gold(settings, gold, models, progress))
    bootstrap = paired_bootstrap(
        rank(before.truth, before.detected, before.classes),
        rank(after.truth, after.detected, after.classes),
        after.grouping,
        replicates=settings.gate_replicates,
        seed=seed_of(before.model.digest, after.model.digest, gold.sha256),
    )
    runs = {labels.value: _run_id(workspace, labels) for labels in Labels}
    comparison = _compared(score_of(before), score_of(after), bootstrap, runs, settings)
    run_id = _log(open_tracking(settings), comparison)
    with units() as uow:
        uow.record(_event(settings.acting(Role.ENGINEER), comparison, run_id))
        uow.commit()
    return comparison, run_id


def _weights(workspace: Path, labels: Labels) -> Path:
    folder = workspace / StagePaths(labels).kfold_runs
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    prefix = "" if labels is Labels.ADJUDICATED else f"{labels.value}_"
    raise NotFound(
        f"No model of {_NAMES[labels]} was trained in {workspace}: {folder / _WEIGHTS[-1]} is not "
        "there.",
        hint=f"dvc repro {prefix}kfold_model_training",
    )


_NAMES = {Labels.ADJUDICATED: "settled answers", Labels.FIRST_REVIEWER: "first answers"}


def _reference(labels: Labels, weights: Path) -> ModelRef:
    """These are not in the registry: they are named by their labels and their digest."""
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ModelRef(labels.value, digest[:12], digest)


def _run_id(workspace: Path, labels: Labels) -> str:
    """Of the cross-validation that trained it; empty where its summary does not say."""
    try:
        summary = json.loads(
            (workspace / StagePaths(labels).kfold_runs / "summary.json").read_text()
        )
        return str(summary["mlflow_run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _compared(
    before: GoldScore,
    after: GoldScore,
    bootstrap: PairedBootstrap,
    runs: Mapping[str, str],
    settings: Settings,
) -> LabelComparison:
    return LabelComparison(
        first_reviewer=before,
        adjudicated=after,
        map50_95=bootstrap.map50_95.interval(_TAIL, _TAIL),
        map50=bootstrap.map50.interval(_TAIL, _TAIL),
        classes={name: change.interval(_TAIL, _TAIL) for name, change in bootstrap.classes.items()},
        runs=runs,
        replicates=settings.gate_replicates,
    )


def _log(tracking: Tracking, comparison: LabelComparison) -> str:
    tracking.prepare()
    run_id = tracking.start_run(
        EXPERIMENT,
        "labels compared",
        tags={
            "loop.kind": "label_comparison",
            "loop.gold_sha256": comparison.adjudicated.gold_sha256,
            **{f"loop.{name}_run": run for name, run in comparison.runs.items() if run},
        },
        params={"replicates": comparison.replicates},
    )
    gain = comparison.map50_95
    bounds = {"map50_95_gain_lower": gain.lower, "map50_95_gain_upper": gain.upper}
    metrics = {
        "map50_95_first_reviewer": comparison.first_reviewer.map50_95,
        "map50_95_adjudicated": comparison.adjudicated.map50_95,
        "map50_95_gain": gain.estimate,
        "map50_gain": comparison.map50.estimate,
        **{name: bound for name, bound in bounds.items() if bound is not None},
    }
    tracking.log_metrics(run_id, metrics, 0)
    tracking.log_text(run_id, canonical_json(comparison.as_dict()).decode(), "labels.json")
    tracking.end_run(run_id, ok=True)
    return run_id


def _event(actor: Actor, comparison: LabelComparison, run_id: str) -> Event:
    return Event(
        type="labels.compared",
        actor=actor,
        subject={
            "gold_sha256": comparison.adjudicated.gold_sha256,
            "models": [
                comparison.first_reviewer.model.as_dict(),
                comparison.adjudicated.model.as_dict(),
            ],
            "run_id": run_id,
        },
        details=comparison.as_dict(),
        inputs={"gold": comparison.adjudicated.gold_sha256},
        run_id=run_id,
    )
