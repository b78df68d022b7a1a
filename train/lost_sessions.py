"""Sessions whose process is gone: what it left running is ended, and its record is closed.

A process that was killed cannot say so: its runs would stand as RUNNING in MLflow for ever. The
next training, and whoever asks what can be resumed, says it instead.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from pathlib import Path

from loop.errors import Conflict
from loop.ports import UnitsOfWork
from store.audit_log import AuditLog
from store.tracking import Tracking
from train.run_record import CV_ID_TAG, FAILURE_TAG, RunRecord, reopen_record
from train.session_objects import SessionObjects
from train.session_state import (
    SEARCH,
    SessionState,
    SessionStatus,
    end_orphans,
    ended,
    is_alive,
    locked,
    remove,
    sessions,
)

LOST = "The process that ran it is gone."
# Sessions that did not end well are kept, to be taken up, until there are more than this.
_MOST_KEPT = 10
_RUNNING, _FINISHED = "RUNNING", "FINISHED"


def close_lost_sessions(
    storage: Path,
    tracking: Tracking,
    units: UnitsOfWork,
    log: AuditLog,
    objects: SessionObjects | None = None,
) -> None:
    """Put all of them on record as failed; the oldest ones are forgotten. Live ones stay.

    ``objects`` are those of all machines, which were brought here before.
    """
    for folder, state in sessions(storage):
        if state.status is SessionStatus.RUNNING and not is_alive(state, folder):
            with suppress(Conflict), locked(folder):  # or another process does it just now
                _close(folder, tracking, units, log, objects)
    _forget(storage, objects)


def _close(
    folder: Path,
    tracking: Tracking,
    units: UnitsOfWork,
    log: AuditLog,
    objects: SessionObjects | None,
) -> None:
    state = SessionState.read(folder)
    if state is None or state.status is not SessionStatus.RUNNING or is_alive(state, folder):
        return
    end_orphans(state)
    if not state.record:
        _close_unrecorded(state, tracking)
        _remove(folder, objects)
        return
    if tracking.run(state.run_id).status == _FINISHED:  # and then it was not removed
        _remove(folder, objects)
        return
    with nullcontext(True) if objects is None else objects.step(state, "lost") as mine:
        if not mine:
            return  # another machine puts it on record
        record = reopen_record(tracking, units, log, state.record)
        failure = f"{LOST} {resume_hint(state)}".strip()
        _close_folds(record, failure)
        record.end({}, failure=failure)
        ended(state, SessionStatus.LOST, LOST).write(folder)
        if objects is not None:
            objects.push(folder)


def resume_hint(state: SessionState) -> str:
    """Only whole trainings are resumed by a person: what is below one is taken up with it."""
    command = "search" if state.kind == SEARCH else "run"
    hint = f"Resume with: secondlook train {command} --resume {state.run_id[:8]}"
    return "" if state.parent else hint


def _close_folds(record: RunRecord, failure: str) -> None:
    for run in record.tracking.child_runs(record.run_id):
        if run.status == _RUNNING and run.tags.get("loop.kind") == "fold":
            record.end_fold(int(run.tags["loop.fold"]), run.run_id, {}, failure=failure)


def _close_unrecorded(state: SessionState, tracking: Tracking) -> None:
    """It ended while it opened its run: nothing was trained."""
    for run in tracking.runs({CV_ID_TAG: state.cv_id}, limit=100):
        if run.status == _RUNNING:
            tracking.set_tags(run.run_id, {FAILURE_TAG: LOST})
            tracking.end_run(run.run_id, ok=False)


def _remove(folder: Path, objects: SessionObjects | None) -> None:
    if objects is not None:
        objects.remove(folder.name)
    remove(folder)


def _forget(storage: Path, objects: SessionObjects | None) -> None:
    kept = 0
    for folder, state in sessions(storage):
        below = state.parent is not None and (storage / state.parent).is_dir()
        if state.status is SessionStatus.RUNNING or below:
            continue
        kept += 1
        if kept > _MOST_KEPT:
            with suppress(Conflict), locked(folder):
                _forget_below(storage, state.run_id, objects)
                _remove(folder, objects)


def _forget_below(storage: Path, run_id: str, objects: SessionObjects | None) -> None:
    for folder, state in sessions(storage):
        if state.parent == run_id and state.status is not SessionStatus.RUNNING:
            _remove(folder, objects)
