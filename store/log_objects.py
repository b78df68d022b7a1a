"""A log's public files in a bucket, as `store.log_mirror` puts them there: to be read."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict

from loop.errors import NotFound
from loop.tiles import WIDTH
from store.log_reading import STAMPS, LogReader, stamped_size
from store.objects import Objects

FOLDER = "log/"
KEY_FILE = "log.vkey"
ENTRIES = "tile/entries/"
# Tiles of hashes, 8 KiB each, that are kept: 32 MiB.
_KEPT = 4096
_TILE = re.compile(r"tile/\d")
_BUNDLE = re.compile(r"((?:x\d{3}/)*\d{3})(?:\.p/\d{1,3})?")


class LogObjects(LogReader):
    """Below ``log/`` in the bucket. What is kept in memory are tiles, which never change under
    their name; threads may share it."""

    far = True

    def __init__(self, objects: Objects) -> None:
        self.where = f"{objects}/{FOLDER.rstrip('/')}"
        self._objects = objects
        self._lock = threading.Lock()
        self._tiles: OrderedDict[str, bytes] = OrderedDict()

    def __reduce__(self) -> tuple[type[LogObjects], tuple[Objects]]:
        return (LogObjects, (self._objects,))

    def find(self, path: str) -> bytes | None:
        with self._lock:
            kept = self._tiles.get(path)
        if kept is not None:
            return kept
        try:
            data = self._objects.get(FOLDER + path)
        except NotFound:
            return None
        if _TILE.match(path):
            with self._lock:
                self._tiles[path] = data
                while len(self._tiles) > _KEPT:
                    self._tiles.popitem(last=False)
        return data

    def missing(self, size: int) -> list[int]:
        there = {
            index
            for index, path in bundle_objects(self._objects)
            if not path.rpartition("/")[0].endswith(".p")
        }
        return [index for index in range(size // WIDTH) if index not in there]

    def timestamps(self) -> list[int]:
        prefix = f"{FOLDER}{STAMPS}/"
        names = [each.key.removeprefix(prefix) for each in self._objects.list(prefix)]
        return sorted(size for size in map(stamped_size, names) if size is not None)

    def fresh(self) -> LogObjects:
        """The same without what is kept: a check looks at what is there."""
        return LogObjects(self._objects)


def bundle_objects(objects: Objects) -> list[tuple[int, str]]:
    """The bundles of entries in the bucket, partial ones too: index and key."""
    prefix = FOLDER + ENTRIES
    found: list[tuple[int, str]] = []
    for each in objects.list(prefix):
        named = _BUNDLE.fullmatch(each.key.removeprefix(prefix))
        if named:
            found.append((int(re.sub(r"[x/]", "", named[1])), each.key))
    return found
