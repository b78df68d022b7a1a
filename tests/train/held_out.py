"""Folds as if they had been trained: what their models would have seen, without any training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loop.events import Actor, Role
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.model_registry import open_model_registry
from store.settings import load_settings
from store.snapshot_files import Snapshot
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from tests.train.generated import generated_snapshot, small_spec
from train.detections_file import DETECTIONS_FILE, ImageDetections, write_detections
from train.fold_job import FoldOutcome, FoldResult, FoldTask
from train.params import Params
from train.results import row_of
from train.run_record import open_record
from train.session import Context, Plan, Split, Trained

IMAGES, FOLDS = 9, 3
SCORES = {"map50": 0.5, "map50_95": 0.25, "precision": 0.75, "recall": 0.5}
TAGS = {
    "loop.cv_id": "c" * 32,
    "loop.dvc_rev": "d" * 40,
    "loop.git_commit": "e" * 40,
    "loop.base_weights_sha256": "f" * 64,
    "loop.seed": "0",
}


def seen_by_a_good_model(snapshot: Snapshot, rows: Sequence[int]) -> list[ImageDetections]:
    """Every true box a pixel too far right, and one false detection on each image."""
    found = []
    for row in rows:
        sample = snapshot.samples[row]
        edges = [(b.box.x1 + 1, b.box.y1, b.box.x2 + 1, b.box.y2) for b in sample.boxes]
        edges.append((0.0, 0.0, 8.0, 8.0))
        classes = [*(b.class_id for b in sample.boxes), 0]
        confidences = [*(0.9 for _ in sample.boxes), 0.3]
        found.append(
            ImageDetections(
                sample.image_id,
                np.array(edges, np.float32),
                np.array(classes, np.int16),
                np.array(confidences, np.float32),
            )
        )
    return found


def plan_of(snapshot: Snapshot, out: Path, folds: int = FOLDS) -> Plan:
    """The image of row i is validated on by fold i mod ``folds``."""
    rows = range(len(snapshot.samples))
    splits = [
        Split(
            fold,
            tuple(row for row in rows if row % folds != fold),
            tuple(row for row in rows if row % folds == fold),
        )
        for fold in range(folds)
    ]
    return Plan("cv", "kfold", Labels.ADJUDICATED, tuple(splits), "folds", "a" * 64, out)


def context_at(folder: Path) -> Context:
    """An empty home and a snapshot in ``folder``, which is the workspace."""
    settings = load_settings(folder / "var")
    return Context(
        settings=settings,
        params=Params(),
        snapshot=generated_snapshot(folder / "data" / "snapshot", IMAGES),
        units=open_units_of_work(settings),
        tracking=open_tracking(settings),
        registry=open_model_registry(settings),
        workspace=folder,
    )


def trained_as(plan: Plan, context: Context) -> Trained:
    """With runs in MLflow that are open; validated every second epoch of four."""
    plan.out.mkdir(parents=True, exist_ok=True)
    record = open_record(
        context.tracking,
        context.units,
        open_audit_log(context.settings),
        kind=plan.kind,
        noun=plan.noun,
        actor=Actor("operator", Role.ENGINEER),
        subject={
            "snapshot_sha256": context.snapshot.sha256,
            f"{plan.index_name}_sha256": plan.index_sha256,
            "base_weights_sha256": "b" * 64,
        },
        tags=TAGS,
        params={},
    )
    record.start({"params": {}, "splits": len(plan.splits), "labels": plan.labels.value})
    outcomes = []
    for split in plan.splits:
        sizes = {"train_images": len(split.train_rows), "val_images": len(split.val_rows)}
        run_id = record.run_id if plan.one_run else record.start_fold(split.fold, {}, sizes)
        folder = plan.out / f"fold_{split.fold}"
        folder.mkdir()
        write_detections(
            folder / DETECTIONS_FILE, seen_by_a_good_model(context.snapshot, split.val_rows)
        )
        task = FoldTask(
            fold=split.fold,
            run_id=run_id,
            snapshot=context.snapshot.folder,
            train_rows=split.train_rows,
            val_rows=split.val_rows,
            spec=small_spec(folder),
            config_dir=folder,
        )
        result = FoldResult(
            SCORES,
            epochs=4,
            best_epoch=4,
            seconds=12.0,
            history=tuple(_epoch(number, split.fold) for number in range(1, 5)),
            per_class={
                name: {"map50": 0.5, "map50_95": 0.25 + split.fold / 10}
                for name in context.snapshot.classes
            },
        )
        outcomes.append(FoldOutcome(task, result, folder))
    return Trained(record, tuple(outcomes), tuple(row_of(outcome) for outcome in outcomes))


def _epoch(number: int, fold: int) -> dict[str, float]:
    losses = {f"train_{name}_loss": 3.0 / number for name in ("box", "cls", "dfl")}
    if number % 2:
        return {"epoch": float(number), **losses}
    scores = {name: value * number / 4 - fold / 50 for name, value in SCORES.items()}
    return {"epoch": float(number), **losses, **scores}
