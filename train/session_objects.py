"""Sessions in a bucket: so that one whose driver's machine is gone is found, closed and taken up.

Below ``training/RUN_ID/`` lies ``session.json``, as `train.session_state` writes it, and ``alive``,
whose time is that of the driver's last sign of life. What only one machine may do with a session is
done by who puts an object of the step's name first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loop.errors import LoopError, NotFound
from store.objects import Bucket, open_objects
from store.settings import Settings
from train.session_state import ALIVE, SESSION_FILE, SessionState, SessionStatus

_PREFIX = "training/"


@dataclass(frozen=True, slots=True)
class SessionObjects:
    """``storage`` is the folder of this machine's sessions, to which those of others come."""

    objects: Bucket
    storage: Path

    def pull(self) -> None:
        """Bring what is newer there than here. Raises what `Objects` does."""
        for each in self.objects.list(_PREFIX):
            run_id, _, name = each.key.removeprefix(_PREFIX).partition("/")
            folder, at = self.storage / run_id, each.modified.timestamp()
            if name == ALIVE and not _is_own(folder):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ALIVE).touch()
                os.utime(folder / ALIVE, (at, at))
            if name == SESSION_FILE and not _is_own(folder):
                with suppress(NotFound):  # ended well in this moment
                    folder.mkdir(parents=True, exist_ok=True)
                    self.objects.get_file(each.key, folder / SESSION_FILE)

    def push(self, folder: Path) -> None:
        self.objects.put_file(f"{_PREFIX}{folder.name}/{SESSION_FILE}", folder / SESSION_FILE)
        self.show_life(folder)

    def show_life(self, folder: Path) -> None:
        # A store that is away for a moment does not end a training.
        with suppress(LoopError):
            self.objects.put(f"{_PREFIX}{folder.name}/{ALIVE}", b"")

    def first(self, state: SessionState, step: str) -> bool:
        """Whether nobody else has taken this step with the session as it is."""
        return self.objects.put_new(f"{_PREFIX}{state.run_id}/{step}-{state.mark}", b"")

    def remove(self, run_id: str) -> None:
        self.objects.delete([each.key for each in self.objects.list(f"{_PREFIX}{run_id}/")])

    def bring_base(self, run_id: str, name: str, folder: Path) -> Path | None:
        """The weights that the session began with; None if they are not there."""
        target = folder / "base" / name
        with suppress(NotFound):
            self.objects.get_file(f"{_PREFIX}{run_id}/base/{name}", target)
            return target
        return None


def session_objects(settings: Settings, storage: Path) -> SessionObjects | None:
    """None where sessions are kept on a disk alone: without a bucket, or on a Ray of our own."""
    if not settings.ray_address:
        return None
    objects = open_objects(settings)
    return SessionObjects(objects, storage) if objects is not None else None


def _is_own(folder: Path) -> bool:
    """Whether it is a session of this machine: what is here of it is newer."""
    state = SessionState.read(folder)
    return state is not None and state.driver.is_here and state.status is SessionStatus.RUNNING
