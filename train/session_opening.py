"""Opens a training session: a new one, or one that ended before it was done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop.errors import Conflict, NotFound, Unavailable
from loop.events import new_id, now
from store.audit_log import open_audit_log
from store.processes import ProcessRecord
from train.base_model import Base, BaseKind, resolve_base
from train.far_training import FarMirror, FarTraining
from train.fold_checkpoints import Checkpoints
from train.fold_job import read_state
from train.lost_sessions import close_lost_sessions
from train.run_record import RunRecord, reopen_record
from train.session_objects import SessionObjects, session_objects
from train.session_record import fingerprint_of, open_session_record
from train.session_state import (
    SessionState,
    SessionStatus,
    find_session,
    is_alive,
    locked,
    remove,
    sessions,
    show_life,
    storage_of,
)

if TYPE_CHECKING:
    from train.session import Context, Plan


@dataclass(slots=True)
class OpenSession:
    """``folder`` is its own, ``resumed`` whether it is not new. ``state`` is what was written.

    ``far`` is there if its workers may be on machines that share no disk with this one; then
    ``base_key`` is that of the weights, empty if every machine has them.
    """

    folder: Path
    state: SessionState
    record: RunRecord
    base: Base
    resumed: bool
    objects: SessionObjects | None = None
    far: FarTraining | None = None
    base_key: str = ""

    def note(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.state.write(self.folder)
        if self.objects is not None:
            self.objects.push(self.folder)

    def show_life(self) -> None:
        show_life(self.folder)
        if self.objects is not None:
            self.objects.show_life(self.folder)

    def close(self, failure: str, *, can_be_resumed: bool) -> bool:
        """It stays as far as there is something to take up; whether it does."""
        if failure and can_be_resumed and any(self.folder.glob("fold-*/checkpoint-*")):
            self.note(status=SessionStatus.FAILED, failure=failure)
            return True
        for folder, state in sessions(self.folder.parent):
            if state.parent == self.state.run_id:
                self._remove(folder)
        self._remove(self.folder)
        return False

    def _remove(self, folder: Path) -> None:
        if self.objects is not None:
            # What is left there does not undo the training: the next one removes it.
            with suppress(Unavailable):
                self.objects.remove(folder.name)
        remove(folder)


@contextmanager
def opened(
    plan: Plan, context: Context, *, parent: str | None, resume: str | None
) -> Iterator[OpenSession]:
    """A session of ``plan``, of which no other process has anything to say while this is open.

    Sessions that were lost are put on record first. Without ``resume``, one of the same plan
    that did not end well below the same ``parent`` is taken up. Raises `NotFound`, and
    `Conflict` for one that still runs or that was about something else, naming what changed.
    """
    context.tracking.prepare()
    storage = storage_of(context.settings.home)
    objects = session_objects(context.settings, storage)
    if objects is not None:
        objects.pull()
    log = open_audit_log(context.settings)
    close_lost_sessions(storage, context.tracking, context.units, log, objects)
    fingerprint = fingerprint_of(plan, context)
    folder = find_session(storage, resume)[0] if resume else None
    if folder is None and parent is not None:
        folder = _lost_below(storage, parent, plan.kind, fingerprint)
    if folder is None:
        with _new(plan, context, parent, fingerprint) as session:
            yield _shared(session, objects, context)
    else:
        with locked(folder):
            yield _taken_up(folder, context, fingerprint, objects)


def _shared(session: OpenSession, objects: SessionObjects | None, context: Context) -> OpenSession:
    """With what its workers need put where they find it."""
    if objects is None:
        return session
    far = FarTraining(objects.objects, session.state.run_id, context.snapshot.sha256)
    key = far.put_base(session.base.path)
    objects.push(session.folder)
    return replace(session, objects=objects, far=far, base_key=key)


@contextmanager
def _new(
    plan: Plan, context: Context, parent: str | None, fingerprint: Mapping[str, str]
) -> Iterator[OpenSession]:
    base = resolve_base(
        context.params,
        context.registry,
        workspace=context.workspace,
        cache=context.settings.model_cache,
        allow_downloads=context.settings.allow_downloads,
    )
    cv_id = new_id()
    storage = storage_of(context.settings.home)
    starting = storage / f"starting-{cv_id}"
    state = SessionState(
        run_id="",
        cv_id=cv_id,
        kind=plan.kind,
        labels=plan.labels.value,
        parent=parent,
        workspace=str(context.workspace.absolute()),
        started_at=now(),
        fingerprint=fingerprint,
        base=asdict(base) | {"path": str(base.path), "kind": base.kind.value},
        driver=ProcessRecord.own(),
        mark=new_id(),
    )
    with locked(starting):
        # First, so that whatever happens somebody can tell whose run it is.
        state.write(starting)
        try:
            record = open_session_record(plan, context, base, cv_id, parent)
        except BaseException:
            remove(starting)
            raise
        state = replace(state, run_id=record.run_id, record=record.as_dict())
        state.write(starting)
        folder = starting.rename(storage / record.run_id)
        yield OpenSession(folder, state, record, base, resumed=False)


def _taken_up(
    folder: Path,
    context: Context,
    fingerprint: Mapping[str, str],
    objects: SessionObjects | None,
) -> OpenSession:
    state = _resumable(folder, fingerprint)
    base = _same_base(state, folder, objects)
    if objects is None:
        return _take_up(folder, state, base, context)
    with objects.step(state, "taken") as mine:
        if not mine:
            raise Conflict(
                f"Run {state.run_id[:8]} was taken up on another machine just now.",
                hint="secondlook train run --list-resumable shows what can be taken up.",
            )
        _bring_folds(folder, context, objects)
        return _shared(_take_up(folder, state, base, context), objects, context)


def _resumable(folder: Path, fingerprint: Mapping[str, str]) -> SessionState:
    state = SessionState.read(folder)
    if state is None or not state.record:
        raise NotFound(f"{folder} holds no session.")
    if is_alive(state, folder):
        raise Conflict(f"Run {state.run_id[:8]} is still running, as process {state.driver.pid}.")
    changes = state.changed(fingerprint)
    if changes:
        raise Conflict(
            f"Run {state.run_id[:8]} cannot be resumed: {'; '.join(changes)}.",
            hint="Put it back as it was, or start a new training.",
        )
    return state


def _take_up(folder: Path, state: SessionState, base: Base, context: Context) -> OpenSession:
    log = open_audit_log(context.settings)
    record = reopen_record(context.tracking, context.units, log, state.record)
    record.resume(state.failure, {"epochs": _epochs(folder)})
    taken = replace(
        state,
        driver=ProcessRecord.own(),
        mark=new_id(),
        ray=(),
        status=SessionStatus.RUNNING,
        failure="",
    )
    taken.write(folder)
    return OpenSession(folder, taken, record, base, resumed=True)


def _bring_folds(folder: Path, context: Context, objects: SessionObjects) -> None:
    """What the folds of a session have come to, from the bucket."""
    far = FarTraining(objects.objects, folder.name, context.snapshot.sha256)
    for fold in far.folds():
        FarMirror(far.fold(fold), folder / f"fold-{fold}").complete()


def _same_base(state: SessionState, folder: Path, objects: SessionObjects | None) -> Base:
    """The base that the session began with: ``champion`` may mean another model by now."""
    path, kind = Path(state.base["path"]), BaseKind(state.base["kind"])
    if objects is not None and not path.is_file():
        path = objects.bring_base(state.run_id, path.name, folder) or path
    # Ultralytics' architectures have no file of that name.
    if kind is not BaseKind.ARCHITECTURE and not path.is_file():
        raise Conflict(
            f"Run {state.run_id[:8]} cannot be resumed: the weights {path} are gone.",
            hint="Put them back, or start a new training.",
        )
    return Base(path, state.base["sha256"], kind, state.base["note"])


def _lost_below(
    storage: Path, parent: str, kind: str, fingerprint: Mapping[str, str]
) -> Path | None:
    for folder, state in sessions(storage):
        same = (state.parent, state.kind) == (parent, kind) and not state.changed(fingerprint)
        if same and state.status is not SessionStatus.RUNNING:
            return folder
    return None


def _epochs(folder: Path) -> dict[str, int]:
    """How many epochs of each fold are safe."""
    found = {}
    for fold in sorted(folder.glob("fold-*")):
        newest = Checkpoints(fold).newest()
        found[fold.name.removeprefix("fold-")] = len(read_state(newest).history) if newest else 0
    return found
