"""A training session: splits of one snapshot, trained side by side and put on record.

What becomes of it when a process dies: a worker or a trainer is started again
(`train.fold_runner`), and a session whose own process died is taken up by another one
(`train.session_opening`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loop.errors import LoopError, NotEnoughData, TrainingFailed, TrainingStopped
from loop.ports import UnitsOfWork
from loop.snapshots import Labels
from store.model_registry import ModelRegistry
from store.settings import Settings
from store.snapshot_files import Snapshot
from store.tracking import Tracking
from train.fold_job import FoldOutcome, run_fold
from train.fold_worker import FoldJob
from train.lost_sessions import resume_hint
from train.params import Params, Precision
from train.results import FoldRow, row_of
from train.run_record import RunRecord
from train.session_folds import SessionFolds, Watch
from train.session_opening import OpenSession, opened
from train.splitting import check_no_leakage
from train.stage import out as console


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
    the session's own run. A plan that does not validate has splits without validation rows.
    ``tags`` are put on its runs besides those that every session has.
    """

    kind: str
    noun: str
    labels: Labels
    splits: tuple[Split, ...]
    index_name: str
    index_sha256: str
    out: Path
    one_run: bool = False
    validates: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


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
    """All splits of a plan, trained; the record is still open. ``rows`` are of a plan that
    validates."""

    record: RunRecord
    outcomes: tuple[FoldOutcome, ...]
    rows: tuple[FoldRow, ...]


@contextmanager
def training(
    plan: Plan,
    context: Context,
    *,
    parent: str | None = None,
    resume: str | None = None,
    watch: Watch | None = None,
    job: FoldJob = run_fold,
) -> Iterator[Trained]:
    """Train every split of ``plan``, and hand over what came out of it.

    Whoever takes it ends the record. A session that fails or is interrupted, up to there, is put
    on record as that. ``parent`` is the MLflow run that its run goes below. ``resume`` (else
    ``SECONDLOOK_RESUME``, without a parent) is the run of an earlier session to take up, as in
    `find_session`. ``watch`` is told about once a second what is new, and may raise
    `TrainingStopped`. Raises `TrainingFailed` naming the folds that failed.
    """
    _check(plan, context)
    resume = resume or (context.settings.resume if parent is None else "")
    with opened(plan, context, parent=parent, resume=resume or None) as session:
        verb = "goes on with" if session.resumed else "starts from"
        console.print(f"Training {verb} {session.base.note}.", highlight=False, markup=False)
        _warn_of_precision(context.params)
        folds = SessionFolds(plan, context, session, watch, job)
        try:
            with _disk_errors():
                outcomes = tuple(_run(plan, folds))
            _check_all_trained(outcomes, session.record.run_id)
            rows = tuple(map(row_of, outcomes)) if plan.validates else ()
            yield Trained(session.record, outcomes, rows)
        except BaseException as error:
            _close(session, folds, error)
            raise
        session.close("", can_be_resumed=False)


def _run(plan: Plan, folds: SessionFolds) -> list[FoldOutcome]:
    shutil.rmtree(plan.out, ignore_errors=True)
    plan.out.mkdir(parents=True)
    return folds.run()


@contextmanager
def _disk_errors() -> Iterator[None]:
    """An `OSError`, such as that of a full disk, becomes `TrainingFailed`."""
    try:
        yield
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        raise TrainingFailed(
            f"Files of the training cannot be written: {error.strerror or error}{place}.",
            hint="Make room on that disk, then resume the run.",
        ) from error


def _close(session: OpenSession, folds: SessionFolds, error: BaseException) -> None:
    """Put on record that the session failed, or was stopped."""
    stopped, failure = isinstance(error, TrainingStopped), _failure(error)
    # What ended the session is what the user must hear of, not that a full disk takes no record
    # of it either: then the next session finds this one lost.
    with suppress(LoopError, OSError):
        folds.close(failure, stopped=stopped)
        session.record.end({}, failure=failure, stopped=stopped)
        kept = session.close(failure, can_be_resumed=not stopped)
        if kept and (hint := resume_hint(session.state)):
            console.print(hint, highlight=False, markup=False)
        if isinstance(error, LoopError):
            error.recorded = True


def _warn_of_precision(params: Params) -> None:
    if params.PRECISION is Precision.BF16 and not params.GPUS_PER_FOLD:
        from train.precision import precision_warning  # imports torch

        warning = precision_warning(params.PRECISION, "cpu")
        if warning:
            console.print(warning, style="yellow", highlight=False, markup=False)


def _check(plan: Plan, context: Context) -> None:
    """No split without images, none that holds gold images, none that leaks."""
    for split in plan.splits:
        if not split.train_rows or (plan.validates and not split.val_rows):
            raise NotEnoughData(
                f"Fold {split.fold} has {len(split.train_rows)} images to train on and "
                f"{len(split.val_rows)} to validate on.",
                hint="Annotate more images, or lower K_FOLDS.",
            )
    sides = [(split.train_rows, split.val_rows) for split in plan.splits]
    check_no_leakage(context.snapshot, sides, context.params.NEAR_DUPLICATE_DISTANCE)


def _check_all_trained(outcomes: tuple[FoldOutcome, ...], run_id: str) -> None:
    failed = [outcome for outcome in outcomes if outcome.result is None]
    if failed:
        raise TrainingFailed(
            "; ".join(f"Fold {o.task.fold} failed: {o.reason}" for o in failed),
            hint=failed[0].hint or f"MLflow run {run_id} has the record.",
        )


def _failure(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted"
    return error.message if isinstance(error, LoopError) else f"{type(error).__name__}: {error}"
