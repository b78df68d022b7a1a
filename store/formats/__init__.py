"""Data sets of other tools, read and written: Pascal VOC, COCO and YOLO.

Everything in one is taken as hostile: no path leads out of its folder, nothing in it is run, and
a file that is wrong becomes a problem with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from loop.classes import ClassList
from loop.errors import InvalidDataset
from store.formats.base import (
    DatasetReader,
    ExportedImage,
    Format,
    ImportedBox,
    ImportedImage,
    Problem,
)
from store.formats.coco import read_coco, write_coco
from store.formats.voc import read_voc, write_voc
from store.formats.yolo import read_yolo, write_yolo

__all__ = [
    "DatasetReader",
    "ExportedImage",
    "Format",
    "ImportedBox",
    "ImportedImage",
    "Problem",
    "read_dataset",
    "write_dataset",
]

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


def read_dataset(path: Path, format: Format, *, classes: ClassList | None) -> DatasetReader:
    """The data set at ``path``. With ``classes``, boxes of any other class are problems.

    Raises `InvalidDataset` if there is nothing to read, or nothing that says what is what.
    """
    readers = {"voc": read_voc, "coco": read_coco, "yolo": read_yolo}
    return readers[format](path, classes)


def write_dataset(
    folder: Path, format: Format, items: Iterable[ExportedImage], classes: ClassList
) -> None:
    """Write ``items`` into ``folder``, which must be new or empty. Raises `InvalidDataset`."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidDataset(f"{folder} is not empty.", hint="Name a new folder.")
    writers = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo}
    writers[format](folder, _checked(items), classes)


def _checked(items: Iterable[ExportedImage]) -> Iterator[ExportedImage]:
    names: set[str] = set()
    for item in items:
        if not _FILE_NAME.fullmatch(item.name):
            raise InvalidDataset(f"{item.name!r} cannot be a file's name.")
        if item.name.lower() in names:
            raise InvalidDataset(f"Two images are called {item.name}.")
        names.add(item.name.lower())
        yield item
