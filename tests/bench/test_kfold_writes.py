from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.kfold_writes import ImageWrites, is_image_data
from store.image_codec import encode_jpeg, encode_png

PIXELS = np.zeros((8, 8, 3), dtype=np.uint8)


def arrow_file(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def written(path: Path, kind: str) -> Path:
    """A file of each kind that a run might leave."""
    match kind:
        case "png":
            path.write_bytes(encode_png(PIXELS))
        case "jpeg":
            path.write_bytes(encode_jpeg(PIXELS))
        case "array" | "labels":
            with path.open("wb") as file:
                np.save(file, PIXELS)
        case "arrow pixels":
            arrow_file(path, pa.table({"pixels": pa.array([b"abc"])}))
        case "parquet pixels":
            pq.write_table(pa.table({"pixels": pa.array([b"abc"])}), path)
        case "parquet boxes":
            pq.write_table(pa.table({"image_id": ["a"], "x": [1.0]}), path)
        case "spilled":
            path.parent.mkdir()
            path.write_bytes(b"abc")
        case _:
            path.write_text("epoch,map50\n1,0.5\n")
    return path


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("png", "a.png"),
        ("jpeg", "without-suffix"),
        ("array", "a.npy"),
        ("arrow pixels", "a.arrow"),
        ("parquet pixels", "a.parquet"),
        ("spilled", "ray_spilled_objects/ab12"),
    ],
)
def test_images_are_known_by_what_is_in_the_file(kind: str, name: str, tmp_path: Path) -> None:
    assert is_image_data(written(tmp_path / name, kind))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("table", "results.csv"), ("parquet boxes", "boxes.parquet"), ("labels", "labels.cache")],
)
def test_results_and_labels_are_no_images(kind: str, name: str, tmp_path: Path) -> None:
    assert not is_image_data(written(tmp_path / name, kind))


def test_new_images_count_wherever_they_are_and_old_ones_do_not(tmp_path: Path) -> None:
    written(tmp_path / "old.png", "png")
    (tmp_path / "below").mkdir()
    with ImageWrites(tmp_path) as writes:
        written(tmp_path / "results.csv", "table")
        new = written(tmp_path / "below" / "new.png", "png")
    assert writes.nbytes == new.stat().st_size


def test_an_image_that_is_removed_again_counts(tmp_path: Path) -> None:
    with ImageWrites(tmp_path) as writes:
        new = written(tmp_path / "new.png", "png")
        size = new.stat().st_size
        deadline = time.monotonic() + 60
        while not writes.nbytes:
            assert time.monotonic() < deadline
        new.unlink()
    assert writes.nbytes == size
