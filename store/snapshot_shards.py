"""Parquet shards of a snapshot: their schemas, how they are written and read.

A shard is named by its number and the beginning of its SHA-256 and is never changed. The same rows
give the same bytes with the same version of PyArrow (its version stands in the footer).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from loop.errors import BrokenRecord
from loop.snapshots import Manifest, Shard
from store.durable import sync
from store.snapshot_rows import Row

# A shard of this size is quick to fetch and to check, and one lost upload costs little.
_SHARD_BYTES = 64 * 1024 * 1024
# Reading one image decodes its row group: larger ones copy more, smaller ones swell the footer.
_ROW_GROUP_BYTES = 1024 * 1024
_ANNOTATIONS_PER_SHARD = 50_000
FETCH_AGAIN = "Fetch it again with `dvc checkout --force`, or delete it and run data_collection."


def _required(name: str, type: pa.DataType) -> pa.Field:
    return pa.field(name, type, nullable=False)


_EDGES = [_required(edge, pa.float64()) for edge in ("x1", "y1", "x2", "y2")]
_MODEL = pa.struct([_required(name, pa.string()) for name in ("name", "version", "digest")])
_DETECTED = pa.struct(
    [*_EDGES, _required("class_id", pa.int32()), _required("confidence", pa.float64())]
)
_BOX = pa.struct(
    [
        _required("id", pa.string()),
        *_EDGES,
        _required("class_id", pa.int32()),
        _required("origin", pa.string()),
        pa.field("detection_id", pa.string()),
        pa.field("detected", _DETECTED),
    ]
)
IMAGES = pa.schema([_required("image_id", pa.string()), _required("bytes", pa.binary())])
ANNOTATIONS = pa.schema(
    [
        _required("image_id", pa.string()),
        _required("width", pa.int32()),
        _required("height", pa.int32()),
        _required("media_type", pa.string()),
        _required("subject", pa.string()),
        _required("gold", pa.bool_()),
        _required("image_source", pa.string()),
        _required("annotation_id", pa.string()),
        _required("version", pa.int32()),
        _required("source", pa.string()),
        _required("reviewers", pa.list_(_required("element", pa.string()))),
        pa.field("prediction_id", pa.string()),
        pa.field("model", _MODEL),
        _required("boxes", pa.list_(_required("element", _BOX))),
        # Later than the rest: shards from before are without it.
        pa.field("phash", pa.string()),
    ]
)


class ShardFolder:
    """Adds shards to a snapshot's folder, numbered on from those that are ``there``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add_images(
        self,
        image_ids: Sequence[str],
        read_image: Callable[[str], bytes],
        there: Sequence[Shard],
        progress: Callable[[int, int], None] | None,
    ) -> list[Shard]:
        """Shards of the images' bytes; one row group at a time is in memory."""
        added: list[Shard] = []
        writer: _ShardWriter | None = None
        group: list[Row] = []
        for done, image_id in enumerate(image_ids, start=1):
            group.append({"image_id": image_id, "bytes": read_image(image_id)})
            if done == len(image_ids) or _size(group) >= _ROW_GROUP_BYTES:
                # Encoded images do not compress further.
                writer = writer or self._start("images", IMAGES, "none", [*there, *added])
                writer.write(group)
                group = []
                if done == len(image_ids) or writer.bytes >= _SHARD_BYTES:
                    added.append(writer.finish())
                    writer = None
            if progress:
                progress(done, len(image_ids))
        return added

    def add_annotations(self, rows: Iterable[Row], there: Sequence[Shard]) -> list[Shard]:
        """Shards of ``rows``, of which those of one shard are in memory."""
        added: list[Shard] = []
        left = iter(rows)
        while some := list(islice(left, _ANNOTATIONS_PER_SHARD)):
            writer = self._start("annotations", ANNOTATIONS, "zstd", [*there, *added])
            writer.write(some)
            added.append(writer.finish())
        return added

    def remove_all_but(self, manifest: Manifest) -> None:
        """Remove shards that ``manifest`` does not name, and files of a write that was cut off."""
        named = {shard.path for shard in (*manifest.image_shards, *manifest.annotation_shards)}
        for pattern in ("images/*", "annotations/*", ".*.partial"):
            for path in self._folder.glob(pattern):
                if path.relative_to(self._folder).as_posix() not in named:
                    path.unlink()

    def _start(
        self, kind: str, schema: pa.Schema, compression: str, there: Sequence[Shard]
    ) -> _ShardWriter:
        numbers = [int(Path(shard.path).name.split("-")[1]) for shard in there]
        return _ShardWriter(self._folder, kind, schema, compression, max(numbers, default=-1) + 1)


class _ShardWriter:
    """Writes one shard into a partial file and gives it its name when it is whole."""

    def __init__(
        self, folder: Path, kind: str, schema: pa.Schema, compression: str, number: int
    ) -> None:
        self._snapshot = folder
        self._name = f"{kind}/part-{number:05d}"
        self._partial = folder / kind / f".part-{number:05d}.partial"
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        self._schema = schema
        self._rows = 0
        # Every option is set, so that a new default of PyArrow does not change the bytes.
        self._writer = pq.ParquetWriter(
            self._partial,
            schema,
            version="2.6",
            compression=compression,
            use_dictionary=schema is ANNOTATIONS,  # images' ids and bytes never repeat
            write_statistics=False,
            data_page_version="1.0",
            store_schema=True,
        )

    @property
    def bytes(self) -> int:
        return self._partial.stat().st_size

    def write(self, rows: Sequence[Row]) -> None:
        """One more row group."""
        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))
        self._rows += len(rows)

    def finish(self) -> Shard:
        self._writer.close()
        digest = sha256_of_file(self._partial)
        size = self.bytes
        path = self._snapshot / f"{self._name}-{digest[:8]}.parquet"
        sync(self._partial)
        self._partial.replace(path)
        sync(path.parent)
        return Shard(path.relative_to(self._snapshot).as_posix(), digest, size, self._rows)


def check_shard(folder: Path, shard: Shard, *, contents: bool) -> None:
    """Raise `BrokenRecord` unless the file is as the manifest says; ``contents`` reads it."""
    path = folder / shard.path
    if not path.is_file():
        raise BrokenRecord(f"Shard {shard.path} of the snapshot is missing.", hint=FETCH_AGAIN)
    size = path.stat().st_size
    if size != shard.bytes:
        raise BrokenRecord(
            f"Shard {shard.path} has {size} bytes, the manifest says {shard.bytes}.",
            hint=FETCH_AGAIN,
        )
    if contents and sha256_of_file(path) != shard.sha256:
        raise BrokenRecord(
            f"Shard {shard.path} does not match the digest in the manifest.", hint=FETCH_AGAIN
        )


def read_annotations(folder: Path, shard: Shard, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of a shard, or ``columns`` of them, without those that it is too old to have."""

    def read() -> list[Row]:
        with pq.ParquetFile(folder / shard.path) as file:
            wanted = None if columns is None else list(columns)
            rows: list[Row] = file.read(columns=wanted).to_pylist()
            return rows

    found: list[Row] = _translated(shard, read)
    return found


def read_image_ids(folder: Path, shard: Shard) -> list[list[str]]:
    """The image ids of a shard, a list for each row group."""

    def read() -> list[list[str]]:
        with pq.ParquetFile(folder / shard.path, memory_map=True) as file:
            return [
                file.read_row_group(group, columns=["image_id"]).column("image_id").to_pylist()
                for group in range(file.num_row_groups)
            ]

    ids: list[list[str]] = _translated(shard, read)
    return ids


def write_durably(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step; it is on the disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(group: Sequence[Row]) -> int:
    return sum(len(row["bytes"]) for row in group)


def _translated(shard: Shard, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BrokenRecord(
            f"Shard {shard.path} cannot be read: {error}.", hint=FETCH_AGAIN
        ) from error
