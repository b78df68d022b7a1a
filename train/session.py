"""A training session: splits of one snapshot, trained side by side and put on record."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop.errors import BrokenRecord, LoopError, NotEnoughData, TrainingFailed
from loop.events import new_id
from loop.ports import UnitsOfWork
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.model_registry import ModelRegistry
from store.settings import Settings
from store.snapshot_files import Snapshot
from store.tracking import Tracking
from train.base_model import Base, resolve_base
from train.fold_job import FoldOutcome, FoldTask
from train.fold_runner import Resources, run_folds
from train.fold_table import FoldTable
from train.params import Params
from train.results import FoldRow, row_of
from train.run_record import RunRecord, code_version, dvc_rev, open_record
from train.stage import out as console
from train.training import TrainSpec

# A fold whose GPU Ray chose sees that one only, as the first.
_GPU, _CPU = "0", "cpu"


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the snapshot to train on and to validate on. ``fold`` is its number, from 0."""

    fold: int
    train_rows: tuple[int, ...]
    val_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train. ``kind`` is the tag ``loop.kind``, ``noun`` the beginning of its events.

    ``index_name`` and ``index_sha256`` name the file that the splits come from; ``out`` is the
    folder for results, relative to the workspace. With ``one_run`` the only split is logged to
    the session's own run.
    """

    kind: str
    noun: str
    labels: Labels
    splits: tuple[Split, ...]
    index_name: str
    index_sha256: str
    out: Path
    one_run: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a session works with."""

    settings: Settings
    params: Params
    snapshot: Snapshot
    units: UnitsOfWork
    tracking: Tracking
    registry: ModelRegistry
    workspace: Path


@dataclass(frozen=True, slots=True)
class Trained:
    """All splits of a plan, trained; the record is still open."""

    record: RunRecord
    outcomes: tuple[FoldOutcome, ...]
    rows: tuple[FoldRow, ...]


@contextmanager
def training(plan: Plan, context: Context) -> Iterator[Trained]:
    """Train every split of ``plan``, and hand over what came out of it.

    Whoever takes it ends the record. A session that fails or is interrupted, up to there, is put
    on record as that. Raises `TrainingFailed` naming the folds that failed.
    """
    _check(plan, context.snapshot)
    base = resolve_base(
        context.params,
        context.registry,
        workspace=context.workspace,
        cache=context.settings.model_cache,
        allow_downloads=context.settings.allow_downloads,
    )
    console.print(f"Training starts from {base.note}.", highlight=False, markup=False)
    shutil.rmtree(plan.out, ignore_errors=True)
    plan.out.mkdir(parents=True)
    record = _open(plan, context, base)
    try:
        outcomes = _Session(plan, context, base, record).run()
        failed = [outcome for outcome in outcomes if outcome.result is None]
        if failed:
            raise TrainingFailed(
                "; ".join(f"Fold {o.task.fold} failed: {o.reason}" for o in failed),
                hint=failed[0].hint or f"MLflow run {record.run_id} has the record.",
            )
        rows = tuple(row_of(outcome) for outcome in outcomes)
        yield Trained(record, tuple(outcomes), rows)
    except BaseException as error:
        record.end({}, failure=_failure(error))
        raise


class _Session:
    def __init__(self, plan: Plan, context: Context, base: Base, record: RunRecord) -> None:
        self._plan = plan
        self._context = context
        self._base = base
        self._record = record
        self._open_folds: dict[str, int] = {}

    def run(self) -> list[FoldOutcome]:
        title = "Training" if self._plan.one_run else f"Training {len(self._plan.splits)} folds"
        try:
            with FoldTable(console, title, self._context.tracking.latest_metrics) as table:
                return self._run(table)
        except BaseException as error:
            for run_id, fold in self._open_folds.items():
                self._record.end_fold(fold, run_id, {}, failure=_failure(error))
            raise

    def _run(self, table: FoldTable) -> list[FoldOutcome]:
        params = self._context.params
        tasks = [self._task(split) for split in self._plan.splits]
        for task in tasks:
            name = "run" if self._plan.one_run else f"fold {task.fold}"
            table.add(name, task.run_id, params.EPOCHS)

        def on_end(outcome: FoldOutcome) -> None:
            self._end(outcome)
            state = "done" if outcome.result else f"failed: {outcome.reason}"
            table.end(outcome.task.run_id, state)

        return run_folds(
            tasks,
            self._context.settings,
            Resources(params.CPUS_PER_FOLD, params.GPUS_PER_FOLD),
            name=f"{self._plan.noun}-{self._record.run_id}",
            out=self._plan.out,
            on_end=on_end,
            on_wait=table.update,
        )

    def _task(self, split: Split) -> FoldTask:
        settings, params = self._context.settings, self._context.params
        sizes = {"train_images": len(split.train_rows), "val_images": len(split.val_rows)}
        run_id = self._record.run_id
        if not self._plan.one_run:
            run_id = self._record.start_fold(split.fold, _logged_params(params), sizes)
            self._open_folds[run_id] = split.fold
        return FoldTask(
            fold=split.fold,
            run_id=run_id,
            snapshot=self._context.snapshot.folder.absolute(),
            train_rows=split.train_rows,
            val_rows=split.val_rows,
            spec=TrainSpec(
                base=self._base.path,
                folder=Path(),  # the worker's
                epochs=params.EPOCHS,
                batch_size=params.BATCH_SIZE,
                image_size=params.IMG_SIZE,
                patience=params.PATIENCE,
                seed=params.SEED,
                device=_GPU if params.GPUS_PER_FOLD else _CPU,
                threads=max(1, int(params.CPUS_PER_FOLD)),
                hyperparameters=params.train,
            ),
            tracking_uri=settings.tracking,
            artifacts=settings.artifacts,
            config_dir=settings.home / "ultralytics",
        )

    def _end(self, outcome: FoldOutcome) -> None:
        task, details = outcome.task, dict[str, Any]()
        if outcome.result is not None:
            details = {
                "metrics": dict(outcome.result.metrics),
                "epochs": outcome.result.epochs,
                "seconds": outcome.result.seconds,
            }
            self._context.tracking.log_file(task.run_id, outcome.folder / "results.csv")
        if not self._plan.one_run:
            self._open_folds.pop(task.run_id)
            self._record.end_fold(task.fold, task.run_id, details, failure=outcome.reason)


def _check(plan: Plan, snapshot: Snapshot) -> None:
    """No split without images, and no gold image in any of them."""
    for split in plan.splits:
        if not split.train_rows or not split.val_rows:
            raise NotEnoughData(
                f"Fold {split.fold} has {len(split.train_rows)} images to train on and "
                f"{len(split.val_rows)} to validate on.",
                hint="Annotate more images, or lower K_FOLDS.",
            )
        if any(snapshot.samples[row].gold for row in (*split.train_rows, *split.val_rows)):
            raise BrokenRecord(
                f"Fold {split.fold} holds a gold image, which no training may see.",
                hint="Make the split anew with `dvc repro -f`.",
            )


def _open(plan: Plan, context: Context, base: Base) -> RunRecord:
    subject = {
        "snapshot_sha256": context.snapshot.sha256,
        f"{plan.index_name}_sha256": plan.index_sha256,
        "base_weights_sha256": base.sha256,
    }
    tags = {
        "loop.cv_id": new_id(),
        "loop.labels": plan.labels.value,
        "loop.dvc_rev": dvc_rev(context.workspace),
        "loop.snapshot_sha256": context.snapshot.sha256,
        f"loop.{plan.index_name}_sha256": plan.index_sha256,
        "loop.git_commit": code_version(),
        "loop.base_weights_sha256": base.sha256,
        "loop.base_kind": base.kind.value,
        "loop.seed": str(context.params.SEED),
    }
    params = _logged_params(context.params)
    record = open_record(
        context.tracking,
        context.units,
        open_audit_log(context.settings),
        kind=plan.kind,
        noun=plan.noun,
        pseudonym=context.settings.actor,
        subject=subject,
        tags=tags,
        params=params,
    )
    record.start({"params": params, "splits": len(plan.splits), "labels": plan.labels.value})
    return record


def _logged_params(params: Params) -> dict[str, Any]:
    values = params.model_dump()
    hyperparameters: Mapping[str, Any] = values.pop("train")
    return values | {f"train.{name}": value for name, value in hyperparameters.items()}


def _failure(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return error.message if isinstance(error, LoopError) else f"{type(error).__name__}: {error}"
