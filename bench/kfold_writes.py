"""How many bytes of images a run wrote to disk.

The run's folders (home, workspace, temporary files of Python and of Ray) are walked again and
again while it runs, so that what is removed later counts as well, and each file that was not there
before is known by its first bytes. That leaves out what lives for less than a second, and pixels in
a file that nothing tells from other data: the bytes that the kernel counted (`Usage`) bound both.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

_INTERVAL_S = 1.0
_MAGIC = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"BM",
    b"GIF8",
    b"II*\x00",  # TIFF, and the next
    b"MM\x00*",
    b"\x93NUMPY",
)
_LONGEST_MAGIC = 12
# Ray's name for what it moves out of the object store.
_SPILLED = "ray_spilled_objects"
# Ultralytics writes a data set's labels as a NumPy file of this name.
_LABELS_SUFFIX = ".cache"


class ImageWrites:
    """Watches ``folder``, in a thread, while its ``with`` block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = {path: _version(status) for path, status in _files(folder)}
        self._seen: dict[str, tuple[int, int]] = {}
        self._images: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def nbytes(self) -> int:
        return sum(self._images.values())

    def _watch(self) -> None:
        while not self._end.wait(_INTERVAL_S):
            self._look()
        self._look()

    def _look(self) -> None:
        for path, status in _files(self._folder):
            version = _version(status)
            if version in (self._before.get(path), self._seen.get(path)):
                continue
            self._seen[path] = version
            if is_image_data(Path(path)):
                self._images[path] = max(self._images.get(path, 0), status.st_size)


def is_image_data(path: Path) -> bool:
    """An encoded image, an array, a table with a column of bytes, or an object of Ray's store."""
    if _SPILLED in path.parts:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST_MAGIC)
        if head.startswith(b"PAR1"):
            return _has_bytes(pq.read_schema(path))
        if head.startswith(b"ARROW1"):
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
                return _has_bytes(reader.schema)
    except (OSError, pa.ArrowException):  # it is gone, or not yet whole
        return False
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    return head.startswith(_MAGIC) and path.suffix != _LABELS_SUFFIX


def _has_bytes(schema: pa.Schema) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(kind(field.type) for field in schema for kind in kinds)


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118  # walked every second
            try:
                status = os.stat(path, follow_symlinks=False)  # noqa: PTH116
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status
