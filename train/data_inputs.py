"""Which data each run of a training worked on, as MLflow's data set inputs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loop.events import canonical_json
from store.data_inputs import DataInput
from store.snapshot_files import Snapshot

if TYPE_CHECKING:
    from train.fold_job import FoldTask
    from train.run_record import RunRecord
    from train.session import Context, Plan

# The columns of the snapshot's shards that a training reads, in MLflow's types.
_COLUMNS = {
    "image_id": "string",
    "bytes": "binary",
    "width": "integer",
    "height": "integer",
    "subject": "string",
    "gold": "boolean",
    "boxes": "string",
}
_TRAINING, _VALIDATION, _BOTH = "training", "validation", "cross-validation"


def log_snapshot_input(context: Context, plan: Plan, record: RunRecord) -> None:
    """For the session's run, if that is not its only fold's: all that its folds share."""
    if plan.one_run:
        return
    rows = sorted({row for split in plan.splits for row in split.train_rows + split.val_rows})
    name = f"{plan.labels.value} snapshot"
    sha256 = context.snapshot.sha256
    whole = _input(context, plan, record, name, _BOTH, rows, sha256)
    context.tracking.log_inputs(record.run_id, whole)


def log_fold_inputs(context: Context, plan: Plan, record: RunRecord, task: FoldTask) -> None:
    """For the run of a fold: what it trains on, and what it validates on."""
    part = plan.labels.value if plan.one_run else f"{plan.labels.value} fold {task.fold}"
    inputs = [
        _input(context, plan, record, f"{part} {use}", use, rows)
        for use, rows in ((_TRAINING, task.train_rows), (_VALIDATION, task.val_rows))
        if rows
    ]
    context.tracking.log_inputs(task.run_id, *inputs)


def _input(
    context: Context,
    plan: Plan,
    record: RunRecord,
    name: str,
    use: str,
    rows: Sequence[int],
    sha256: str = "",
) -> DataInput:
    """Rows of the snapshot. ``sha256`` names them, if they have one already."""
    snapshot = context.snapshot
    try:
        source = snapshot.folder.resolve().relative_to(context.workspace.resolve()).as_posix()
    except ValueError:  # from elsewhere
        source = snapshot.folder.as_posix()
    return DataInput(
        name=name,
        sha256=sha256 or _sha256_of(snapshot, rows),
        source=source,
        context=use,
        columns=_COLUMNS,
        profile=profile(snapshot, rows),
        more={"snapshot_sha256": snapshot.sha256},
        tags={
            "loop.snapshot_sha256": snapshot.sha256,
            f"loop.{plan.index_name}_sha256": plan.index_sha256,
            "loop.dvc_rev": record.tags["loop.dvc_rev"],
        },
    )


def _sha256_of(snapshot: Snapshot, rows: Sequence[int]) -> str:
    """Of the part: the snapshot, labels and all, and which of its images."""
    image_ids = sorted(snapshot.samples[row].image_id for row in rows)
    named = {"snapshot_sha256": snapshot.sha256, "image_ids": image_ids}
    return hashlib.sha256(canonical_json(named)).hexdigest()


def profile(snapshot: Snapshot, rows: Sequence[int]) -> dict[str, Any]:
    samples = [snapshot.samples[row] for row in rows]
    boxes = Counter(box.class_id for sample in samples for box in sample.boxes)
    return {
        "images": len(samples),
        "subjects": len({sample.subject for sample in samples}),
        "negatives": sum(not sample.boxes for sample in samples),
        "boxes": boxes.total(),
        "boxes_per_class": {name: boxes[index] for index, name in enumerate(snapshot.classes)},
    }
