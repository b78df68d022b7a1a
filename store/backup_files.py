"""Files of a backup: copied with their digests, and listed in a manifest that is written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from loop.errors import BrokenRecord, Conflict, NotFound, Unavailable
from store.durable import disk_errors, sync

MANIFEST = "backup.json"
FORMAT = 1
_PIECE_BYTES = 1024 * 1024
_PRIVATE_FOLDER = 0o700


@dataclass(frozen=True, slots=True)
class Copied:
    """``mode`` is the file's permission bits: those of keys matter."""

    sha256: str
    bytes: int
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """``home`` is the folder that the backup is of; ``entries`` and ``root`` are the log's, 0 and
    empty where there is none; ``without`` is what lies elsewhere and is not in it, in words.
    ``files`` are by their paths below the backup's folder."""

    made_at: str
    home: str
    database: str
    entries: int
    root: str
    without: tuple[str, ...]
    files: Mapping[str, Copied]

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.files.values())


class BackupFolder:
    """Filled once: ``write`` ends it, and a folder without a manifest is no backup."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Copied] = {}

    def begin(self) -> None:
        """Raises `Conflict` for a folder with something in it, `Unavailable`."""
        with told(self.folder):
            if self.folder.exists() and any(self.folder.iterdir()):
                raise Conflict(f"{self.folder} is not empty.", hint="Name a new folder.")
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(_PRIVATE_FOLDER)  # there are keys in it

    def add(self, name: str, source: Path) -> None:
        """Copy a file. Raises `FileNotFoundError` if it is gone."""
        with source.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            self.add_pieces(name, iter(lambda: file.read(_PIECE_BYTES), b""), mode)

    def add_pieces(self, name: str, pieces: Iterable[bytes], mode: int = 0o600) -> None:
        self.files[name] = written(self.folder / name, pieces, mode)

    def add_written(self, name: str) -> None:
        """What somebody else wrote there, a database for one."""
        path = self.folder / name
        path.chmod(0o600)
        sync(path)
        self.files[name] = Copied(*digest(path), 0o600)

    def add_tree(self, name: str, folder: Path) -> None:
        """All files below ``folder``; those that go while it is copied are left out, as drafts are.
        Symbolic links are not followed, and not copied."""
        for below, path in files_below(folder):
            try:
                self.add(f"{name}/{below}", path)
            except FileNotFoundError:
                continue

    def write(self, manifest: Manifest) -> None:
        values = {
            "format": FORMAT,
            "made_at": manifest.made_at,
            "home": manifest.home,
            "database": manifest.database,
            "log": {"entries": manifest.entries, "root": manifest.root},
            "without": list(manifest.without),
            "files": {
                name: [each.sha256, each.bytes, each.mode]
                for name, each in sorted(manifest.files.items())
            },
        }
        for folder in {path.parent for path in map(self.folder.joinpath, manifest.files)}:
            sync(folder)
        text = json.dumps(values, indent=1).encode()
        written(self.folder / MANIFEST, (text,), 0o600)
        sync(self.folder)


def read_manifest(folder: Path) -> Manifest:
    """Raises `NotFound` where there is none, `BrokenRecord` for one that is not understood."""
    try:
        raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(
            f"There is no backup in {folder}, or it was never finished: {MANIFEST} is missing.",
            hint="Take the backup before it.",
        ) from None
    except (OSError, ValueError) as error:
        raise BrokenRecord(f"{folder / MANIFEST} cannot be read: {error}.") from error
    try:
        return _manifest(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenRecord(
            f"{folder / MANIFEST} is not the manifest of a backup.",
            hint="Take another backup, or the version of Second Look that made this one.",
        ) from error


def check(folder: Path, manifest: Manifest) -> None:
    """Raises `BrokenRecord` for the first file that is not what was copied."""
    for name, expected in manifest.files.items():
        try:
            found = digest(folder / name)
        except OSError as error:
            raise BrokenRecord(
                f"{name} of the backup cannot be read: {error.strerror}.", hint="Take another one."
            ) from error
        if found != (expected.sha256, expected.bytes):
            raise BrokenRecord(
                f"{name} of the backup is not what was copied.", hint="Take another backup."
            )


def written(path: Path, pieces: Iterable[bytes], mode: int) -> Copied:
    """A new file with these bytes, on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
    sha256, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        for piece in pieces:
            sha256.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fchmod(file.fileno(), mode)  # whatever the umask says
        os.fsync(file.fileno())
    return Copied(sha256.hexdigest(), size, mode)


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 in hex, and the number of bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Their paths from there, and as they are; without drafts and symbolic links."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".new-"):
            yield path.relative_to(folder).as_posix(), path


def pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_PIECE_BYTES), b"")


def told(folder: Path) -> AbstractContextManager[None]:
    """Turns what the disk does not take into `Unavailable`."""
    return disk_errors(
        f"{folder} cannot be read or written",
        "Make room there, or let this user read and write what is named.",
    )


def is_empty(folder: Path) -> bool:
    return not folder.exists() or not any(each.name != "lost+found" for each in folder.iterdir())


def room_for(folder: Path, size: int) -> None:
    """Raises `Unavailable` if so many bytes visibly do not fit."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise Unavailable(
            f"{there} has {free // 2**20} MiB free, and {size // 2**20} are needed.",
            hint="Make room there, or name another folder.",
        )


def _manifest(raw: Mapping[str, Any]) -> Manifest:
    if raw["format"] != FORMAT:
        raise ValueError(raw["format"])
    return Manifest(
        made_at=str(raw["made_at"]),
        home=str(raw["home"]),
        database=str(raw["database"]),
        entries=int(raw["log"]["entries"]),
        root=str(raw["log"]["root"]),
        without=tuple(map(str, raw["without"])),
        files={_safe(name): _copied(*each) for name, each in raw["files"].items()},
    )


def _copied(sha256: str, size: int, mode: int) -> Copied:
    return Copied(str(sha256), int(size), int(mode) & 0o777)


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    # As written only: `images//x` would be `/x` to whoever takes its first part off.
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name == ".":
        raise ValueError(name)
    return name
