from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import LabelledBox
from loop.boxes import Box
from loop.classes import ClassList
from loop.confusion import BACKGROUND, confusion, pair_up

CLASSES = ClassList(("cell", "rod"))


def at(x: float, class_id: int = 0, confidence: float = 1.0, width: float = 10) -> LabelledBox:
    return LabelledBox(f"b{x}", Box(x, 0, x + width, 10), class_id, confidence)


def test_boxes_are_found_confused_missed_or_false() -> None:
    truth = [at(0), at(50, 1), at(100)]
    detected = [at(1, 0, 0.9), at(51, 0, 0.8), at(200, 1, 0.7), at(100, 0, 0.1)]
    pairing = pair_up(truth, detected)
    assert (pairing.found, pairing.confused) == (((0, 0),), ((1, 1),))
    assert (pairing.missed, pairing.false) == ((2,), (2,))


def test_the_right_class_is_found_even_under_a_better_placed_wrong_one() -> None:
    pairing = pair_up([at(0)], [at(0, 1, 0.9), at(2, 0, 0.4)])
    assert (pairing.found, pairing.confused, pairing.false) == (((0, 1),), (), (0,))


def test_of_two_detections_of_a_box_the_closer_one_finds_it() -> None:
    pairing = pair_up([at(0)], [at(3, 0, 0.9), at(1, 0, 0.5)])
    assert (pairing.found, pairing.false) == (((0, 1),), (0,))


def test_confidence_and_overlap_count_from_their_thresholds_on() -> None:
    half = at(0, width=5)  # IoU 0.5 with the box of 10
    assert pair_up([at(0)], [half]).found == ((0, 0),)
    assert pair_up([at(0)], [half], iou=0.51).found == ()
    assert pair_up([at(0)], [at(0, 0, 0.25)]).found == ((0, 0),)
    assert pair_up([at(0)], [at(0, 0, 0.24)]).missed == (0,)


def test_the_truth_is_in_the_rows_and_background_comes_last() -> None:
    found = confusion(
        [[at(0), at(50, 1)], [at(0, 1)], []],
        [[at(0), at(50, 0)], [], [at(9, 1)]],
        CLASSES,
    )
    assert found.labels == ("cell", "rod", BACKGROUND)
    assert found.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert found.shares.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 1, 0]]


def test_nothing_at_all_is_a_matrix_of_zeros() -> None:
    found = confusion([[]], [[]], CLASSES)
    assert found.shares.sum() == found.counts.sum() == 0


def test_a_list_of_images_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        confusion([[]], [], CLASSES)


boxes = st.lists(
    st.builds(at, st.integers(0, 40), st.integers(0, 1), st.sampled_from((0.1, 0.5, 0.9))),
    max_size=6,
)


@given(boxes, boxes)
def test_every_true_box_and_every_sure_detection_is_counted_once(
    truth: list[LabelledBox], detected: list[LabelledBox]
) -> None:
    counts = confusion([truth], [detected], CLASSES).counts
    sure = [box for box in detected if box.confidence >= 0.25]
    for class_id in range(2):
        assert counts[class_id].sum() == sum(box.class_id == class_id for box in truth)
        assert counts[:, class_id].sum() == sum(box.class_id == class_id for box in sure)
    assert counts[2, 2] == 0
