from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.letterbox import network_input, place, suppress, to_detections
from detector.ultralytics_env import prepare

SIDES = st.integers(1, 2000)


@given(SIDES, SIDES, st.integers(32, 1280), st.sampled_from([32, 64]))
def test_the_padded_rectangle_is_the_smallest_of_whole_strides(
    height: int, width: int, size: int, stride: int
) -> None:
    own = place(height, width, size, stride)
    side = -(-size // stride) * stride
    assert all(each % stride == 0 for each in own.padded)
    assert max(own.resized) == side
    for inner, outer in zip(own.resized, own.padded, strict=True):
        assert inner <= outer < inner + stride
    assert 0 <= own.top <= own.padded[0] - own.resized[0]
    assert 0 <= own.left <= own.padded[1] - own.resized[1]


@given(SIDES, SIDES)
def test_a_box_over_the_input_s_image_is_one_over_the_whole_image(height: int, width: int) -> None:
    own = place(height, width, 320, 32)
    new_height, new_width = own.resized
    box = [[own.left, own.top, own.left + new_width, own.top + new_height]]
    moved = own.boxes_in_image(np.array(box, dtype=np.float64))
    np.testing.assert_allclose(moved, [[0, 0, width, height]], atol=1e-6)


@pytest.mark.slow
def test_images_are_placed_as_ultralytics_places_them(config_dir: Path) -> None:
    prepare(config_dir)
    from ultralytics.data.augment import LetterBox

    rng = np.random.default_rng(0)
    for height, width in [(480, 640), (95, 130), (1, 300), (333, 20), (64, 64), (700, 701)]:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        own = place(height, width, 100, 32)
        theirs = LetterBox((128, 128), auto=True, stride=32)(image=image)
        assert theirs.shape[:2] == own.padded
        expected = theirs.transpose(2, 0, 1)[None].astype(np.float32) / 255
        np.testing.assert_allclose(network_input([image], [own]), expected, atol=1e-6)


@pytest.mark.slow
def test_boxes_are_suppressed_as_ultralytics_suppresses_them(config_dir: Path) -> None:
    prepare(config_dir)
    import torch
    import torchvision  # noqa: F401  # Ultralytics uses it if it is imported
    from ultralytics.utils.nms import non_max_suppression

    rng = np.random.default_rng(1)
    output = np.concatenate(
        [rng.uniform(0, 300, (2, 600)), rng.uniform(5, 90, (2, 600)), rng.uniform(0, 1, (3, 600))]
    ).astype(np.float32)
    own = suppress(output, min_confidence=0.3, nms_iou=0.5)
    (theirs,) = non_max_suppression(torch.from_numpy(output[None].copy()), 0.3, 0.5, max_det=1000)
    assert 20 < len(own) < np.count_nonzero(output[4:].max(0) > 0.3) - 20
    np.testing.assert_allclose(own, theirs.numpy(), atol=1e-3)


def test_what_is_not_a_number_is_not_detected() -> None:
    output = np.full((6, 3), np.nan, dtype=np.float32)
    output[:, 0] = (10, 10, 4, 4, 0.9, 0.1)
    output[4:, 1] = 0.8
    rows = suppress(output, min_confidence=0.25, nms_iou=0.5)
    (found,) = to_detections(rows, 100, 100, 0.25)
    assert found.box.xyxy == (8, 8, 12, 12)
    assert (found.class_id, found.confidence) == (0, pytest.approx(0.9))
    assert to_detections(np.zeros((0, 6)), 10, 10, 0.25) == ()
