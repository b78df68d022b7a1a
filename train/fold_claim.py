"""One process at a time works on a fold: whoever takes over knows that the one before is dead.

A worker that is believed dead may still run: its trainer died first, or its network did. The kernel
drops a lock with the process that holds it. On the same machine the holder is killed, by its
record; on another one (the folder is shared) it finds out that it was replaced, before it keeps
anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from loop.errors import TrainingFailed
from store.processes import ProcessRecord, end_processes

_LOCK, _OWNER, _NEXT = "lock", "owner.json", "next.json"
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Claim:
    folder: Path

    def check(self) -> None:
        """Raises `TrainingFailed` when another process waits to take over."""
        if (self.folder / _NEXT).exists():
            raise TrainingFailed("Another worker has taken this fold over.")


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold the fold of ``folder`` for as long as this is open, and let nobody else do so."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        _take(lock, folder)
        _write(folder / _OWNER)
        (folder / _NEXT).unlink(missing_ok=True)
        yield Claim(folder)


def end_owner(folder: Path) -> None:
    """Kill whoever works on the fold, if that is a process of this machine and not this one."""
    owner = _owner(folder)
    process = owner.find() if owner else None
    if process is not None and process.pid != os.getpid():
        end_processes([process], grace_seconds=0)


def _take(lock: IO[str], folder: Path) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            _write(folder / _NEXT)
            end_owner(folder)
            time.sleep(_POLL_S)


def _owner(folder: Path) -> ProcessRecord | None:
    try:
        return ProcessRecord.from_dict(json.loads((folder / _OWNER).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError):
        return None


def _write(path: Path) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(asdict(ProcessRecord.own())), encoding="utf-8")
    partial.replace(path)
