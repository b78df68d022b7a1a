"""A snapshot's images, decoded and resized once, for every fold that trains on them.

Arrow tables hold the pixels in chunks of some MB. Who opens them, from shared memory or
from a memory-mapped file, reads them where they lie: k folds on a node have one copy.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loop.errors import BrokenRecord
from store.snapshot_files import Sample, Snapshot

# A chunk is in memory twice while it is made.
_CHUNK_BYTES = 16 * 1024 * 1024
_SIZES = ("height", "width", "original_height", "original_width")
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        *(pa.field(name, pa.int32(), nullable=False) for name in _SIZES),
        # Rows of the resized image from the top, three bytes a pixel: blue, green, red.
        pa.field("pixels", pa.binary(), nullable=False),
    ]
)
_IMAGE_SIZE = b"image_size"


class ImageSource(Protocol):
    """Where another process finds the decoded images; it can be pickled."""

    def open(self) -> DecodedImages | None:
        """The images, or None where they are lost: they are decoded from the snapshot then."""


class DecodedImages:
    """Images with their longer side at ``image_size`` pixels, by id; read-only and not copied.

    ``nbytes`` is what the pixels and their index take.
    """

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self.nbytes = 0
        self.image_size = 0
        for table in tables:
            self.image_size = int(table.schema.metadata[_IMAGE_SIZE])
            self.nbytes += table.nbytes
            for batch in table.to_batches():
                self._add(batch)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._images

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """BGR (h, w, 3), a view that cannot be written to. Raises `KeyError` without such one."""
        return self._images[image_id]

    def original_size(self, image_id: str) -> tuple[int, int]:
        """Height and width in pixels before it was resized."""
        return self._sizes[image_id]

    def _add(self, batch: pa.RecordBatch) -> None:
        ids = batch.column("image_id").to_pylist()
        sizes = zip(*(batch.column(name).to_pylist() for name in _SIZES), strict=True)
        views = _views(batch.column("pixels"))
        for image_id, view, (height, width, *original) in zip(ids, views, sizes, strict=True):
            self._images[image_id] = view.reshape(height, width, 3)
            self._sizes[image_id] = (original[0], original[1])


def _views(column: pa.BinaryArray) -> Iterator[NDArray[np.uint8]]:
    """Each value of ``column`` where it lies: its scalars would be copies."""
    _, offsets, data = column.buffers()
    edges = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    pixels: NDArray[np.uint8] = np.frombuffer(memoryview(data).toreadonly(), np.uint8)
    for start, end in itertools.pairwise(edges.tolist()):
        yield pixels[start:end]


@dataclass(frozen=True, slots=True)
class MappedImages:
    """Decoded images in an Arrow IPC file, which each process maps into its memory.

    In a folder of shared memory (``/dev/shm``) no disk is written. Whoever made it removes it.
    """

    path: Path

    def open(self) -> DecodedImages:
        with pa.memory_map(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            return DecodedImages([reader.read_all()])


def write_images(path: Path, tables: Iterable[pa.Table]) -> MappedImages:
    """Write what `decode_images` yields, a chunk at a time, into one file."""
    partial = path.with_name(f".{path.name}.partial")
    writer: pa.RecordBatchFileWriter | None = None
    try:
        with partial.open("wb") as file:
            for table in tables:
                writer = writer or pa.ipc.new_file(file, table.schema)
                writer.write_table(table)
            if writer is not None:
                writer.close()
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return MappedImages(path)


def decode_images(
    snapshot: Snapshot,
    rows: Iterable[int],
    image_size: int,
    *,
    chunk_bytes: int = _CHUNK_BYTES,
    threads: int | None = None,
) -> Iterator[pa.Table]:
    """Tables of `SCHEMA` with the images of ``rows``, each once, in order; a table is a chunk.

    Their longer side gets ``image_size`` pixels. Raises `BrokenRecord` naming an image that does
    not decode.
    """
    schema = SCHEMA.with_metadata({_IMAGE_SIZE: str(image_size)})
    samples = [snapshot.samples[row] for row in sorted(set(rows))]

    def decode(sample: Sample) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        image = decode_image(snapshot, sample.image_id)
        return resize(image, image_size, keep_ratio=True), (image.shape[0], image.shape[1])

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for chunk in _chunks(samples, image_size, chunk_bytes):
            yield _table([sample.image_id for sample in chunk], [*pool.map(decode, chunk)], schema)


def decoded_bytes(snapshot: Snapshot, rows: Iterable[int], image_size: int) -> int:
    """How much memory the pixels of ``rows`` will take."""
    return sum(_bytes_of(snapshot.samples[row], image_size) for row in set(rows))


def decode_image(snapshot: Snapshot, image_id: str) -> NDArray[np.uint8]:
    """One image in its own size, BGR. Raises `BrokenRecord`."""
    data = np.frombuffer(snapshot.image_bytes(image_id), dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise BrokenRecord(
            f"Image {image_id[:12]} of snapshot {snapshot.sha256[:12]} does not decode.",
            hint="Fetch the snapshot again: dvc checkout --force.",
        )
    return image.astype(np.uint8, copy=False)


def resize(image: NDArray[np.uint8], size: int, *, keep_ratio: bool) -> NDArray[np.uint8]:
    """The longer side at ``size`` pixels, or both (``BaseDataset.load_image`` of Ultralytics)."""
    height, width = image.shape[:2]
    new_height, new_width = _resized(height, width, size) if keep_ratio else (size, size)
    if (new_height, new_width) == (height, width):
        return image
    resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.uint8, copy=False)


def _resized(height: int, width: int, size: int) -> tuple[int, int]:
    ratio = size / max(height, width)
    return min(math.ceil(height * ratio), size), min(math.ceil(width * ratio), size)


def _bytes_of(sample: Sample, size: int) -> int:
    height, width = _resized(sample.height, sample.width, size)
    return height * width * 3


def _chunks(samples: Sequence[Sample], size: int, chunk_bytes: int) -> Iterator[list[Sample]]:
    chunk: list[Sample] = []
    filled = 0
    for sample in samples:
        own = _bytes_of(sample, size)
        if chunk and filled + own > chunk_bytes:
            yield chunk
            chunk, filled = [], 0
        chunk.append(sample)
        filled += own
    if chunk:
        yield chunk


def _table(
    image_ids: Sequence[str],
    decoded: Sequence[tuple[NDArray[np.uint8], tuple[int, int]]],
    schema: pa.Schema,
) -> pa.Table:
    sizes = [(*image.shape[:2], *original) for image, original in decoded]
    columns = [
        pa.array(image_ids, pa.string()),
        *(pa.array(column, pa.int32()) for column in zip(*sizes, strict=True)),
        pa.array([image.data.cast("B") for image, _ in decoded], pa.binary()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
