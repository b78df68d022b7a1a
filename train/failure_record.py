"""A stage that failed leaves an MLflow run with the status FAILED, and an audit event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from loop.errors import LoopError
from loop.events import Event, Outcome, Role
from loop.snapshots import Labels
from store.settings import Settings, load_settings
from store.snapshot_files import read_manifest
from store.tracking import EXPERIMENT, open_tracking
from store.unit_of_work import open_units_of_work
from train.paths import StagePaths
from train.run_record import FAILURE_TAG, code_version, dvc_rev

_Made = TypeVar("_Made")
# MLflow refuses longer ones (MAX_TAG_VAL_LENGTH in mlflow/utils/validation.py).
_LONGEST_TAG = 8000


def record_failure(stage: str, error: Exception) -> list[str]:
    """Put on record that ``stage`` of the workspace here ended with ``error``.

    Returns what kept it from being so, in MLflow or in the audit log: a part that is down must not
    hide the error itself. Where nothing was ever kept, there is no record to add to.
    """
    problems: list[str] = []
    settings = _tried(load_settings, problems)
    if settings is None or not (settings.home.exists() or settings.database_url):
        return problems
    failure = error.message if isinstance(error, LoopError) else f"{type(error).__name__}: {error}"
    prefix = f"{Labels.FIRST_REVIEWER.value}_"
    labels = Labels.FIRST_REVIEWER if stage.startswith(prefix) else Labels.ADJUDICATED
    snapshot_sha256 = _snapshot_sha256(labels)
    tags = {
        "loop.kind": stage.removeprefix(prefix),
        "loop.labels": labels.value,
        "loop.git_commit": code_version(),
        "loop.dvc_rev": dvc_rev(Path.cwd()),
        FAILURE_TAG: failure[:_LONGEST_TAG],
    }
    if snapshot_sha256:
        tags["loop.snapshot_sha256"] = snapshot_sha256
    run_id = _tried(lambda: _failed_run(settings, stage, tags), problems)
    event = Event(
        type="stage.failed",
        actor=settings.acting(Role.ENGINEER),
        subject={
            "stage": stage,
            "labels": labels.value,
            "snapshot_sha256": snapshot_sha256 or None,
            "mlflow_run_id": run_id,
        },
        outcome=Outcome.FAILED,
        reason=failure,
        run_id=run_id,
    )
    _tried(lambda: _record(settings, event), problems)
    return problems


def _failed_run(settings: Settings, stage: str, tags: dict[str, str]) -> str:
    tracking = open_tracking(settings)
    tracking.prepare()
    run_id = tracking.start_run(EXPERIMENT, f"{stage} failed", tags=tags, params={})
    tracking.end_run(run_id, ok=False)
    return run_id


def _record(settings: Settings, event: Event) -> None:
    with open_units_of_work(settings)() as uow:
        uow.record(event)
        uow.commit()


def _snapshot_sha256(labels: Labels) -> str:
    """The snapshot that lies here; empty without one, or if its manifest is what is broken."""
    try:
        return read_manifest(StagePaths(labels).snapshot).sha256
    except (LoopError, OSError):
        return ""


def _tried(action: Callable[[], _Made], problems: list[str]) -> _Made | None:
    try:
        return action()
    except Exception as error:  # whatever is wrong with the record, the stage's error comes first
        problems.append(error.message if isinstance(error, LoopError) else repr(error))
        return None
