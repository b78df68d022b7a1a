"""Verifications that go on record: who had what checked, and how it came out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from loop.errors import LoopError
from loop.events import Actor, Event, Outcome, now
from loop.ports import UnitsOfWork
from loop.predictions import ModelRef
from loop.signed_notes import VerifierKey
from store.audit_log import AuditLog
from store.log_verify import Progress, Verified
from store.model_registry import ModelRegistry
from store.run_proofs import Proved, verify_run, verify_version
from store.tracking import Tracking


def check_log(
    log: AuditLog,
    units: UnitsOfWork,
    actor: Actor,
    key: VerifierKey | None = None,
    witnesses: Sequence[VerifierKey] = (),
    progress: Progress | None = None,
    *,
    witnessed: bool = False,
) -> Verified:
    """`AuditLog.verify`, on record. ``witnessed`` says that witnesses are asked by the settings."""
    head = log.head()
    subject = {"what": "log", "tree_size": head.size, "root_sha256": head.root}
    details = {"witnessed": witnessed or bool(witnesses)}
    with _recorded(units, actor, subject, details):
        return log.verify(key, witnesses, progress)


def check_run(
    tracking: Tracking, run_id: str, key: VerifierKey, units: UnitsOfWork, actor: Actor
) -> Proved:
    """`verify_run`, on record. A run that is not there is nothing to record."""
    tracking.run(run_id)
    with _recorded(units, actor, {"what": "run", "run_id": run_id}, {}):
        return verify_run(tracking, run_id, key)


def check_version(
    tracking: Tracking,
    registry: ModelRegistry,
    ref: ModelRef,
    key: VerifierKey,
    units: UnitsOfWork,
    actor: Actor,
) -> Proved:
    """`verify_version`, on record."""
    with _recorded(units, actor, {"what": "model", "model": ref.as_dict()}, {}):
        return verify_version(tracking, registry, ref.version, key)


@contextmanager
def _recorded(
    units: UnitsOfWork, actor: Actor, subject: dict[str, Any], details: dict[str, Any]
) -> Iterator[None]:
    started = now()
    failure: LoopError | None = None
    try:
        yield
    except LoopError as error:
        failure = error
        raise
    finally:
        event = Event(
            "audit.verified",
            actor,
            subject,
            details,
            Outcome.FAILED if failure else Outcome.DONE,
            failure.message if failure else "",
            started=started,
        )
        # A log that is broken takes nothing more: what is told is that.
        with suppress(LoopError) if failure else nullcontext(), units() as uow:
            uow.record(event)
            uow.commit()
