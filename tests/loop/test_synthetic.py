from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import label

from loop.boxes import Box, FloatArray
from loop.synthetic import CLASSES, SyntheticImage, generate


@cache
def _images() -> list[SyntheticImage]:
    return list(generate(40, seed=3))


def _difference(image: SyntheticImage) -> FloatArray:
    """How far each pixel is from the background's usual colour, in grey levels."""
    pixels = image.pixels.astype(float)
    background = np.ones(pixels.shape[:2], dtype=bool)
    for true in image.boxes:
        background[_around(true.box, 3)] = False
    difference: FloatArray = np.abs(pixels - np.median(pixels[background], axis=0)).max(axis=2)
    return difference


def _around(box: Box, margin_px: int) -> tuple[slice, slice]:
    x1, y1 = (max(0, int(edge) - margin_px) for edge in (box.x1, box.y1))
    return slice(y1, int(box.y2) + margin_px), slice(x1, int(box.x2) + margin_px)


def _same(left: SyntheticImage, right: SyntheticImage) -> bool:
    return np.array_equal(left.pixels, right.pixels) and left.boxes == right.boxes


def test_the_same_seed_makes_the_same_images() -> None:
    one, other = (list(generate(6, seed=5)) for _ in range(2))
    assert all(_same(left, right) for left, right in zip(one, other, strict=True))
    assert [image.name for image in one] == [image.name for image in other]


def test_another_seed_makes_other_images() -> None:
    for left, right in zip(generate(4, seed=5), generate(4, seed=6), strict=True):
        assert not np.array_equal(left.pixels, right.pixels)


def test_asking_for_more_images_does_not_change_the_first_ones() -> None:
    for left, right in zip(generate(3, seed=5), generate(6, seed=5), strict=False):
        assert _same(left, right)


def test_no_two_images_are_the_same() -> None:
    assert len({image.pixels.tobytes() for image in _images()}) == len(_images())
    assert len({image.name for image in _images()}) == len(_images())


@pytest.mark.parametrize("size", [64, 128, 200])
def test_images_have_the_size_and_type_asked_for(size: int) -> None:
    (image,) = generate(1, seed=1, size=size)
    assert image.pixels.shape == (size, size, 3)
    assert image.pixels.dtype == np.uint8


def test_boxes_lie_inside_the_image() -> None:
    for image in _images():
        height, width = image.pixels.shape[:2]
        assert all(true.box.inside(width, height) for true in image.boxes)


def test_there_is_something_else_than_background_in_each_box() -> None:
    for image in _images():
        difference = _difference(image)
        for true in image.boxes:
            assert np.percentile(difference[_around(true.box, 0)], 90) > 40


def test_boxes_are_tight_around_what_they_show() -> None:
    errors_px = [
        error
        for image in _images()
        for true in image.boxes
        if (error := _edge_error_px(image, true.box)) is not None
    ]
    assert len(errors_px) > 50
    # Blur and noise move an edge by a pixel; a speck that touches a cell may add to it.
    assert np.mean(np.array(errors_px) <= 1) > 0.95
    assert max(errors_px) <= 4


def _edge_error_px(image: SyntheticImage, box: Box) -> int | None:
    """How far the worst edge is from that of the object in it; None if others are too near."""
    rows, columns = _around(box, 5)
    for other in (true.box for true in image.boxes if true.box != box):
        beside = other.x2 <= columns.start or other.x1 >= columns.stop
        if not (beside or other.y2 <= rows.start or other.y1 >= rows.stop):
            return None
    difference = _difference(image)
    strong = np.percentile(difference[_around(box, 0)], 90) / 2
    labels, _ = label(difference[rows, columns] > strong)
    largest = 1 + np.bincount(labels.ravel())[1:].argmax()
    y, x = np.nonzero(labels == largest)
    found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    corner = np.array([columns.start, rows.start])
    return int(np.abs(found + np.tile(corner, 2) - np.array(box.xyxy)).max())


def test_every_class_occurs_and_the_later_ones_are_rarer() -> None:
    found = [true.class_id for image in _images() for true in image.boxes]
    counts = np.bincount(found, minlength=len(CLASSES))
    assert counts[0] > counts[1] > counts[2] > 0


def test_some_images_show_nothing_but_few_do() -> None:
    empty = sum(not image.boxes for image in generate(120, seed=1, size=64))
    assert 1 <= empty <= 30


def test_a_subject_is_a_run_of_images_with_one_stain() -> None:
    images = list(generate(40, seed=9, images_per_subject=8, prefix="smear"))
    subjects = [image.subject for image in images]
    assert subjects == [f"smear{number:03d}" for number in range(5) for _ in range(8)]
    assert all(image.name.startswith(f"{image.subject}_") for image in images)
    colours = np.array([np.median(image.pixels, axis=(0, 1)) for image in images])
    by_subject = colours.reshape(5, 8, 3)
    within = by_subject.std(axis=1).mean()
    between = by_subject.mean(axis=1).std(axis=0).mean()
    assert within < between
