"""A search as a session on disk, so that what is left of one whose process died can be found.

Its trials are sessions below it (`train.session`), with the checkpoints of their folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from loop.errors import Conflict, LoopError, TrainingFailed
from loop.events import new_id, now
from store.processes import ProcessRecord
from train.lost_sessions import close_lost_sessions
from train.run_record import CV_ID_TAG, RunRecord
from train.session_state import (
    SEARCH,
    SessionState,
    SessionStatus,
    is_alive,
    locked,
    remove,
    sessions,
    show_life,
    storage_of,
)

_SHOW_LIFE_EVERY_S = 10.0
# Processes that Ray kills are gone in less.
_MOST_WAIT_S, _POLL_S = 10.0, 0.2


@dataclass(slots=True)
class SearchSession:
    """``folder`` is the search's own, for scratch files as well."""

    folder: Path
    state: SessionState
    _shown_life: float = field(default=float("-inf"))

    def note_ray(self, processes: Sequence[ProcessRecord]) -> None:
        """The first processes of a Ray of its own."""
        self.state = replace(self.state, ray=tuple(processes))
        self.state.write(self.folder)

    def show_life(self) -> None:
        """To be called all the time."""
        if time.monotonic() - self._shown_life > _SHOW_LIFE_EVERY_S:
            show_life(self.folder)
            self._shown_life = time.monotonic()


@contextmanager
def search_session(
    home: Path, workspace: Path, labels: str, record: RunRecord, console: Console
) -> Iterator[SearchSession]:
    """Nobody else runs the search while this is open. Raises `Conflict` if somebody does.

    A search that does not end well is put on record, and its files stay for whoever resumes it.
    """
    storage = storage_of(home)
    folder = storage / record.run_id
    with locked(folder):
        state = SessionState(
            run_id=record.run_id,
            cv_id=record.tags[CV_ID_TAG],
            kind=SEARCH,
            labels=labels,
            parent=None,
            workspace=str(workspace),
            started_at=now(),
            fingerprint={},
            base={},
            driver=ProcessRecord.own(),
            mark=new_id(),
            record=record.as_dict(),
        )
        state.write(folder)
        session = SearchSession(folder, state)
        try:
            yield session
        except BaseException as error:
            with suppress(LoopError, OSError):  # what ended it is what the user must hear of
                _close(storage, session, record, error)
            if not isinstance(error, TrainingFailed):
                short = record.run_id[:8]
                console.print(f"Go on with: secondlook train search --resume {short}")
            raise
        _forget(storage, record.run_id)


def close_lost_search(home: Path, record: RunRecord) -> str:
    """Put a search whose process is gone on record as that, and end what it left running.

    Returns why it had ended, as far as that is known. Raises `Conflict` if it still runs.
    """
    storage = storage_of(home)
    close_lost_sessions(storage, record.tracking, record.units, record.log)
    state = SessionState.read(storage / record.run_id)
    if state is not None and is_alive(state, storage / record.run_id):
        raise Conflict(
            f"Search {record.run_id[:8]} is still running, as process {state.driver.pid}.",
            hint="Wait until it has ended, or end it with Ctrl-C.",
        )
    return state.failure if state is not None else ""


def _close(storage: Path, session: SearchSession, record: RunRecord, error: BaseException) -> None:
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    failure = "interrupted" if interrupted else getattr(error, "message", "") or repr(error)
    _wait_until(lambda: not _alive_below(storage, record.run_id))
    close_lost_sessions(storage, record.tracking, record.units, record.log)
    record.end({}, failure=failure, stopped=interrupted)
    if isinstance(error, LoopError):
        error.recorded = True
    if isinstance(error, TrainingFailed):
        _forget(storage, record.run_id)
        return
    replace(session.state, status=SessionStatus.FAILED, failure=failure).write(session.folder)


def _alive_below(storage: Path, run_id: str) -> bool:
    below = [(state, folder) for folder, state in sessions(storage) if state.parent == run_id]
    return any(is_alive(state, folder) for state, folder in below)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _MOST_WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _forget(storage: Path, run_id: str) -> None:
    for folder, state in sessions(storage):
        if state.parent == run_id:
            remove(folder)
    remove(storage / run_id)
