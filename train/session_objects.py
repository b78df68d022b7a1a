"""Sessions in a bucket: so that one whose driver's machine is gone is found, closed and taken up.

Below ``training/RUN_ID/`` lies ``session.json``, as `train.session_state` writes it, and ``alive``,
whose time is that of the driver's last sign of life. What only one machine may do with a session is
done by who puts an object of the step's name first. A session that is removed there has ended well,
or is no more: copies of it on other machines say nothing that still holds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loop.errors import LoopError, NotFound
from loop.events import new_id
from store.objects import Bucket, open_objects
from store.settings import Settings
from train.session_state import ALIVE, SESSION_FILE, SessionState, is_alive, locked, remove

_PREFIX = "training/"
# In the folder of a session: the bucket that has it, or had it once.
_SHARED = "bucket"
_RUN_ID = re.compile(r"[\w-]+")
# Who took a step and has not done it by then is gone.
_STEP_S = 3600.0


@dataclass(frozen=True, slots=True)
class SessionObjects:
    """``storage`` is the folder of this machine's sessions, to which those of others come."""

    objects: Bucket
    storage: Path

    def pull(self) -> None:
        """Bring the sessions that are there, but for those that run here, and forget those that
        were removed there. Raises what `Objects` does."""
        shared = self._shared()  # first: what is shared from now on may not be listed
        ahead = time.time() - self.objects.now().timestamp()  # of the store's clock is this one's
        life: dict[str, float] = {}
        there = set()
        for each in self.objects.list(_PREFIX):
            run_id, _, name = each.key.removeprefix(_PREFIX).partition("/")
            if name == ALIVE:
                life[run_id] = each.modified.timestamp()
            elif name == SESSION_FILE and _RUN_ID.fullmatch(run_id):
                there.add(run_id)
                alive_at = max(life.get(run_id, 0.0), each.modified.timestamp())
                self._bring(run_id, alive_at + ahead)
        for folder in shared:
            if folder.name not in there and not _runs_here(folder):
                with suppress(LoopError), locked(folder):
                    remove(folder)

    def _bring(self, run_id: str, alive_at: float) -> None:
        folder = self.storage / run_id
        if _runs_here(folder):
            return
        with suppress(NotFound):  # removed in this moment
            self.objects.get_file(f"{_PREFIX}{run_id}/{SESSION_FILE}", folder / SESSION_FILE)
            self._note_shared(folder)
            (folder / ALIVE).touch()
            os.utime(folder / ALIVE, (alive_at, alive_at))

    def _shared(self) -> list[Path]:
        noted = [path for path in self.storage.glob(f"*/{_SHARED}") if path.is_file()]
        return [path.parent for path in noted if path.read_text() == str(self.objects)]

    def _note_shared(self, folder: Path) -> None:
        (folder / _SHARED).write_text(str(self.objects))

    def push(self, folder: Path) -> None:
        self.objects.put_file(f"{_PREFIX}{folder.name}/{SESSION_FILE}", folder / SESSION_FILE)
        self._note_shared(folder)
        self.show_life(folder)

    def show_life(self, folder: Path) -> None:
        # A store that is away for a moment does not end a training.
        with suppress(LoopError):
            self.objects.put(f"{_PREFIX}{folder.name}/{ALIVE}", b"")

    @contextmanager
    def step(self, state: SessionState, name: str) -> Iterator[bool]:
        """Whether nobody else has taken this step with the session as it is. Who fails in it gives
        it back, and who died in it is not waited for for ever."""
        key = self._take(f"{_PREFIX}{state.run_id}/{name}-{state.mark}", new_id().encode())
        try:
            yield key is not None
        except BaseException:
            if key is not None:
                with suppress(LoopError):
                    self.objects.delete([key])
            raise

    def _take(self, key: str, token: bytes) -> str | None:
        # It may be our own, of an attempt of which the answer was lost.
        if self.objects.put_new(key, token) or self._token(key) == token:
            return key
        taken = self.objects.info(key)
        if taken is None or (self.objects.now() - taken.modified).total_seconds() < _STEP_S:
            return None
        return self._take(f"{key}.", token)  # of those that give up on it, one is first there too

    def _token(self, key: str) -> bytes | None:
        try:
            return self.objects.get(key)
        except NotFound:
            return None

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


def _runs_here(folder: Path) -> bool:
    """Whether its process is one of this machine: what is here of it is newer."""
    state = SessionState.read(folder)
    return state is not None and state.driver.is_here and is_alive(state, folder)
