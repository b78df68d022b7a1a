"""The file of out-of-fold predictions: Parquet, as ``docs/out-of-fold-format.md`` describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loop.classes import ClassList
from loop.errors import BrokenRecord
from train.detections_file import ImageDetections
from train.out_of_fold import SCHEMA_VERSION, OutOfFold, Seen

OUT_OF_FOLD = "out_of_fold.parquet"
_BOXES = pa.list_(pa.list_(pa.float32(), 4))
_CLASS_IDS = pa.list_(pa.int16())
_COLUMNS = [
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("row", pa.int32(), nullable=False),
    pa.field("fold", pa.int8(), nullable=False),
    pa.field("subject", pa.string(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("boxes", _BOXES, nullable=False),
    pa.field("class_ids", _CLASS_IDS, nullable=False),
    pa.field("confidences", pa.list_(pa.float32()), nullable=False),
    pa.field("true_boxes", _BOXES, nullable=False),
    pa.field("true_class_ids", _CLASS_IDS, nullable=False),
]


def write_out_of_fold(path: Path, seen: OutOfFold) -> None:
    images = seen.images
    columns: list[Any] = [
        [image.image_id for image in images],
        [image.row for image in images],
        [image.fold for image in images],
        [image.subject for image in images],
        [image.width for image in images],
        [image.height for image in images],
        _box_lists([image.detected.boxes for image in images]),
        _lists([image.detected.class_ids for image in images], pa.int16()),
        _lists([image.detected.confidences for image in images], pa.float32()),
        _box_lists([image.true_boxes for image in images]),
        _lists([image.true_class_ids for image in images], pa.int16()),
    ]
    table = pa.table(columns, schema=pa.schema(_COLUMNS, metadata=dict(seen.metadata)))
    # Every option is set, so that the same predictions are the same bytes.
    pq.write_table(table, path, version="2.6", compression="zstd", write_statistics=False)


def read_out_of_fold(path: Path) -> OutOfFold:
    """Raises `BrokenRecord` where it is no such file."""
    try:
        table = pq.read_table(path)
        metadata = {key.decode(): text.decode() for key, text in table.schema.metadata.items()}
        if int(metadata["schema"]) != SCHEMA_VERSION or not table.schema.equals(
            pa.schema(_COLUMNS), check_metadata=False
        ):
            raise BrokenRecord(f"{path} has another schema than this version reads.")
        classes = ClassList(tuple(json.loads(metadata["classes"])))
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        raise BrokenRecord(
            f"{path} has no out-of-fold predictions: {error!r}.", hint="Run the training again."
        ) from error
    images = tuple(_read(table, place) for place in range(table.num_rows))
    return OutOfFold(classes, images, metadata)


def _read(table: pa.Table, place: int) -> Seen:
    def boxes(name: str) -> NDArray[np.float32]:
        flat = table[name][place].values.flatten()
        found: NDArray[np.float32] = flat.to_numpy(zero_copy_only=False).reshape(-1, 4)
        return found

    def values(name: str) -> NDArray[Any]:
        found: NDArray[Any] = table[name][place].values.to_numpy(zero_copy_only=False)
        return found

    return Seen(
        row=table["row"][place].as_py(),
        fold=table["fold"][place].as_py(),
        subject=table["subject"][place].as_py(),
        width=table["width"][place].as_py(),
        height=table["height"][place].as_py(),
        detected=ImageDetections(
            table["image_id"][place].as_py(),
            boxes("boxes"),
            values("class_ids"),
            values("confidences"),
        ),
        true_boxes=boxes("true_boxes"),
        true_class_ids=values("true_class_ids"),
    )


def _lists(parts: Sequence[NDArray[Any]], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    values = np.concatenate([*parts, np.zeros(0)])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values).cast(kind))


def _box_lists(parts: Sequence[NDArray[np.float32]]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
    flat = np.concatenate([*(part.reshape(-1) for part in parts), np.zeros(0, np.float32)])
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), 4)
    return pa.ListArray.from_arrays(pa.array(offsets), boxes)
