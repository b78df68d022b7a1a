from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from store.snapshot_files import Snapshot
from tests.train.generated import generated_snapshot
from tests.train.held_out import IMAGES, seen_by_a_good_model
from train.detections_file import write_detections
from train.error_examples import drawn, errors_page
from train.out_of_fold import HeldOut, OutOfFold, collect


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), IMAGES)


@pytest.fixture
def seen(snapshot: Snapshot, tmp_path: Path) -> OutOfFold:
    rows = tuple(range(IMAGES))
    write_detections(tmp_path / "d.parquet", seen_by_a_good_model(snapshot, rows))
    return collect(snapshot, [HeldOut(0, rows, tmp_path / "d.parquet")], rows, {})


def test_the_page_shows_the_worst_images_twice_each_and_needs_nothing_else(
    snapshot: Snapshot, seen: OutOfFold
) -> None:
    page = errors_page(snapshot, seen, most=2)
    pictures = re.findall(r"src='data:image/jpeg;base64,([^']+)'", page)
    assert len(pictures) == 2 * 2
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert max(image.size) > 500  # 96 pixels, enlarged to be seen
    assert f"The 2 worst of {IMAGES} images" in page
    assert "false" in page
    assert not re.search(r"(src|href)=['\"](?!data:)", page)


def test_without_an_error_the_page_says_so(snapshot: Snapshot, seen: OutOfFold) -> None:
    assert "No image has an error." in errors_page(snapshot, replace(seen, images=()))


def test_a_class_name_stays_text(snapshot: Snapshot, seen: OutOfFold) -> None:
    nasty = ClassList(tuple(f"<script>{n}" for n in range(len(seen.classes))))
    page = errors_page(snapshot, replace(seen, classes=nasty), most=1)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_boxes_are_drawn_where_they_are_and_labels_stay_inside() -> None:
    ground = Image.fromarray(np.full((50, 100, 3), 255, np.uint8))
    box = LabelledBox("b", Box(80, 10, 99, 40), 0)
    plain, labelled = (
        drawn(ground, [(box, "#D55E00", "")]),
        drawn(ground, [(box, "#D55E00", "a much longer name 0.93")]),
    )
    assert plain.size == labelled.size == (600, 300)  # six times, the most
    pixels = np.array(plain)
    assert pixels[150, 100].tolist() == [255, 255, 255]
    assert pixels[150, 482].tolist() == [0xD5, 0x5E, 0x00]
    orange = (np.array(labelled) == (0xD5, 0x5E, 0x00)).all(axis=2)
    assert orange[:, :440].any()  # the label begins further left than its box
