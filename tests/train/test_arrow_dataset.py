from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.ultralytics_env import prepare
from loop.errors import BrokenRecord
from store.image_codec import Limits, decode
from store.snapshot_files import Snapshot
from tests.train.damaged import Damaged
from tests.train.generated import SIZE_PX, generated_snapshot
from train.decoded import DecodedImages, decode_images, write_images


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    prepare(tmp_path_factory.mktemp("ultralytics"))
    return generated_snapshot(tmp_path_factory.mktemp("snapshot"), 6, width_px=64)


def dataset(
    snapshot: Snapshot,
    rows: list[int],
    *,
    augment: bool = False,
    imgsz: int = SIZE_PX,
    images: DecodedImages | None = None,
    **hyperparameters: float,
):
    from ultralytics.cfg import get_cfg

    from train.arrow_dataset import ArrowDataset

    data = {"names": dict(enumerate(snapshot.classes)), "nc": len(snapshot.classes), "channels": 3}
    return ArrowDataset(
        snapshot,
        rows,
        images=images,
        data=data,
        imgsz=imgsz,
        augment=augment,
        batch_size=2,
        hyp=get_cfg(overrides=hyperparameters),
    )


def drawn(found, seed: int = 0) -> list[dict[str, Any]]:
    """Three epochs of training images."""
    random.seed(seed)
    np.random.seed(seed)  # the one that Ultralytics draws from
    return [found[index] for _ in range(3) for index in range(len(found))]


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


def test_bytes_that_do_not_decode_name_the_image(snapshot: Snapshot) -> None:
    found = dataset(Damaged(snapshot), [0])  # type: ignore[arg-type]
    with pytest.raises(BrokenRecord, match=snapshot.samples[0].image_id[:12]):
        found.load_image(0)


# What each augmentation can do to an image that it was handed.
AUGMENTATIONS = [
    {},  # Ultralytics' own
    {"mosaic": 0.0},
    {"mosaic": 0.0, "scale": 0.0, "translate": 0.0, "hsv_h": 0.5, "hsv_s": 0.9, "hsv_v": 0.9},
    {"mosaic": 0.5, "mixup": 1.0, "cutmix": 1.0, "flipud": 1.0, "bgr": 0.5, "degrees": 20.0},
]


@pytest.mark.parametrize("hyperparameters", AUGMENTATIONS)
@pytest.mark.parametrize("imgsz", [SIZE_PX, 64])
def test_decoded_images_train_as_those_that_are_decoded_each_time(
    snapshot: Snapshot, hyperparameters: dict[str, float], imgsz: int
) -> None:
    images = DecodedImages([*decode_images(snapshot, range(6), imgsz)])
    decoding = drawn(dataset(snapshot, [*range(6)], augment=True, imgsz=imgsz, **hyperparameters))
    sharing = drawn(
        dataset(snapshot, [*range(6)], augment=True, imgsz=imgsz, images=images, **hyperparameters)
    )
    for mine, theirs in zip(sharing, decoding, strict=True):
        np.testing.assert_array_equal(mine["img"], theirs["img"])
        np.testing.assert_array_equal(mine["bboxes"], theirs["bboxes"])
        np.testing.assert_array_equal(mine["cls"], theirs["cls"])
        assert mine["ori_shape"] == theirs["ori_shape"]


@pytest.mark.parametrize("hyperparameters", AUGMENTATIONS)
def test_training_changes_no_byte_of_the_shared_images(
    snapshot: Snapshot, hyperparameters: dict[str, float], tmp_path: Path
) -> None:
    source = write_images(tmp_path / "images.arrow", decode_images(snapshot, range(6), SIZE_PX))
    before = source.path.read_bytes()
    images = source.open()
    drawn(dataset(snapshot, [*range(6)], augment=True, images=images, **hyperparameters))
    assert source.path.read_bytes() == before


def test_what_is_handed_out_may_be_written_to_and_is_nobody_elses(snapshot: Snapshot) -> None:
    images = DecodedImages([*decode_images(snapshot, range(6), SIZE_PX)])
    found = dataset(snapshot, [0], images=images)
    image, _, _ = found.load_image(0)
    assert image.flags.writeable
    assert not np.shares_memory(image, images.image(found.im_files[0]))


def test_decoded_images_are_not_kept_a_second_time(snapshot: Snapshot) -> None:
    images = DecodedImages([*decode_images(snapshot, range(6), SIZE_PX)])
    found = dataset(snapshot, [*range(6)], augment=True, images=images)
    drawn(found)
    assert found.buffer
    assert all(image is None for image in found.ims)


def test_a_decoded_image_is_not_decoded_again(snapshot: Snapshot) -> None:
    images = DecodedImages([*decode_images(snapshot, range(6), SIZE_PX)])
    found = dataset(Damaged(snapshot), [*range(6)], augment=True, images=images)  # type: ignore[arg-type]
    assert len(drawn(found)) == 18


def test_images_that_are_missing_or_of_another_size_are_decoded(snapshot: Snapshot) -> None:
    images = DecodedImages([*decode_images(snapshot, [0], SIZE_PX)])
    _, _, size = dataset(snapshot, [1], images=images).load_image(0)
    assert size == (SIZE_PX, 64)
    _, _, size = dataset(snapshot, [0], images=images, imgsz=192).load_image(0)
    assert size == (192, 128)
