"""A log's public files in a folder: what anybody may read over plain HTTP, and copy (`loop.tiles`).

Files are on the disk before the checkpoint that counts them is, so that whatever a crash leaves is
a log that verifies: what lies beyond its checkpoint is written again. One process writes at a time;
who calls sees to that.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from loop.checkpoints import Checkpoint
from loop.merkle import leaf_hash, root_hash, subtree_hash
from loop.signed_notes import Note
from loop.tiles import WIDTH, Bundle, Tile, bundles_of, nodes_in, pack, tiles_of
from store.durable import disk_errors, sync
from store.log_reading import CHECKPOINT, STAMPS, LogReader, stamp_paths, stamped_size

# Some batches of entries and their tiles.
_LEAST_FREE = 4 * 1024 * 1024


class LogFiles(LogReader):
    """Below ``folder``, which is made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        # Known to be on the disk under the names of the folders in them.
        self._synced: set[Path] = set()

    def find(self, path: str) -> bytes | None:
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def is_there(self) -> bool:
        """Whether there is something of a log. An empty folder, as a volume that is mounted makes
        one, is none."""
        return self.folder.is_dir() and any(self.folder.iterdir())

    def published_at(self) -> float:
        """When the checkpoint was last put in place, in seconds since 1970."""
        return (self.folder / CHECKPOINT).stat().st_mtime

    def missing(self, size: int) -> list[int]:
        whole = range(size // WIDTH)
        return [index for index in whole if not (self.folder / Bundle(index).path).exists()]

    def drop_entries(self, end: int) -> None:
        """Remove the bundles of the entries before number ``end``, a multiple of 256. Their hashes
        stay, so that all the rest can be verified and proven as before."""
        with told(self.folder):
            folders = set()
            for bundle in bundles_of(end):
                path = self.folder / bundle.path
                self._remove_partials(bundle.path)
                path.unlink(missing_ok=True)
                folders.add(path.parent)
            for folder in folders:
                if folder.exists():
                    sync(folder)

    def append(self, size: int, entries: Sequence[bytes]) -> bytes:
        """Write ``entries`` behind the first ``size`` ones and return the root of all of them. They
        count once a checkpoint says so: `publish`.

        Raises `InvalidInput` for an entry that is too long, `Unavailable` if the disk does not take
        it, `BrokenRecord` if what is there does not fit.
        """
        written = self._bundles(size, entries) | self._tiles(size, entries)
        total = size + len(entries)
        with told(self.folder):
            for path, data in written.items():
                _write(self.folder / path, data)
            for folder in self._to_sync(written):
                sync(folder)
                self._synced.add(folder)
        return root_hash(total, nodes_in(self.tile, total))

    def check_room(self) -> None:
        """Raises `Unavailable` if it can be seen without trying that nothing can be written."""
        folder = self.folder if self.folder.exists() else self.folder.parent
        with told(self.folder):
            found = os.statvfs(folder)
            if found.f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            if found.f_bavail * found.f_frsize < _LEAST_FREE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def publish(self, note: Note) -> None:
        """Put ``note`` in the place of the checkpoint before, in one step. Raises `Unavailable`."""
        with told(self.folder):
            _write(self.folder / CHECKPOINT, str(note).encode())
            sync(self.folder)

    def timestamps(self) -> list[int]:
        names = [path.name for path in (self.folder / STAMPS).glob("*.tsr")]
        return sorted(size for size in map(stamped_size, names) if size is not None)

    def keep_timestamp(self, note: Note, stamp: bytes) -> None:
        """Beside the log, for whoever reads it. Raises `Unavailable`."""
        of_note, of_stamp = stamp_paths(Checkpoint.parse(note.text).size)
        with told(self.folder):
            _write(self.folder / of_note, str(note).encode())
            _write(self.folder / of_stamp, stamp)
            sync(self.folder / STAMPS)
            sync(self.folder)

    def tidy(self, size: int, since: int) -> None:
        """Remove the partial files of what became whole as the log grew from ``since`` on."""
        whole = [tile.path for tile in tiles_of(size, since=since) if tile.width == WIDTH]
        whole += [bundle.path for bundle in bundles_of(size, since=since) if bundle.width == WIDTH]
        for path in whole:
            self._remove_partials(path)

    def _remove_partials(self, path: str) -> None:
        partial = self.folder / f"{path}.p"
        if partial.is_dir():
            for file in partial.iterdir():
                file.unlink(missing_ok=True)
            partial.rmdir()

    def _to_sync(self, paths: Iterable[str]) -> list[Path]:
        """The folders in which names changed, the deepest first; those above them the first time,
        whoever made them."""
        changed = {(self.folder / path).parent for path in paths}
        above = {each for folder in changed for each in folder.parents}
        above = {each for each in above if each == self.folder or self.folder in each.parents}
        return sorted(changed | (above - self._synced), key=lambda each: -len(each.parts))

    def _bundles(self, size: int, entries: Sequence[bytes]) -> dict[str, bytes]:
        written: dict[str, bytes] = {}
        for bundle in bundles_of(size + len(entries), since=size):
            begin, end = bundle.index * WIDTH, bundle.index * WIDTH + bundle.width
            before = self.bundle(Bundle(bundle.index, size - begin)) if begin < size else []
            new = entries[max(begin - size, 0) : end - size]
            written[bundle.path] = pack([*before, *new])
        return written

    def _tiles(self, size: int, entries: Sequence[bytes]) -> dict[str, bytes]:
        written: dict[str, bytes] = {}
        level, before, added = 0, size, [leaf_hash(entry) for entry in entries]
        while added:
            above: list[bytes] = []
            while added:
                index, old = divmod(before, WIDTH)
                hashes = self.tile(Tile(level, index, old)) if old else b""
                taken, added = added[: WIDTH - old], added[WIDTH - old :]
                hashes += b"".join(taken)
                tile = Tile(level, index, old + len(taken))
                written[tile.path] = hashes
                if tile.width == WIDTH:
                    above.append(subtree_hash(hashes))
                before += len(taken)
            before, added = size // WIDTH ** (level + 1), above
            level += 1
        return written


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")  # of a crash, it is taken up by the next try
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def told(folder: Path) -> AbstractContextManager[None]:
    """Turns what the disk does not take into `Unavailable`."""
    return disk_errors(
        f"The log in {folder} cannot be written",
        "Free some space, or see to it that this user may write there. What was not logged was "
        "not done.",
    )
