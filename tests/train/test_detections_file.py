from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.errors import BrokenRecord
from train.detections_file import SCHEMA, ImageDetections, read_detections, write_detections


def seen(image_id: str, count: int, seed: int = 0) -> ImageDetections:
    random = np.random.default_rng(seed)
    return ImageDetections(
        image_id,
        random.random((count, 4)).astype(np.float32) * 100,
        random.integers(0, 80, count).astype(np.int16),
        random.random(count).astype(np.float32),
    )


@settings(deadline=None, max_examples=20)
@given(counts=st.lists(st.integers(0, 4), max_size=5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("detections") / "found.parquet"
    rows = [seen(f"image{place}", count, place) for place, count in enumerate(counts)]
    write_detections(path, rows)
    found = read_detections(path)
    assert [row.image_id for row in found] == [row.image_id for row in rows]
    for row, wanted in zip(found, rows, strict=True):
        assert (row.boxes.dtype, row.class_ids.dtype) == (np.float32, np.int16)
        assert row.boxes.shape == (len(wanted.confidences), 4)
        np.testing.assert_array_equal(row.boxes, wanted.boxes)
        np.testing.assert_array_equal(row.class_ids, wanted.class_ids)
        np.testing.assert_array_equal(row.confidences, wanted.confidences)


def test_rows_are_in_the_order_of_their_ids_with_the_documented_types(tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"
    write_detections(path, [seen("b", 2), seen("c", 0), seen("a", 1)])
    table = pq.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert table["image_id"].to_pylist() == ["a", "b", "c"]
    assert table["boxes"].to_pylist()[2] == []


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "found.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(BrokenRecord, match=r"found\.parquet cannot be read"):
        read_detections(tmp_path / "found.parquet")
