from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.ultralytics_env import prepare
from loop.errors import BrokenRecord
from store.image_codec import Limits, decode
from store.snapshot_files import Snapshot
from tests.train.generated import SIZE_PX, generated_snapshot


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    prepare(tmp_path_factory.mktemp("ultralytics"))
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), 6, width_px=64)


def dataset(snapshot: Snapshot, rows: list[int], *, augment: bool = False, imgsz: int = SIZE_PX):
    from train.arrow_dataset import ArrowDataset

    data = {"names": dict(enumerate(snapshot.classes)), "nc": len(snapshot.classes), "channels": 3}
    return ArrowDataset(snapshot, rows, data=data, imgsz=imgsz, augment=augment, batch_size=2)


def test_only_the_given_rows_are_in_it(snapshot: Snapshot) -> None:
    found = dataset(snapshot, [4, 1])
    assert found.im_files == [snapshot.samples[4].image_id, snapshot.samples[1].image_id]
    assert len(found) == 2


def test_labels_give_the_pixel_boxes_back(snapshot: Snapshot) -> None:
    found = dataset(snapshot, list(range(6)))
    for label, sample in zip(found.labels, snapshot.samples, strict=True):
        centre, size = label["bboxes"][:, :2], label["bboxes"][:, 2:]
        scale = np.array([sample.width, sample.height] * 2)
        edges = np.concatenate([centre - size / 2, centre + size / 2], axis=1) * scale
        expected = np.array([final.box.xyxy for final in sample.boxes]).reshape(-1, 4)
        np.testing.assert_allclose(edges, expected, atol=1e-3)
        assert label["cls"][:, 0].tolist() == [final.class_id for final in sample.boxes]


def test_an_image_without_boxes_stays_in_as_a_negative(snapshot: Snapshot) -> None:
    found = dataset(snapshot, list(range(6)))
    negatives = [i for i, sample in enumerate(snapshot.samples) if not sample.boxes]
    assert negatives
    for index in negatives:
        assert found.labels[index]["cls"].shape == (0, 1)
        assert found[index]["bboxes"].shape == (0, 4)


def test_the_pixels_are_those_of_the_snapshot_in_bgr(snapshot: Snapshot) -> None:
    found = dataset(snapshot, [2])
    image, before, after = found.load_image(0)
    expected = decode(
        bytes(snapshot.image_bytes(snapshot.samples[2].image_id)), Limits(1 << 20, 1 << 20)
    )
    assert before == after == (SIZE_PX, 64)
    np.testing.assert_array_equal(image[:, :, ::-1], expected.pixels)


def test_the_longer_side_is_scaled_and_the_ratio_kept(snapshot: Snapshot) -> None:
    image, before, after = dataset(snapshot, [2], imgsz=192).load_image(0)
    assert (before, after) == ((96, 64), (192, 128))
    assert image.shape == (192, 128, 3)


def test_the_buffer_for_mosaics_holds_what_was_loaded_last(snapshot: Snapshot) -> None:
    found = dataset(snapshot, list(range(6)), augment=True)
    for index in range(6):
        found.load_image(index)
    assert len(found.buffer) == found.max_buffer_length - 1
    kept = [index for index in range(6) if found.ims[index] is not None]
    assert kept == sorted(found.buffer)


def test_reading_writes_no_file(snapshot: Snapshot) -> None:
    before = sorted(snapshot.folder.rglob("*"))
    found = dataset(snapshot, list(range(6)), augment=True)
    for index in range(6):
        found[index]
    assert sorted(snapshot.folder.rglob("*")) == before
    assert not list(Path.cwd().glob("*.cache")) + list(Path.cwd().glob("*.npy"))


class _Damaged:
    """A snapshot whose image bytes are none."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.samples, self.classes, self.sha256 = (
            snapshot.samples,
            snapshot.classes,
            snapshot.sha256,
        )

    def image_bytes(self, image_id: str) -> memoryview:
        return memoryview(b"not an image")


def test_bytes_that_do_not_decode_name_the_image(snapshot: Snapshot) -> None:
    found = dataset(_Damaged(snapshot), [0])  # type: ignore[arg-type]
    with pytest.raises(BrokenRecord, match=snapshot.samples[0].image_id[:12]):
        found.load_image(0)
