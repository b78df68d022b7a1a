from __future__ import annotations

from detector.comparing import Difference, Tolerance, difference
from loop.boxes import Box
from loop.predictions import Detection

TOLERANCE = Tolerance(box_px=1.0, confidence=0.01)


def seen(x: float, confidence: float = 0.9, class_id: int = 0, width: float = 10) -> Detection:
    return Detection(f"{x}-{confidence}", Box(x, 0, x + width, 10), class_id, confidence)


def compare(left: list[Detection], right: list[Detection]) -> Difference:
    found = difference(left, right, min_confidence=0.25, nms_iou=0.6, tolerance=TOLERANCE)
    back = difference(right, left, min_confidence=0.25, nms_iou=0.6, tolerance=TOLERANCE)
    assert back == found
    return found


def test_the_greatest_difference_of_boxes_that_match_is_reported() -> None:
    found = compare([seen(0), seen(50)], [seen(50.5), seen(0, 0.895)])
    assert (found.box_px, round(found.confidence, 6), found.unmatched) == (0.5, 0.005, 0)
    assert found.within(TOLERANCE)


def test_nothing_seen_by_both_is_the_same() -> None:
    assert compare([], []) == Difference()


def test_a_box_that_moved_too_far_and_one_of_another_class_have_no_like() -> None:
    assert compare([seen(0)], [seen(20)]).unmatched == 2
    assert compare([seen(0)], [seen(0, class_id=1)]).unmatched == 2
    assert not compare([seen(0)], []).within(TOLERANCE)


def test_confidences_that_differ_too_much_are_not_within_the_tolerance() -> None:
    assert not compare([seen(0, 0.9)], [seen(0, 0.85)]).within(TOLERANCE)


def test_boxes_near_the_lowest_confidence_may_be_missing() -> None:
    assert compare([seen(0), seen(50, 0.255)], [seen(0)]).within(TOLERANCE)
    assert not compare([seen(0), seen(50, 0.27)], [seen(0)]).within(TOLERANCE)


def test_either_of_two_equal_boxes_that_suppress_each_other_may_be_kept() -> None:
    assert compare([seen(0, width=20)], [seen(3, width=20)]).within(TOLERANCE)
    # They overlap by less than the threshold: one has seen what the other has not.
    assert not compare([seen(0, width=20)], [seen(8, width=20)]).within(TOLERANCE)
