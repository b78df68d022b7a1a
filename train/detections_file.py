"""The file of detections that a training leaves: what its best model saw on validation images.

One row for every image, by its id; the lists of an image where nothing was found are empty. The
confidence floor is the one of the validation, 0.001: a reader that wants a working point of the
detector filters by confidence. Boxes are clipped to the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loop.errors import BrokenRecord

DETECTIONS_FILE = "val_detections.parquet"
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4)), nullable=False),
        pa.field("class_ids", pa.list_(pa.int16()), nullable=False),
        pa.field("confidences", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class ImageDetections:
    """Of one image, the most confident first.

    ``boxes`` is (n, 4) float32, xyxy in pixels of the image as the snapshot has it; ``class_ids``
    (n,) int16, the snapshot's; ``confidences`` (n,) float32 in [0, 1].
    """

    image_id: str
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int16]
    confidences: NDArray[np.float32]


def write_detections(path: Path, rows: Sequence[ImageDetections]) -> None:
    """Write ``rows`` in the order of their image ids."""
    ordered = sorted(rows, key=lambda row: row.image_id)
    counts = [len(row.confidences) for row in ordered]
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    coordinates = _joined([row.boxes.reshape(-1) for row in ordered], np.float32)
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(coordinates), 4)
    class_ids = pa.array(_joined([row.class_ids for row in ordered], np.int16))
    confidences = pa.array(_joined([row.confidences for row in ordered], np.float32))
    columns = [
        pa.array([row.image_id for row in ordered], pa.string()),
        *(pa.ListArray.from_arrays(offsets, each) for each in (boxes, class_ids, confidences)),
    ]
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), path)


def read_detections(path: Path) -> list[ImageDetections]:
    """All rows, in the order of their image ids. Raises `BrokenRecord` where it is no such file."""
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise BrokenRecord(
            f"The detections in {path} cannot be read: {error}.", hint="Run the training again."
        ) from error
    return [_row_of(table, place) for place in range(table.num_rows)]


def _row_of(table: pa.Table, place: int) -> ImageDetections:
    boxes, class_ids, confidences = (
        table[name][place].values for name in ("boxes", "class_ids", "confidences")
    )
    return ImageDetections(
        image_id=table["image_id"][place].as_py(),
        boxes=boxes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4),
        class_ids=class_ids.to_numpy(zero_copy_only=False),
        confidences=confidences.to_numpy(zero_copy_only=False),
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([*parts, np.zeros(0, dtype)]).astype(dtype)
