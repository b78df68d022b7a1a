"""Which trainings can be taken up, and by which stage of which workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loop.errors import Conflict
from loop.snapshots import Labels
from store.audit_log import open_audit_log
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train.far_training import follow_folds
from train.fold_checkpoints import Checkpoints
from train.fold_job import read_state
from train.lost_sessions import close_lost_sessions
from train.session_objects import SessionObjects, session_objects
from train.session_state import (
    SessionState,
    SessionStatus,
    find_session,
    sessions,
    storage_of,
)

_OVER = (SessionStatus.FAILED, SessionStatus.LOST)
_STAGES = {"cv": "kfold_model_training", "standard": "model_training"}


@dataclass(frozen=True, slots=True)
class Resumable:
    """``epochs`` says of each fold that was begun how many are safe; ``failure`` why it ended."""

    run_id: str
    stage: str
    workspace: Path
    started_at: str
    failure: str
    epochs: Mapping[int, int]


def resumable(settings: Settings) -> list[Resumable]:
    """The newest first. Those whose process is gone are put on record as failed."""
    storage, objects = _closed(settings)
    return [
        _described(folder, state, objects)
        for folder, state in sessions(storage)
        if state.parent is None and state.kind in _STAGES and state.status in _OVER
    ]


def find_resumable(settings: Settings, run: str) -> Resumable:
    """By MLflow run id, the beginning of one, or ``last``. Raises `NotFound`, `Conflict`."""
    storage, objects = _closed(settings)
    folder, state = find_session(storage, run)
    if state.status is SessionStatus.RUNNING:
        raise Conflict(
            f"Run {state.run_id[:8]} is still running, as process {state.driver.pid} on "
            f"{state.driver.host}.",
            hint="Wait for it, or interrupt it first.",
        )
    return _described(folder, state, objects)


def _closed(settings: Settings) -> tuple[Path, SessionObjects | None]:
    storage = storage_of(settings.home)
    objects = session_objects(settings, storage)
    if objects is not None:
        objects.pull()
    tracking, log = open_tracking(settings), open_audit_log(settings)
    close_lost_sessions(storage, tracking, open_units_of_work(settings), log, objects)
    return storage, objects


def _described(folder: Path, state: SessionState, objects: SessionObjects | None) -> Resumable:
    epochs = {}
    if objects is not None:
        follow_folds(folder, objects.objects)
    workspace = Path(state.workspace)
    for fold in folder.glob("fold-*"):
        newest = Checkpoints(fold).latest()
        if newest is not None:
            epochs[int(fold.name.removeprefix("fold-"))] = len(read_state(newest).history)
    prefix = "" if state.labels == Labels.ADJUDICATED else f"{state.labels}_"
    return Resumable(
        run_id=state.run_id,
        stage=f"{prefix}{_STAGES[state.kind]}",
        # One that was trained on another machine goes on in the workspace that is here.
        workspace=workspace if state.driver.is_here or workspace.is_dir() else Path.cwd(),
        started_at=state.started_at,
        failure=state.failure,
        epochs=dict(sorted(epochs.items())),
    )
