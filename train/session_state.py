"""What is known of a training session on disk, for whoever finds it after its process is gone.

``HOME/training/RUN_ID`` holds the folds' checkpoints and ``session.json``. It is removed when the
session has ended well, and stays when it has not: then it can be taken up.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from loop.errors import Conflict, NotFound
from store.processes import ProcessRecord, end_processes, marked_processes

# The kind of a session whose trainings are sessions below it (`train.search`).
SEARCH = "search"
# Every process of a Ray of a session's own has it in its environment, with the session's value.
MARK = "SECONDLOOK_TRAINING_SESSION"
LAST = "last"
_DIGEST_LENGTH = 64
SESSION_FILE, _LOCK, ALIVE = "session.json", "lock", "alive"
# A session of another machine is believed to live for so long after its last sign of life.
_SILENCE_S = 120.0


class SessionStatus(StrEnum):
    """``lost``: its process was gone before it could say how it ended."""

    RUNNING = "running"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class SessionState:
    """One session. ``fingerprint`` is what may not change before it is taken up; ``record`` is
    what `train.run_record` needs to go on, ``base`` what `train.base_model` found.

    ``ray`` are the first processes of a Ray of its own, ``mark`` is in the environment of all.
    """

    run_id: str
    cv_id: str
    kind: str
    labels: str
    parent: str | None
    workspace: str
    started_at: str
    fingerprint: Mapping[str, str]
    base: Mapping[str, str]
    driver: ProcessRecord
    mark: str
    record: Mapping[str, Any] = field(default_factory=dict)
    ray: tuple[ProcessRecord, ...] = ()
    status: SessionStatus = SessionStatus.RUNNING
    failure: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where there is none, or none of ours."""
        try:
            raw = json.loads((folder / SESSION_FILE).read_text(encoding="utf-8"))
            raw["driver"] = ProcessRecord.from_dict(raw["driver"])
            raw["ray"] = tuple(map(ProcessRecord.from_dict, raw["ray"]))
            raw["status"] = SessionStatus(raw["status"])
            return cls(**raw)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{SESSION_FILE}.{os.getpid()}"
        with partial.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / SESSION_FILE)
        show_life(folder)

    def changed(self, fingerprint: Mapping[str, str]) -> list[str]:
        """What differs from ``fingerprint``, with both values."""
        names = dict.fromkeys([*self.fingerprint, *fingerprint])
        pairs = [(n, self.fingerprint.get(n, ""), fingerprint.get(n, "")) for n in names]
        return [
            f"{name} was {_shown(old)}, is {_shown(new)}" for name, old, new in pairs if old != new
        ]


def _shown(value: str) -> str:
    """A digest is told by its beginning."""
    return value[:12] if len(value) == _DIGEST_LENGTH else value or "not set"


def show_life(folder: Path) -> None:
    """To be called every few seconds, for machines that cannot see this one's processes."""
    (folder / ALIVE).touch()


def is_alive(state: SessionState, folder: Path) -> bool:
    """Whether the process that runs the session does so still, as far as can be seen from here."""
    if state.status is not SessionStatus.RUNNING:
        return False
    if state.driver.is_here:
        return state.driver.find() is not None
    try:
        return time.time() - (folder / ALIVE).stat().st_mtime < _SILENCE_S
    except OSError:
        return False


def end_orphans(state: SessionState) -> None:
    """Kill what a session's dead process left running on this machine: its Ray, if it had one."""
    left = [record.find() for record in state.ray]
    orphans = [process for process in left if process is not None]
    if state.mark and state.driver.is_here:
        orphans += marked_processes(MARK, state.mark)
    end_processes(orphans, grace_seconds=0)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """This process alone changes the session. Raises `Conflict` while another one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Another process works on run {folder.name}.", hint="Wait until it has ended."
            ) from None
        yield


def sessions(storage: Path) -> list[tuple[Path, SessionState]]:
    """All of them with their folders, the newest first."""
    folders = [path.parent for path in storage.glob(f"*/{SESSION_FILE}")]
    found = [(folder, SessionState.read(folder)) for folder in folders]
    read = [(folder, state) for folder, state in found if state is not None]
    return sorted(read, key=lambda pair: pair[1].started_at, reverse=True)


def storage_of(home: Path) -> Path:
    return home / "training"


def find_session(storage: Path, run: str) -> tuple[Path, SessionState]:
    """By MLflow run id, the beginning of one, or ``last``. Raises `NotFound`, `Conflict`."""
    whole = [s for s in sessions(storage) if s[1].parent is None and s[1].kind != SEARCH]
    found = whole[:1] if run == LAST else [s for s in whole if s[1].run_id.startswith(run)]
    if not found:
        known = ", ".join(state.run_id[:8] for _, state in whole)
        raise NotFound(
            f"No training {run!r} can be resumed.",
            hint=f"These can: {known}." if known else "None can: those that end well are done.",
        )
    if len(found) > 1:
        raise Conflict(f"Several runs begin with {run!r}.", hint="Give more of its id.")
    return found[0]


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def ended(state: SessionState, status: SessionStatus, failure: str) -> SessionState:
    return replace(state, status=status, failure=failure)
