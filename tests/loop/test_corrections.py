from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.boxes import Box
from loop.corrections import (
    Dropped,
    FinalBox,
    How,
    Lineage,
    Origin,
    check_boxes,
    check_origins,
    digest_of_boxes,
    final_box,
)
from loop.errors import InvalidAnswer
from loop.predictions import Detection, ModelRef, Prediction
from tests.strategies import (
    Answered,
    Seen,
    answers,
    correction,
    few_examples,
    not_finite,
    predictions,
)

LEFT = Detection("left", Box(0, 0, 10, 10), 0, 0.9)
RIGHT = Detection("right", Box(20, 0, 30, 10), 1, 0.4)
PREDICTION = Prediction(
    "p", "1" * 64, ModelRef("detector", "1", "0" * 64), (LEFT, RIGHT), "2026-01-02T03:04:05Z"
)
ACCEPTED = FinalBox.from_detection("b1", LEFT.box, 0, LEFT)
ADDED = FinalBox("b2", Box(5, 5, 9, 9), 1, Origin.ADDED)


@few_examples
@given(answers())
def test_a_true_answer_passes(answered: Answered) -> None:
    answered.correction.check_against(
        answered.seen.prediction, answered.seen.width, answered.seen.height
    )


@few_examples
@given(answers())
def test_a_final_box_survives_the_way_through_json(answered: Answered) -> None:
    for box in answered.correction.boxes:
        assert FinalBox.from_dict(json.loads(json.dumps(box.as_dict()))) == box


@few_examples
@given(answers(), st.data())
def test_an_answer_that_leaves_a_detection_out_is_refused(
    answered: Answered, data: st.DataObject
) -> None:
    seen, answer = answered.seen, answered.correction
    if not seen.prediction.detections:
        return
    left_out = data.draw(st.sampled_from(seen.prediction.detections)).id
    boxes = tuple(box for box in answer.boxes if box.detection_id != left_out)
    rejected = tuple(id for id in answer.rejected if id != left_out)
    less = correction(seen.prediction, boxes, rejected)
    with pytest.raises(InvalidAnswer, match="unanswered") as caught:
        less.check_against(seen.prediction, seen.width, seen.height)
    assert left_out in caught.value.message


@few_examples
@given(predictions().filter(lambda seen: bool(seen.prediction.detections)), st.data())
def test_an_answer_that_names_a_detection_twice_is_refused(seen: Seen, data: st.DataObject) -> None:
    prediction = seen.prediction
    final = tuple(
        FinalBox.from_detection(f"b{d.id}", d.box, d.class_id, d) for d in prediction.detections
    )
    again = data.draw(st.sampled_from(prediction.detections))
    as_box = FinalBox.from_detection("again", again.box, again.class_id, again)
    for answer in (
        correction(prediction, (*final, as_box)),
        correction(prediction, final, (again.id,)),
        correction(prediction, (), (*(d.id for d in prediction.detections), again.id)),
    ):
        with pytest.raises(InvalidAnswer, match="twice"):
            answer.check_against(prediction, seen.width, seen.height)


@few_examples
@given(answers().filter(lambda answered: bool(answered.correction.boxes)), st.data())
def test_a_false_origin_is_refused(answered: Answered, data: st.DataObject) -> None:
    seen, boxes = answered.seen, list(answered.correction.boxes)
    place = data.draw(st.integers(0, len(boxes) - 1))
    box = boxes[place]
    kinds = (
        [Origin.IMPORTED]
        if box.detection_id is None
        else [Origin.ACCEPTED, Origin.MOVED, Origin.RELABELLED]
    )
    false = data.draw(st.sampled_from([kind for kind in kinds if kind is not box.origin]))
    boxes[place] = replace(box, origin=false)
    answer = replace(answered.correction, boxes=tuple(boxes))
    with pytest.raises(InvalidAnswer, match=f"says {false}, but it is {box.origin}"):
        answer.check_against(seen.prediction, seen.width, seen.height)


def test_an_unknown_detection_is_refused() -> None:
    answer = correction(PREDICTION, (ACCEPTED,), ("right", "nowhere"))
    with pytest.raises(InvalidAnswer, match="nowhere"):
        answer.check_against(PREDICTION, 100, 100)


def test_an_answer_to_another_prediction_is_refused() -> None:
    answer = correction(replace(PREDICTION, id="other"), (ACCEPTED,), ("right",))
    with pytest.raises(InvalidAnswer, match="another prediction"):
        answer.check_against(PREDICTION, 100, 100)


def test_a_box_that_reaches_out_of_the_image_is_refused() -> None:
    answer = correction(PREDICTION, (ACCEPTED, ADDED), ("right",))
    answer.check_against(PREDICTION, 10, 10)
    with pytest.raises(InvalidAnswer, match="reaches out") as caught:
        answer.check_against(PREDICTION, 10, 8)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("box", "class_id", "origin"),
    [
        (LEFT.box, 0, Origin.ACCEPTED),
        (Box(0, 0, 10, 11), 0, Origin.MOVED),
        (LEFT.box, 1, Origin.RELABELLED),
        (Box(0, 0, 10, 11), 1, Origin.RELABELLED),
    ],
)
def test_the_origin_is_read_off_what_changed(box: Box, class_id: int, origin: Origin) -> None:
    final = FinalBox.from_detection("b", box, class_id, LEFT)
    assert (final.origin, final.detection_id) == (origin, "left")


@pytest.mark.parametrize("origin", list(Origin))
def test_a_box_names_a_detection_just_when_it_comes_from_one(origin: Origin) -> None:
    from_model = origin in (Origin.ACCEPTED, Origin.MOVED, Origin.RELABELLED)
    FinalBox("b", LEFT.box, 0, origin, "left" if from_model else None)
    with pytest.raises(InvalidAnswer, match="detection"):
        FinalBox("b", LEFT.box, 0, origin, None if from_model else "left")


def test_no_finding_is_an_answer_of_its_own() -> None:
    correction(PREDICTION, (), ("left", "right"), no_finding=True)
    with pytest.raises(InvalidAnswer, match="no finding"):
        correction(PREDICTION, (), ("left", "right"), no_finding=False)
    with pytest.raises(InvalidAnswer, match="no finding"):
        correction(PREDICTION, (ADDED,), ("left", "right"), no_finding=True)


@given(not_finite | st.floats(max_value=0, exclude_max=True))
def test_a_time_that_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidAnswer, match="duration"):
        correction(PREDICTION, (ADDED,), active_seconds=seconds)


def test_two_boxes_of_one_id_are_refused() -> None:
    with pytest.raises(InvalidAnswer, match="same id"):
        correction(PREDICTION, (ADDED, ADDED))
    with pytest.raises(InvalidAnswer, match="twice"):
        check_boxes((ADDED, ADDED), 100, 100)


def test_a_negative_class_is_refused() -> None:
    with pytest.raises(InvalidAnswer, match="negative"):
        replace(ADDED, class_id=-1)


def test_origins_are_checked_where_not_every_detection_is_answered() -> None:
    check_origins((ACCEPTED, ADDED), PREDICTION)
    with pytest.raises(InvalidAnswer, match="unknown or used twice"):
        check_origins((ACCEPTED, replace(ACCEPTED, id="b3")), PREDICTION)
    with pytest.raises(InvalidAnswer, match="unknown or used twice"):
        check_origins((replace(ACCEPTED, detection_id="nowhere"),), PREDICTION)


def test_a_box_with_its_lineage_survives_the_way_through_json() -> None:
    box = replace(ADDED, lineage=Lineage(("left", "b9"), How.MERGED, "boundary"))
    assert FinalBox.from_dict(json.loads(json.dumps(box.as_dict()))) == box
    dropped = Dropped(("left",), "duplicate")
    assert Dropped.from_dict(json.loads(json.dumps(dropped.as_dict()))) == dropped


def test_a_box_without_a_lineage_has_the_digest_that_it_had_before_there_was_one() -> None:
    assert set(ADDED.as_dict()) == {"id", "box", "class_id", "origin", "detection_id"}
    assert digest_of_boxes([ADDED]) == (
        "b24cb95660fcea0028eb28d63a1a35f3c58b74167f10b52255c70bcdc81a5240"
    )


def test_a_final_box_gets_the_origin_that_is_true() -> None:
    moved = Box(0, 0, 10, 11)
    assert final_box("b", LEFT.box, 0, "left", PREDICTION).origin is Origin.ACCEPTED
    assert final_box("b", moved, 0, "left", PREDICTION).origin is Origin.MOVED
    assert final_box("b", moved, 1, "left", PREDICTION).origin is Origin.RELABELLED
    assert final_box("b", LEFT.box, 0, None, PREDICTION).origin is Origin.ADDED
    with pytest.raises(InvalidAnswer, match="nowhere"):
        final_box("b", LEFT.box, 0, "nowhere", PREDICTION)
