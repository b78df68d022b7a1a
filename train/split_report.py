"""What is told of a split: a table, an audit event and a JSON file; MLflow gets the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from loop.events import Actor, Event
from loop.fold_report import FoldReport
from loop.ports import UnitsOfWork
from store.snapshot_files import Snapshot
from train.indices import (
    EXCLUDED,
    EXCLUDED_FOLD,
    GOLD,
    GOLD_FOLD,
    TRAIN,
    VAL,
    FoldIndex,
    SplitIndex,
)
from train.splitting import Kinship, kinship
from train.stage import out

Report = dict[str, Any]


def report_of_folds(snapshot: Snapshot, index: FoldIndex, kin: Kinship | None = None) -> Report:
    """Images, subjects, groups, negatives and boxes per class of each fold, as JSON values.

    ``kin`` is what the folds were made with, if it is at hand.
    """
    said = {GOLD_FOLD: GOLD, EXCLUDED_FOLD: EXCLUDED}
    parts = [said.get(fold, str(fold)) for fold in index.fold.tolist()]
    names = [*(str(fold) for fold in range(index.k)), GOLD]
    about = {"folds_sha256": index.sha256, "k": index.k}
    return _report(snapshot, index, names, parts, kin) | about


def report_of_split(snapshot: Snapshot, index: SplitIndex, kin: Kinship | None = None) -> Report:
    """As `report_of_folds`, of the parts to train on and to validate on."""
    names = [TRAIN, VAL, GOLD]
    return _report(snapshot, index, names, index.part, kin) | {"split_sha256": index.sha256}


def publish(
    units: UnitsOfWork,
    report: Report,
    path: Path,
    *,
    type: str,
    actor: Actor,
    subject: Mapping[str, Any],
    title: str,
    warnings: Sequence[str],
) -> None:
    """Print ``report``, write it to ``path``, and record the event ``type`` with it."""
    report = report | {"warnings": [*warnings, *_exclusion(report)]}
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    told = ("parts", "classes", "near_duplicate_distance", "warnings")
    made = type.removesuffix(".created")
    with units() as uow:
        uow.record(
            Event(
                type=type,
                actor=actor,
                subject=subject,
                details={name: report[name] for name in told},
                inputs={"snapshot": subject["snapshot_sha256"]},
                outputs={made: subject[f"{made}_sha256"]},
            )
        )
        uow.commit()
    out.print(_table(title, report))
    for warning in report["warnings"]:
        out.print(f"Warning: {warning}", style="yellow", highlight=False, markup=False)


def _report(
    snapshot: Snapshot,
    index: FoldIndex | SplitIndex,
    names: Sequence[str],
    parts: Sequence[str],
    kin: Kinship | None,
) -> Report:
    if EXCLUDED in parts:
        names = [*names, EXCLUDED]
    kin = kin or kinship(snapshot, index.near_duplicate_distance)
    counts = FoldReport.of(
        names,
        parts,
        [sample.subject for sample in snapshot.samples],
        [[box.class_id for box in sample.boxes] for sample in snapshot.samples],
        len(snapshot.classes),
        groups=kin.together,
        near=kin.near,
    )
    return {
        "snapshot_sha256": snapshot.sha256,
        "seed": index.seed,
        "near_duplicate_distance": index.near_duplicate_distance,
        "classes": list(snapshot.classes),
        "parts": counts.as_dict(),
    }


def _exclusion(report: Report) -> list[str]:
    excluded = [part["images"] for part in report["parts"] if part["part"] == EXCLUDED]
    return [
        f"{images} images are not trained on, because they are of subjects of the gold set or "
        "near-duplicates of its images."
        for images in excluded
    ]


def _table(title: str, report: Report) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("part")
    columns = ("images", "subjects", "near-dups", "negatives")
    for column in (*columns, *map(escape, report["classes"])):
        table.add_column(column, justify="right")
    keys = ("images", "subjects", "near_duplicate_groups", "negatives")
    for part in report["parts"]:
        numbers = (*(part[key] for key in keys), *part["boxes"])
        table.add_row(part["part"], *map(str, numbers))
    return table
