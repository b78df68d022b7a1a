"""The checkpoints of one fold: each a folder that is complete or not there.

A process may be killed at any instruction, and a disk may lose what a crash left half-written. A
checkpoint gets its name when its files and their digests are on the disk, and is believed only if
the digests still match: of several, the newest that does is the one to go on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

# The one before the newest is for the case that the newest was damaged.
KEPT = 2
DIGESTS = "digests.json"
PREFIX, _PARTIAL = "checkpoint-", ".partial-"
_CHUNK_BYTES = 1024 * 1024


class Checkpoints:
    """In ``folder``, which is the fold's own. Only one process at a time may add to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, files: Path) -> Path:
        """Take the files of the folder ``files``, which is on the same file system, as the newest
        checkpoint; they are safe when this returns where they are. Raises `OSError`, for example
        on a full disk.
        """
        number = max((_number(path) for path in self._present()), default=0) + 1
        partial = self._folder / f"{_PARTIAL}{number}"
        shutil.rmtree(partial, ignore_errors=True)
        files.rename(partial)
        digests = {path.name: _digest(path, sync=True) for path in sorted(partial.iterdir())}
        _write(partial / DIGESTS, json.dumps(digests))
        _sync_folder(partial)
        kept = partial.rename(self._folder / f"{PREFIX}{number:06d}")
        _sync_folder(self._folder)
        for old in self._present()[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return kept

    def newest(self) -> Path | None:
        """The newest complete checkpoint; damaged ones, and what never became one, are removed."""
        for path in self._folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._present():
            if is_intact(path):
                return path
            shutil.rmtree(path, ignore_errors=True)
        return None

    def latest(self) -> Path | None:
        """As `newest`, for whoever looks on while another process adds: nothing is checked."""
        return next(iter(self._present()), None)

    def _present(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob(f"{PREFIX}*"), reverse=True)


def is_intact(checkpoint: Path) -> bool:
    """Whether every file of it is there and has its digest."""
    try:
        digests = json.loads((checkpoint / DIGESTS).read_text(encoding="utf-8"))
        return bool(digests) and all(
            _digest(checkpoint / name, sync=False) == digest for name, digest in digests.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


def copy_files(checkpoint: Path, folder: Path) -> None:
    """Put the files of a checkpoint into ``folder``, which is made anew, without the digests."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(DIGESTS))


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(PREFIX))


def _digest(path: Path, *, sync: bool) -> str:
    """SHA-256 of a file; with ``sync`` its content is on the disk first."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        while chunk := file.read(_CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Names are safe when their folder is; file systems that cannot do it say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
