from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import (
    Agreement,
    AgreementSettings,
    LabelledBox,
    Reason,
    compare,
    compare_with_model,
)
from loop.boxes import Box, as_array, ciou_matrix, iou_matrix
from loop.corrections import FinalBox, Origin
from loop.predictions import Detection, ModelRef, Prediction
from tests.strategies import Answered, Seen, answers, correction, few_examples, predictions

SETTINGS = AgreementSettings()
SQUARE = Box(0, 0, 10, 10)
seeds = st.integers(0, 2**32 - 1)


def _crowd(rng: np.random.Generator, most: int, name: str) -> list[LabelledBox]:
    """Boxes that overlap a good deal; drawn from a seed, so that no two pairs are equally good."""
    count = int(rng.integers(0, most + 1))
    corners = rng.uniform(0, 60, (count, 2))
    edges = np.hstack([corners, corners + rng.uniform(10, 50, (count, 2))])
    return [
        LabelledBox(f"{name}{n}", Box.of(row), int(rng.integers(0, 2)), float(rng.random()))
        for n, row in enumerate(edges.tolist())
    ]


def _two_crowds(seed: int, most: int = 6) -> tuple[list[LabelledBox], list[LabelledBox]]:
    rng = np.random.default_rng(seed)
    return _crowd(rng, most, "l"), _crowd(rng, most, "r")


def _pairs(agreement: Agreement) -> set[tuple[str, str]]:
    return {(match.left_id, match.right_id) for match in agreement.matches}


@given(seeds)
def test_matching_is_one_to_one_and_every_box_is_accounted_for(seed: int) -> None:
    left, right = _two_crowds(seed)
    found = compare(left, right, SETTINGS)
    matched_left = [match.left_id for match in found.matches]
    matched_right = [match.right_id for match in found.matches]
    assert sorted([*matched_left, *found.false_positives]) == sorted(box.id for box in left)
    assert sorted([*matched_right, *found.missed]) == sorted(box.id for box in right)


@given(seeds)
def test_a_match_tells_the_truth_about_its_boxes(seed: int) -> None:
    left, right = _two_crowds(seed)
    boxes = {box.id: box for box in (*left, *right)}
    found = compare(left, right, SETTINGS)
    for match in found.matches:
        one, other = boxes[match.left_id], boxes[match.right_id]
        arrays = as_array([one.box]), as_array([other.box])
        assert match.iou == iou_matrix(*arrays).item() > 0
        assert match.ciou == ciou_matrix(*arrays).item()
        assert match.same_class == (one.class_id == other.class_id)
        assert (match in found.moved) == (match.ciou < SETTINGS.agreement_ciou)
        assert (match in found.class_differences) == (not match.same_class)


@given(seeds)
def test_exchanging_the_sides_exchanges_missed_and_false_positives(seed: int) -> None:
    left, right = _two_crowds(seed)
    one, other = compare(left, right, SETTINGS), compare(right, left, SETTINGS)
    assert _pairs(one) == {(first, second) for second, first in _pairs(other)}
    assert set(one.missed) == set(other.false_positives)
    assert set(one.false_positives) == set(other.missed)
    assert len(one.moved) == len(other.moved)
    assert len(one.class_differences) == len(other.class_differences)


@given(seeds)
def test_the_order_of_the_boxes_does_not_matter(seed: int) -> None:
    left, right = _two_crowds(seed)
    rng = np.random.default_rng(seed + 1)
    found = compare(left, right, SETTINGS)
    shuffled = compare(
        [left[i] for i in rng.permutation(len(left))],
        [right[i] for i in rng.permutation(len(right))],
        SETTINGS,
    )
    assert _pairs(found) == _pairs(shuffled)
    assert set(found.missed) == set(shuffled.missed)
    assert set(found.false_positives) == set(shuffled.false_positives)
    assert found.reasons == shuffled.reasons


@few_examples
@given(seeds)
def test_no_other_matching_has_a_greater_sum_of_ciou(seed: int) -> None:
    left, right = _two_crowds(seed, most=4)
    found = sum(max(match.ciou, 0) for match in compare(left, right, SETTINGS).matches)
    if not left or not right:
        assert found == 0
        return
    ciou = ciou_matrix(as_array([b.box for b in left]), as_array([b.box for b in right]))
    profit = np.maximum(ciou if len(left) <= len(right) else ciou.T, 0)
    rows = range(profit.shape[0])
    best = max(
        sum(profit[row, column] for row, column in zip(rows, columns, strict=True))
        for columns in permutations(range(profit.shape[1]), profit.shape[0])
    )
    # Ties are broken by profits of 1e-6 at most.
    assert found == pytest.approx(best, abs=1e-5)


@given(seeds)
def test_what_does_not_overlap_enough_is_not_matched(seed: int) -> None:
    left, right = _two_crowds(seed)
    strict = compare(left, right, AgreementSettings(match_iou=0.4))
    assert all(match.iou > 0.4 for match in strict.matches)
    lefts = {box.id: box for box in left}
    for missed in (box for box in right if box.id in strict.missed):
        rest = [lefts[id] for id in strict.false_positives]
        iou = iou_matrix(as_array([b.box for b in rest]), as_array([missed.box]))
        assert (iou <= 0.4).all()


@few_examples
@given(predictions(most=5))
def test_an_answer_that_accepts_everything_needs_no_second_review(seen: Seen) -> None:
    final = tuple(
        FinalBox.from_detection(f"b-{d.id}", d.box, d.class_id, d)
        for d in seen.prediction.detections
    )
    found = compare_with_model(seen.prediction, correction(seen.prediction, final), SETTINGS)
    assert not found.needs_second_review
    assert len(found.matches) == len(final)
    assert all(match.ciou == 1 and match.same_class for match in found.matches)


def test_two_classes_on_one_box_are_matched_by_class() -> None:
    left = [LabelledBox("l0", SQUARE, 0), LabelledBox("l1", SQUARE, 1)]
    right = [LabelledBox("r1", SQUARE, 1), LabelledBox("r0", SQUARE, 0)]
    assert _pairs(compare(left, right, SETTINGS)) == {("l0", "r0"), ("l1", "r1")}


@few_examples
@given(answers())
def test_a_second_review_is_needed_just_when_there_is_a_reason(answered: Answered) -> None:
    found = compare_with_model(answered.seen.prediction, answered.correction, SETTINGS)
    evidence = {
        Reason.MOVED: found.moved,
        Reason.MISSED: found.missed,
        Reason.CLASS_DIFFERENCE: found.class_differences,
        Reason.HIGH_CONFIDENCE_REMOVAL: found.high_confidence_removals,
    }
    assert set(found.reasons) == {reason for reason, ids in evidence.items() if ids}
    assert found.needs_second_review == bool(found.reasons)
    assert set(found.high_confidence_removals) <= set(found.false_positives)


@pytest.mark.parametrize(("confidence", "sure"), [(0.749, False), (0.75, True), (1.0, True)])
def test_only_a_removal_of_high_confidence_needs_a_second_review(
    confidence: float, sure: bool
) -> None:
    found = compare([LabelledBox("l", SQUARE, 0, confidence)], [], SETTINGS)
    assert found.false_positives == ("l",)
    assert found.high_confidence_removals == (("l",) if sure else ())
    assert found.reasons == ((Reason.HIGH_CONFIDENCE_REMOVAL,) if sure else ())


def test_an_added_box_is_one_that_the_model_missed() -> None:
    found = compare([], [LabelledBox("r", SQUARE, 0)], SETTINGS)
    assert (found.missed, found.reasons) == (("r",), (Reason.MISSED,))


def test_another_class_on_the_same_box_is_a_class_difference() -> None:
    found = compare([LabelledBox("l", SQUARE, 0)], [LabelledBox("r", SQUARE, 1)], SETTINGS)
    assert found.reasons == (Reason.CLASS_DIFFERENCE,)


def test_a_box_moved_a_little_agrees_and_one_moved_far_does_not() -> None:
    left = [LabelledBox("l", SQUARE, 0)]
    near, far = Box(1, 0, 11, 10), Box(9, 9, 19, 19)
    assert not compare(left, [LabelledBox("r", near, 0)], SETTINGS).needs_second_review
    found = compare(left, [LabelledBox("r", far, 0)], SETTINGS)
    # It overlaps a little and nothing fits better: moved, not removed and added.
    assert found.matches[0].ciou < 0
    assert found.reasons == (Reason.MOVED,)


def test_two_empty_answers_agree() -> None:
    assert compare([], [], SETTINGS) == Agreement()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_cannot_be_computed_goes_to_review() -> None:
    # An area that is finite, a diagonal whose square is not.
    vast = Detection("d", Box(0, 0, 1e200, 1e100), 0, 0.9)
    prediction = Prediction("p", "1" * 64, ModelRef("m", "1", "0" * 64), (vast,), "2026-01-02")
    moved = FinalBox("b", Box(0, 0, 5e199, 1e100), 0, Origin.MOVED, "d")
    found = compare_with_model(prediction, correction(prediction, (moved,)), SETTINGS)
    assert found.reasons == (Reason.NOT_COMPUTABLE,)
    assert found.needs_second_review


@given(seeds)
def test_an_agreement_can_be_kept_as_json(seed: int) -> None:
    found = compare(*_two_crowds(seed), SETTINGS)
    found = replace(found, reasons=(*found.reasons, Reason.ESCALATED))
    kept = json.loads(json.dumps(found.as_dict()))
    assert [(pair["left"], pair["right"]) for pair in kept["matches"]] == [
        (match.left_id, match.right_id) for match in found.matches
    ]
    assert kept["missed"] == list(found.missed)
    assert kept["reasons"][-1] == "escalated"


@given(seeds)
def test_disagreement_is_a_share(seed: int) -> None:
    left, right = _two_crowds(seed)
    assert 0.0 <= compare(left, right, SETTINGS).disagreement <= 1.0
    same = [replace(box, id=f"again-{box.id}") for box in left]
    assert compare(left, same, SETTINGS).disagreement == pytest.approx(0.0, abs=1e-6)


def test_disagreement_by_hand() -> None:
    here = LabelledBox("l", SQUARE, 0)
    there = LabelledBox("l2", Box(50, 50, 60, 60), 0)
    same = LabelledBox("r", SQUARE, 0)
    assert compare([], [], SETTINGS).disagreement == 0.0
    assert compare([here], [], SETTINGS).disagreement == 1.0
    assert compare([here, there], [same], SETTINGS).disagreement == pytest.approx(0.5)
    other_class = replace(same, class_id=1)
    assert compare([here], [other_class], SETTINGS).disagreement == 1.0
    assert Agreement(reasons=(Reason.NOT_COMPUTABLE,)).disagreement == 1.0


@given(seeds)
def test_an_agreement_survives_the_way_through_json(seed: int) -> None:
    left, right = _two_crowds(seed)
    found = compare(left, right, SETTINGS)
    assert Agreement.from_dict(json.loads(json.dumps(found.as_dict()))) == found
