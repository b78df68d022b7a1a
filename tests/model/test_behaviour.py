"""How a trained detector behaves, whatever its score: Ribeiro et al., "Beyond Accuracy:
Behavioral Testing of NLP Models with CheckList", arXiv:2005.04118.

The weights have seen these images in training, so nothing here measures how good they are. The
thresholds lie below what was seen: of the boxes of each image 0.79 at least were found again after
a flip (0.88 in the median), all of them in a brighter image; where half of each image was covered,
1 of 38 detections stayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from detector.base import Detector, Pixels
from loop.agreement import AgreementSettings, LabelledBox, compare
from loop.boxes import Box
from loop.predictions import Detection

SAME_PLACE = AgreementSettings(match_iou=0.5)

Detections = list[tuple[Detection, ...]]


def test_a_white_blood_cell_is_found_in_an_image_that_shows_one(
    detector: Detector, detections: Detections
) -> None:
    white = detector.classes.id_of("WBC")
    for found in detections:
        assert any(d.class_id == white and d.confidence > 0.5 for d in found)


def test_red_cells_are_the_most_frequent(detector: Detector, detections: Detections) -> None:
    red = detector.classes.id_of("RBC")
    for found in detections:
        assert sum(d.class_id == red for d in found) > len(found) / 2


def test_boxes_lie_inside_the_image(detections: Detections, smears: list[Pixels]) -> None:
    for found, pixels in zip(detections, smears, strict=True):
        assert all(d.box.inside(pixels.shape[1], pixels.shape[0]) for d in found)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_nothing_is_found_in_an_image_that_shows_nothing(detector: Detector, shade: int) -> None:
    (found,) = detector.detect([np.full((480, 640, 3), shade, dtype=np.uint8)])
    assert found == ()


def test_a_flipped_image_has_flipped_boxes(
    detector: Detector, detections: Detections, smears: list[Pixels]
) -> None:
    flipped = detector.detect([np.ascontiguousarray(pixels[:, ::-1]) for pixels in smears])
    width = smears[0].shape[1]
    kept = _shares_kept(detections, flipped, lambda box: _mirrored(box, width))
    assert np.median(kept) >= 0.75
    assert min(kept) >= 0.6


def test_more_light_changes_little(
    detector: Detector, detections: Detections, smears: list[Pixels]
) -> None:
    bright = [np.clip(pixels * 1.1, 0, 255).astype(np.uint8) for pixels in smears]
    kept = _shares_kept(detections, detector.detect(bright), lambda box: box)
    assert min(kept) >= 0.8


def test_what_is_covered_is_not_found_and_the_rest_still_is(
    detector: Detector, detections: Detections, smears: list[Pixels]
) -> None:
    covered = [pixels.copy() for pixels in smears]
    for pixels in covered:
        middle = pixels.shape[1] // 2
        pixels[:, :middle] = np.median(pixels, axis=(0, 1))
    after = detector.detect(covered)
    # Cells near the edge of the cover are half there, and count for neither side.
    assert _count(after, to_px=280) <= 0.15 * _count(detections, to_px=280)
    assert _count(after, from_px=340) >= 0.8 * _count(detections, from_px=340)


def _shares_kept(before: Detections, after: Detections, back: Callable[[Box], Box]) -> list[float]:
    """For each image, the share of detections that have one of their class at their place."""
    shares = []
    for old, new in zip(before, after, strict=True):
        found = compare(_labelled(old), _labelled(new, back), SAME_PLACE)
        shares.append(sum(match.same_class for match in found.matches) / len(old))
    return shares


def _labelled(
    detections: Iterable[Detection], back: Callable[[Box], Box] = lambda box: box
) -> list[LabelledBox]:
    return [LabelledBox(d.id, back(d.box), d.class_id, d.confidence) for d in detections]


def _mirrored(box: Box, width: int) -> Box:
    return Box(width - box.x2, box.y1, width - box.x1, box.y2)


def _count(detections: Detections, *, from_px: float = 0, to_px: float = np.inf) -> int:
    """How many detections lie between two columns of their image."""
    return sum(d.box.x1 >= from_px and d.box.x2 <= to_px for found in detections for d in found)
