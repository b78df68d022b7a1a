from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from loop.errors import BrokenRecord
from store.snapshot_files import Snapshot
from tests.train.generated import generated_snapshot
from tests.train.held_out import FOLDS, IMAGES, plan_of, seen_by_a_good_model
from train.detections_file import write_detections
from train.out_of_fold import HeldOut, collect
from train.out_of_fold_file import read_out_of_fold, write_out_of_fold

DIGESTS = {"folds_sha256": "a" * 64}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), IMAGES)


def held_out(snapshot: Snapshot, folder: Path, rows: Sequence[Sequence[int]]) -> list[HeldOut]:
    parts = []
    for fold, own in enumerate(rows):
        path = folder / f"{fold}.parquet"
        write_detections(path, seen_by_a_good_model(snapshot, own))
        parts.append(HeldOut(fold, tuple(own), path))
    return parts


@pytest.fixture
def parts(snapshot: Snapshot, tmp_path: Path) -> list[HeldOut]:
    plan = plan_of(snapshot, tmp_path)
    return held_out(snapshot, tmp_path, [split.val_rows for split in plan.splits])


def test_every_image_is_there_once_with_the_fold_that_left_it_out(
    snapshot: Snapshot, parts: list[HeldOut]
) -> None:
    seen = collect(snapshot, parts, range(IMAGES), DIGESTS)
    assert [image.row for image in seen.images] == list(range(IMAGES))
    assert [image.fold for image in seen.images] == [row % FOLDS for row in range(IMAGES)]
    for image, sample in zip(seen.images, snapshot.samples, strict=True):
        assert (image.image_id, image.subject) == (sample.image_id, sample.subject)
        edges = np.array([final.box.xyxy for final in sample.boxes], np.float32).reshape(-1, 4)
        assert np.array_equal(image.true_boxes, edges)
        assert image.true_class_ids.tolist() == [final.class_id for final in sample.boxes]


def test_the_file_gives_back_what_was_written(
    snapshot: Snapshot, parts: list[HeldOut], tmp_path: Path
) -> None:
    seen = collect(snapshot, parts, range(IMAGES), DIGESTS)
    path, again = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write_out_of_fold(path, seen)
    write_out_of_fold(again, seen)
    assert path.read_bytes() == again.read_bytes()
    read = read_out_of_fold(path)
    assert read.classes == snapshot.classes
    assert read.metadata["snapshot_sha256"] == snapshot.sha256
    assert read.metadata["folds_sha256"] == "a" * 64
    assert json.loads(read.metadata["classes"]) == list(snapshot.classes)
    assert float(read.metadata["confidence_floor"]) == 0.001
    assert (read.truth(), read.detected()) == (seen.truth(), seen.detected())
    for before, after in zip(seen.images, read.images, strict=True):
        assert (before.row, before.fold, before.subject) == (after.row, after.fold, after.subject)
        assert (before.width, before.height) == (after.width, after.height)


def test_any_parquet_reader_gets_boxes_in_pixels_and_an_empty_list_for_a_negative(
    snapshot: Snapshot, parts: list[HeldOut], tmp_path: Path
) -> None:
    write_out_of_fold(tmp_path / "o.parquet", collect(snapshot, parts, range(IMAGES), DIGESTS))
    table = pq.read_table(tmp_path / "o.parquet").to_pylist()
    negative = next(row for row, sample in enumerate(snapshot.samples) if not sample.boxes)
    assert table[negative]["true_boxes"] == table[negative]["true_class_ids"] == []
    assert table[negative]["boxes"] == [[0.0, 0.0, 8.0, 8.0]]
    positive = next(row for row, sample in enumerate(snapshot.samples) if sample.boxes)
    first = snapshot.samples[positive].boxes[0].box
    assert table[positive]["boxes"][0] == pytest.approx(
        [first.x1 + 1, first.y1, first.x2 + 1, first.y2], abs=1e-3
    )


def test_detections_can_be_had_from_a_confidence_up(
    snapshot: Snapshot, parts: list[HeldOut]
) -> None:
    seen = collect(snapshot, parts, range(IMAGES), DIGESTS)
    sure = seen.detected(at_least=0.5)
    assert [len(boxes) for boxes in sure] == [len(sample.boxes) for sample in snapshot.samples]
    assert [len(boxes) for boxes in seen.detected()] == [len(boxes) + 1 for boxes in sure]


def test_an_image_that_no_fold_held_out_is_missed(snapshot: Snapshot, parts: list[HeldOut]) -> None:
    with pytest.raises(BrokenRecord, match=f"6 of {IMAGES} images"):
        collect(snapshot, parts[:2], range(IMAGES), DIGESTS)


def test_an_image_that_two_folds_held_out_is_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    parts = held_out(snapshot, tmp_path, [(0, 1), (1, 2)])
    with pytest.raises(BrokenRecord, match="folds 0 and 1"):
        collect(snapshot, parts, range(3), DIGESTS)


@pytest.mark.parametrize("rows", [(0,), (0, 1, 2), (0, 2)])
def test_a_fold_whose_file_is_not_about_its_own_images_is_refused(
    snapshot: Snapshot, tmp_path: Path, rows: tuple[int, ...]
) -> None:
    (part,) = held_out(snapshot, tmp_path, [rows])
    with pytest.raises(BrokenRecord, match="each validation image of fold 0 once"):
        collect(snapshot, [replace(part, rows=(0, 1))], (0, 1), DIGESTS)


def test_a_gold_image_is_refused(snapshot: Snapshot, parts: list[HeldOut]) -> None:
    opened = Snapshot(snapshot.folder, snapshot.manifest)
    opened.samples[3] = replace(opened.samples[3], gold=True)
    with pytest.raises(BrokenRecord, match="Gold image"):
        collect(opened, parts, range(IMAGES), DIGESTS)


def test_a_detection_without_area_is_kept_in_the_file_and_no_box(
    snapshot: Snapshot, tmp_path: Path
) -> None:
    (detected,) = seen_by_a_good_model(snapshot, [0])
    flat = detected.boxes.copy()
    flat[-1] = (0, 5, 0, 9)
    write_detections(tmp_path / "d.parquet", [replace(detected, boxes=flat)])
    seen = collect(snapshot, [HeldOut(0, (0,), tmp_path / "d.parquet")], [0], DIGESTS)
    assert len(seen.images[0].detected.boxes) == len(seen.detected()[0]) + 1


def test_another_file_is_not_read(tmp_path: Path, snapshot: Snapshot) -> None:
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    with pytest.raises(BrokenRecord, match="no out-of-fold predictions"):
        read_out_of_fold(tmp_path / "no.parquet")
    write_detections(tmp_path / "d.parquet", seen_by_a_good_model(snapshot, [0]))
    with pytest.raises(BrokenRecord):
        read_out_of_fold(tmp_path / "d.parquet")
