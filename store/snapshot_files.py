"""Snapshots on disk: Parquet shards that are only ever added, and a manifest that names them.

``docs/snapshot-format.md`` describes the files. Image bytes and annotations are in separate
shards, so that another correction of an image never copies its bytes. The manifest is written
last: until then the folder is the snapshot it was, and shards that it does not name are nothing.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from loop.classes import ClassList
from loop.errors import BrokenRecord, NotFound
from loop.events import canonical_json
from loop.snapshots import Labels, Manifest, Shard
from store.snapshot_rows import Row, Sample, SnapshotEntry, digest_of, row_of, sample_of
from store.snapshot_shards import (
    FETCH_AGAIN,
    ShardFolder,
    check_shard,
    read_annotations,
    read_image_ids,
    write_durably,
)

__all__ = [
    "Sample",
    "Snapshot",
    "SnapshotEntry",
    "latest_rows",
    "open_snapshot",
    "read_manifest",
    "write_snapshot",
]

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
_SHARD_PATH = re.compile(r"(images|annotations)/part-\d{5,}-[0-9a-f]{8}\.parquet")

_OF_SAMPLES = (
    *("image_id", "width", "height", "media_type", "subject", "gold", "boxes", "phash"),
    *("version", "annotation_id"),
)
_BITS = 24  # more row groups than fit into a shard, and more rows than fit into a group

Progress = Callable[[int, int], None]
# By image: the version of the latest row, and the digest of that row.
_Known = dict[str, tuple[int, bytes]]
_NOTHING = (0, b"")


def write_snapshot(
    folder: Path,
    labels: Labels,
    classes: ClassList,
    entries: Sequence[SnapshotEntry],
    read_image: Callable[[str], bytes],
    progress: Progress | None = None,
) -> Manifest:
    """Make ``folder`` the snapshot of ``entries``, by adding the shards that are missing.

    Nothing changes if it is that already. A shard that holds an image which is no longer among
    the entries is left out, and its other rows are written anew. ``progress`` is called with
    (images whose bytes were written, images to write).
    """
    before = read_manifest(folder) if (folder / MANIFEST).exists() else None
    ordered = sorted(entries, key=lambda entry: entry.image.id)
    versions = {entry.image.id: entry.version for entry in ordered}
    image_shards, stored = _images_to_keep(folder, before, versions)
    missing = [image_id for image_id in versions if image_id not in stored]
    annotation_shards, known = _annotations_to_keep(folder, before, versions)
    # Made while they are written: together they would take more memory than all entries do.
    changed = (row for row in map(row_of, ordered) if not _is_known(known, row))

    shards = ShardFolder(folder)
    manifest = Manifest(
        schema=SCHEMA_VERSION,
        labels=labels,
        classes=classes.names,
        image_shards=(
            *image_shards,
            *shards.add_images(missing, read_image, image_shards, progress),
        ),
        annotation_shards=(
            *annotation_shards,
            *shards.add_annotations(changed, annotation_shards),
        ),
        counts=_counts(classes, ordered),
    )
    if manifest != before:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / MANIFEST, canonical_json(manifest.as_dict()))
    shards.remove_all_but(manifest)
    return manifest


def open_snapshot(folder: Path, *, verify: bool = True, images: bool = True) -> Snapshot:
    """The snapshot in ``folder``. ``verify`` reads every shard and compares its digest; without
    ``images`` their bytes need not be there, and cannot be asked for.

    Raises `NotFound` if there is none, `BrokenRecord` naming the shard that is not as the
    manifest says.
    """
    manifest = read_manifest(folder)
    for shard in (*(manifest.image_shards if images else ()), *manifest.annotation_shards):
        check_shard(folder, shard, contents=verify)
    return Snapshot(folder, manifest, images=images)


def read_manifest(folder: Path) -> Manifest:
    """Raises `NotFound` where there is none, `BrokenRecord` where it is not one."""
    try:
        manifest = Manifest.from_dict(json.loads((folder / MANIFEST).read_bytes()))
    except FileNotFoundError:
        raise NotFound(
            f"There is no snapshot in {folder}.",
            hint="Run `dvc repro data_collection`, or `dvc checkout` where one was versioned.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenRecord(
            f"{folder / MANIFEST} is not a manifest: {error!r}.", hint=FETCH_AGAIN
        ) from error
    if manifest.schema != SCHEMA_VERSION:
        raise BrokenRecord(
            f"{folder / MANIFEST} has schema {manifest.schema}; this version reads "
            f"{SCHEMA_VERSION}.",
            hint="Open it with the version of Second Look that wrote it.",
        )
    for shard in (*manifest.image_shards, *manifest.annotation_shards):
        if not _SHARD_PATH.fullmatch(shard.path):
            raise BrokenRecord(f"{folder / MANIFEST} names {shard.path!r}, which is no shard.")
    return manifest


class Snapshot:
    """A frozen data set. ``samples`` are sorted by image id; indices point into that list."""

    def __init__(self, folder: Path, manifest: Manifest, *, images: bool = True) -> None:
        self.folder = folder
        self.manifest = manifest
        self.sha256 = manifest.sha256
        self.classes = ClassList(manifest.classes)
        self.samples: list[Sample] = _samples(folder, manifest.annotation_shards)
        self._has_images = images
        self._places = _Places(folder, manifest.image_shards if images else ())
        for sample in self.samples if images else ():
            if sample.image_id not in self._places:
                raise BrokenRecord(
                    f"The snapshot has boxes but no bytes of image {sample.image_id[:12]}.",
                    hint=FETCH_AGAIN,
                )
        # PyArrow does not promise that threads may share a reader.
        self._open = threading.local()

    def image_bytes(self, image_id: str) -> memoryview:
        """The encoded image, by way of the memory-mapped shard. Raises `NotFound`.

        Decodes the row group that it is in, about a mebibyte.
        """
        place = self._places.get(image_id)
        if place is None:
            raise NotFound(f"Image {image_id[:12]} is not in snapshot {self.sha256[:12]}.")
        try:
            group = self._file(place.shard).read_row_group(
                place.row_group, columns=["bytes"], use_threads=False
            )
        except (pa.ArrowException, OSError) as error:
            raise BrokenRecord(
                f"Shard {place.shard} cannot be read: {error}.", hint=FETCH_AGAIN
            ) from error
        return memoryview(group.column("bytes")[place.row].as_buffer())

    def _file(self, shard: str) -> pq.ParquetFile:
        files: dict[str, pq.ParquetFile] = self._open.__dict__
        if shard not in files:
            files[shard] = pq.ParquetFile(self.folder / shard, memory_map=True)
        return files[shard]

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[Path, Manifest, bool]]:
        # Open files do not travel to another process; it maps the shards for itself.
        return (_reopened, (self.folder, self.manifest, self._has_images))


def _reopened(folder: Path, manifest: Manifest, images: bool) -> Snapshot:
    return Snapshot(folder, manifest, images=images)


def _samples(folder: Path, shards: Iterable[Shard]) -> list[Sample]:
    """By image id. One shard's rows are in memory at a time, and what is kept of them."""
    versions: dict[str, int] = {}
    latest: dict[str, Sample] = {}
    for shard in shards:
        for row in read_annotations(folder, shard, _OF_SAMPLES):
            image_id, version = row["image_id"], row["version"]
            if version >= versions.get(image_id, 0):
                versions[image_id] = version
                latest[image_id] = sample_of(row)
    return [latest[image_id] for image_id in sorted(latest)]


@dataclass(frozen=True, slots=True)
class _Place:
    shard: str
    row_group: int
    row: int


class _Places:
    """Where the bytes of each image are, as one number each: shard, row group and row."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._shards = [shard.path for shard in shards]
        self._numbers = {
            image_id: (number << _BITS | row_group) << _BITS | row
            for number, shard in enumerate(shards)
            for row_group, image_ids in enumerate(read_image_ids(folder, shard))
            for row, image_id in enumerate(image_ids)
        }

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._numbers

    def get(self, image_id: str) -> _Place | None:
        number = self._numbers.get(image_id)
        if number is None:
            return None
        above, row = divmod(number, 1 << _BITS)
        shard, row_group = divmod(above, 1 << _BITS)
        return _Place(self._shards[shard], row_group, row)


def _images_to_keep(
    folder: Path, before: Manifest | None, versions: Mapping[str, int]
) -> tuple[list[Shard], set[str]]:
    """The image shards of which every row is still wanted, and the images in them."""
    kept: list[Shard] = []
    stored: set[str] = set()
    for shard in before.image_shards if before else ():
        check_shard(folder, shard, contents=False)
        image_ids = set().union(*read_image_ids(folder, shard))
        if image_ids <= versions.keys():
            kept.append(shard)
            stored |= image_ids
    return kept, stored


def _annotations_to_keep(
    folder: Path, before: Manifest | None, versions: Mapping[str, int]
) -> tuple[list[Shard], _Known]:
    """The annotation shards without an image or a later version that is not wanted (both occur
    when a workspace is used with another database), and the latest row of each image in them."""
    kept: list[Shard] = []
    known: _Known = {}
    for shard in before.annotation_shards if before else ():
        check_shard(folder, shard, contents=False)
        rows = read_annotations(folder, shard)
        if all(row["version"] <= versions.get(row["image_id"], 0) for row in rows):
            kept.append(shard)
            for row in rows:
                image_id, version = row["image_id"], row["version"]
                if version >= known.get(image_id, _NOTHING)[0]:
                    known[image_id] = version, digest_of(row)
    return kept, known


def _is_known(known: _Known, row: Row) -> bool:
    return known.get(row["image_id"], _NOTHING)[1] == digest_of(row)


def latest_rows(tables: Iterable[Iterable[Row]]) -> dict[str, Row]:
    """The row with the highest version of each image; of equal ones that of the later shard."""
    latest: dict[str, Row] = {}
    for table in tables:
        for row in table:
            before = latest.get(row["image_id"])
            if before is None or row["version"] >= before["version"]:
                latest[row["image_id"]] = row
    return latest


def _counts(classes: ClassList, entries: Sequence[SnapshotEntry]) -> dict[str, Any]:
    boxes = Counter(box.class_id for entry in entries for box in entry.boxes)
    return {
        "images": len(entries),
        "boxes": boxes.total(),
        "boxes_per_class": {name: boxes[index] for index, name in enumerate(classes)},
        "gold": sum(entry.image.gold for entry in entries),
        "negatives": sum(not entry.boxes for entry in entries),
        "subjects": len({entry.image.subject for entry in entries}),
    }
