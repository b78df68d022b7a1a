"""What a training leaves behind: its MLflow runs and its audit events."""

from __future__ import annotations

import importlib.metadata
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loop.accounts import stamp
from loop.errors import Misconfigured
from loop.events import Actor, Authentication, Event, Outcome, Role, now
from loop.ports import UnitsOfWork
from store.audit_log import AuditLog
from store.run_proofs import DATASET_TAG, RunProofs, params_sha256
from store.tracking import EXPERIMENT, Tracking
from store.workspace import Workspace

# What a training starts from: digests, each with `_sha256` behind its name in the subject.
_INPUTS = ("snapshot", "folds", "split", "base_weights")
CV_ID_TAG = "loop.cv_id"
JOB_TAG = "loop.job_id"
FAILURE_TAG, STOPPED_TAG = "loop.failure", "loop.stopped"
# MLflow refuses longer ones (MAX_TAG_VAL_LENGTH in mlflow/utils/validation.py).
_LONGEST_TAG = 8000
_PACKAGE = Path(__file__).parents[1]


@dataclass(slots=True)
class RunRecord:
    """One training, from its start on: ``run_id`` in MLflow, ``cause`` the event that opened it.

    Events are written before something happens outside the database and after it.
    """

    tracking: Tracking
    units: UnitsOfWork
    log: AuditLog
    actor: Actor
    noun: str
    run_id: str
    subject: dict[str, Any]
    tags: dict[str, str]
    started_ms: int
    cause: str = ""
    # When each fold that trains now began to, or to go on.
    fold_starts: dict[int, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What `reopen_record` needs to go on with it in another process."""
        own = ("noun", "run_id", "subject", "tags", "started_ms", "cause")
        return {name: getattr(self, name) for name in own} | {
            "actor": self.actor.pseudonym,
            "authenticated_by": self.actor.authenticated_by.value,
        }

    def start(self, details: Mapping[str, Any]) -> None:
        self.cause = self._event(f"{self.noun}.started", details, Outcome.INTENDED)

    def resume(self, reason: str, details: Mapping[str, Any]) -> None:
        """Open the run again; ``reason`` is why it had ended."""
        self.tracking.reopen(self.run_id)
        self._event(f"{self.noun}.resumed", details, Outcome.INTENDED, reason)

    def end(self, details: Mapping[str, Any], failure: str = "", *, stopped: bool = False) -> None:
        """Close the run and the record, as failed if ``failure`` says why, or as stopped."""
        self._close(self.run_id, failure, stopped)
        outcome = Outcome.FAILED if failure else Outcome.DONE
        began = stamp(datetime.fromtimestamp(self.started_ms / 1000, UTC))
        event_id = self._event(f"{self.noun}.ended", details, outcome, failure, started=began)
        self._tag(self.run_id, event_id)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log results of the whole run: once, however often it is resumed."""
        self.tracking.log_metrics(self.run_id, metrics, 0, at_ms=self.started_ms)

    def start_fold(self, fold: int, params: Mapping[str, Any], details: Mapping[str, Any]) -> str:
        """Open the child run of a fold and return its id."""
        tags = self.tags | {"loop.kind": "fold", "loop.fold": str(fold)}
        run_id = self.tracking.start_run(
            EXPERIMENT, f"fold {fold}", tags=tags, params=params, parent=self.run_id
        )
        self._fold_event("fold.started", fold, run_id, details, Outcome.INTENDED)
        return run_id

    def resume_fold(self, fold: int, run_id: str, details: Mapping[str, Any]) -> None:
        self.tracking.reopen(run_id)
        self._fold_event("fold.resumed", fold, run_id, details, Outcome.INTENDED)

    def end_fold(
        self,
        fold: int,
        run_id: str,
        details: Mapping[str, Any],
        failure: str = "",
        *,
        stopped: bool = False,
    ) -> None:
        self._close(run_id, failure, stopped)
        outcome = Outcome.FAILED if failure else Outcome.DONE
        event_id = self._fold_event("fold.ended", fold, run_id, details, outcome, failure)
        self._tag(run_id, event_id)

    def note(self, type: str, subject: Mapping[str, Any], details: Mapping[str, Any]) -> str:
        """Record something that the training did; the event's id."""
        return self._event(type, details, Outcome.DONE, subject=subject)

    def _close(self, run_id: str, failure: str, stopped: bool) -> None:
        if failure:
            tag = STOPPED_TAG if stopped else FAILURE_TAG
            self.tracking.set_tags(run_id, {tag: failure[:_LONGEST_TAG]})
        self.tracking.end_run(run_id, ok=not failure, killed=stopped)

    def _tag(self, run_id: str, event_id: str) -> None:
        """Give the run its last event, and the proof that it is in the log."""
        RunProofs(self.tracking, self.log).attach_to_run(run_id, event_id)

    def _fold_event(
        self,
        type: str,
        fold: int,
        run_id: str,
        details: Mapping[str, Any],
        outcome: Outcome,
        reason: str = "",
    ) -> str:
        began = self.fold_starts.pop(fold, "")
        if outcome is Outcome.INTENDED:
            began = self.fold_starts[fold] = now()
        subject = {"fold": fold, "fold_run_id": run_id}
        return self._event(
            type, details, outcome, reason, subject=subject, started=began, fold=fold, run_id=run_id
        )

    def _event(
        self,
        type: str,
        details: Mapping[str, Any],
        outcome: Outcome,
        reason: str = "",
        subject: Mapping[str, Any] | None = None,
        *,
        started: str = "",
        fold: int | None = None,
        run_id: str = "",
    ) -> str:
        event = Event(
            type=type,
            actor=self.actor,
            subject=self.subject | {"mlflow_run_id": self.run_id} | dict(subject or {}),
            details=details,
            outcome=outcome,
            reason=reason,
            cause=self.cause or None,
            started=started,
            inputs=self._inputs(run_id or self.run_id, ended=outcome is not Outcome.INTENDED),
            run_id=run_id or self.run_id,
            fold=fold,
        )
        with self.units() as uow:
            uow.record(event)
            uow.commit()
        return event.id

    def _inputs(self, run_id: str, *, ended: bool) -> dict[str, str]:
        """Digests of what it rests on; at its end, of the params that MLflow has, too."""
        found = {name: self.subject.get(f"{name}_sha256") for name in _INPUTS}
        found["dataset_root"] = self.tags.get(DATASET_TAG)
        if ended:
            found["params"] = params_sha256(self.tracking.run(run_id).params)
        return {name: digest for name, digest in found.items() if digest}


def open_record(
    tracking: Tracking,
    units: UnitsOfWork,
    log: AuditLog,
    *,
    kind: str,
    noun: str,
    actor: Actor,
    subject: Mapping[str, Any],
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    parent: str | None = None,
    job: str = "",
) -> RunRecord:
    """Open the MLflow run of a training, below ``parent``. ``kind`` is its tag ``loop.kind``;
    ``job`` is the job of Ray that it is part of, if any. Raises `Misconfigured` where the proofs
    that it gets at its end could not be made."""
    log.reader()
    if job:
        subject, tags = {**subject, "job_id": job}, {**tags, JOB_TAG: job}
    tracking.prepare()
    run_id = tracking.start_run(
        EXPERIMENT,
        f"{noun} {tags[CV_ID_TAG][:8]}",
        tags=dict(tags) | {"loop.kind": kind},
        params=params,
        parent=parent,
    )
    return RunRecord(
        tracking,
        units,
        log,
        actor,
        noun,
        run_id,
        dict(subject),
        dict(tags),
        int(time.time() * 1000),
    )


def reopen_record(
    tracking: Tracking, units: UnitsOfWork, log: AuditLog, raw: Mapping[str, Any]
) -> RunRecord:
    """From `RunRecord.as_dict`, by whoever began it; the run itself is not touched."""
    method = Authentication(raw.get("authenticated_by", Authentication.UNKNOWN))
    own = {name: value for name, value in raw.items() if name not in ("actor", "authenticated_by")}
    return RunRecord(
        tracking=tracking,
        units=units,
        log=log,
        actor=Actor(raw["actor"], Role.ENGINEER, method),
        **own,
    )


def dvc_rev(folder: Path) -> str:
    """The workspace's revision; empty where there is none to know."""
    try:
        return Workspace(folder).rev()
    except Misconfigured:
        return ""


def code_version() -> str:
    """The commit of this code (``-dirty`` with local changes), else the version of the package.

    Code that came with a job (`cluster.job_package`) says it in a file.
    """
    told = _PACKAGE / "CODE_VERSION"
    if told.is_file():
        return told.read_text(encoding="utf-8").strip()
    tracked = _git("ls-files", "--error-unmatch", str(Path(__file__)))
    commit = _git("rev-parse", "HEAD") if tracked else ""
    if commit:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return f"{commit}-dirty" if changed else commit
    return f"second-look {importlib.metadata.version('second-look')}"


def _git(*arguments: str) -> str:
    command: Sequence[str] = ["git", "-C", str(_PACKAGE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
