from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import Agreement, LabelledBox, compare
from loop.boxes import Box
from loop.corrections import Origin
from loop.events import Actor
from loop.intake import TrueBox
from loop.predictions import Detection, Prediction
from loop.review import FirstAnswer, submit_first, submit_second
from loop.simulation import CARELESS, FIRST_REVIEWER, SECOND_REVIEWER, Mistakes, SimulatedReviewer
from loop.synthetic import CLASSES, generate
from tests.loop.cases import ANA, BEN, MODEL, NEW, SETTINGS, Clinic
from tests.strategies import Seen, correction, few_examples, predictions, true_boxes

FLAWLESS = Mistakes(miss=0, shift=0, mislabel=0, overlook=0, jitter_px=0)
HOPELESS = Mistakes(miss=0.5, shift=0.5, mislabel=0.5, overlook=0.5, jitter_px=40)
TRUTH = (TrueBox(Box(10, 10, 30, 30), 0), TrueBox(Box(50, 50, 70, 60), 1))
mistakes = st.sampled_from((FLAWLESS, FIRST_REVIEWER, SECOND_REVIEWER, CARELESS, HOPELESS))


@st.composite
def seen_with_truth(draw: st.DrawFn) -> tuple[Seen, list[TrueBox]]:
    """A prediction with a truth that some of its detections fit and some do not."""
    seen = draw(predictions())
    truth = draw(true_boxes(seen.width, seen.height))
    near = [TrueBox(d.box, d.class_id) for d in seen.prediction.detections]
    return seen, truth + (draw(st.lists(st.sampled_from(near), max_size=3)) if near else [])


def _reviewer(kind: Mistakes, seed: int = 0, actor: Actor = ANA) -> SimulatedReviewer:
    return SimulatedReviewer(actor, CLASSES, seed=seed, mistakes=kind)


def _prediction(*detections: Detection) -> Prediction:
    return Prediction("p", "1" * 64, MODEL, detections, "2026-01-02")


def _against_truth(answer: FirstAnswer, truth: tuple[TrueBox, ...]) -> Agreement:
    return compare(
        [LabelledBox(box.id, box.box, box.class_id) for box in answer.boxes],
        [LabelledBox(str(n), true.box, true.class_id) for n, true in enumerate(truth)],
        SETTINGS,
    )


@few_examples
@given(seen_with_truth(), mistakes, st.integers(0, 1000))
def test_every_simulated_first_answer_answers_the_prediction(
    case: tuple[Seen, list[TrueBox]], kind: Mistakes, seed: int
) -> None:
    seen, truth = case
    answer = _reviewer(kind, seed).first_answer(seen.prediction, truth, seen.width, seen.height)
    correction(
        seen.prediction,
        answer.boxes,
        answer.rejected,
        no_finding=answer.no_finding,
        active_seconds=answer.active_seconds,
    ).check_against(seen.prediction, seen.width, seen.height)


@few_examples
@given(seen_with_truth(), mistakes, mistakes, st.integers(0, 1000))
def test_simulated_people_get_every_case_settled(
    case: tuple[Seen, list[TrueBox]], first: Mistakes, second: Mistakes, seed: int
) -> None:
    seen, truth = case
    clinic = Clinic()
    new = replace(NEW, width=seen.width, height=seen.height)
    queued = clinic.queue(new, seen.prediction.detections)
    with clinic.units() as uow:
        prediction = uow.predictions.get(queued.prediction_id)
    answer = _reviewer(first, seed).first_answer(prediction, truth, seen.width, seen.height)
    answer = replace(answer, escalate=True)
    submit_first(clinic.units, queued.review_id, answer, actor=ANA, settings=SETTINGS)
    settled = _reviewer(second, seed, BEN).second_answer(
        prediction, answer.boxes, truth, seen.width, seen.height
    )
    annotation = submit_second(clinic.units, queued.review_id, settled, actor=BEN)
    assert len(annotation.boxes) == len(settled.blind)


def test_a_flawless_person_tells_the_truth() -> None:
    near = Detection("near", Box(10, 10, 30, 31), 0, 0.9)  # good enough to be accepted
    off = Detection("off", Box(52, 50, 76, 60), 0, 0.6)  # off the mark, and of the wrong class
    false = Detection("false", Box(80, 5, 90, 15), 1, 0.7)
    added = TrueBox(Box(5, 60, 20, 75), 2)
    answer = _reviewer(FLAWLESS).first_answer(
        _prediction(near, off, false), (*TRUTH, added), 100, 80
    )
    assert [(box.box, box.class_id, box.origin) for box in answer.boxes] == [
        (near.box, 0, Origin.ACCEPTED),
        (TRUTH[1].box, 1, Origin.RELABELLED),
        (added.box, 2, Origin.ADDED),
    ]
    assert answer.rejected == ("false",)
    assert not answer.no_finding


def test_a_flawless_person_says_no_finding_where_nothing_is() -> None:
    false = Detection("false", Box(80, 5, 90, 15), 1, 0.7)
    answer = _reviewer(FLAWLESS).first_answer(_prediction(false), (), 100, 80)
    assert (answer.boxes, answer.rejected, answer.no_finding) == ((), ("false",), True)


def test_a_second_person_keeps_what_is_right_and_redraws_the_rest() -> None:
    off = Detection("off", Box(52, 50, 76, 60), 1, 0.6)
    false = Detection("false", Box(80, 5, 90, 15), 1, 0.7)
    prediction = _prediction(off, false)
    gullible = replace(FLAWLESS, overlook=1)
    first = _reviewer(gullible).first_answer(prediction, TRUTH[1:], 100, 80)
    assert {box.detection_id for box in first.boxes} == {"off", "false"}
    second = _reviewer(FLAWLESS, actor=BEN).second_answer(prediction, first.boxes, TRUTH, 100, 80)
    assert [(box.box, box.class_id) for box in second.final] == [
        (true.box, true.class_id) for true in TRUTH
    ]
    assert first.boxes[0] in second.final
    assert {box.origin for box in second.blind} == {Origin.ADDED}


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (replace(FLAWLESS, miss=1), lambda found: len(found.missed)),
        (replace(FLAWLESS, mislabel=1), lambda found: len(found.class_differences)),
    ],
)
def test_a_mistake_that_is_certain_happens_to_every_box(
    kind: Mistakes, count: Callable[[Agreement], int]
) -> None:
    answer = _reviewer(kind).first_answer(_prediction(), TRUTH, 100, 80)
    assert count(_against_truth(answer, TRUTH)) == len(TRUTH)


def test_a_shift_happens_to_accepted_boxes_too() -> None:
    exact = [Detection(f"d{n}", true.box, true.class_id, 0.9) for n, true in enumerate(TRUTH)]
    answer = _reviewer(replace(FLAWLESS, shift=1)).first_answer(_prediction(*exact), TRUTH, 100, 80)
    assert [box.origin for box in answer.boxes] == [Origin.MOVED, Origin.MOVED]
    for box, true in zip(answer.boxes, TRUTH, strict=True):
        moved = np.abs(np.array(box.box.xyxy) - true.box.xyxy)
        assert (moved <= np.tile([true.box.width, true.box.height], 2) / 3).all()


def test_a_careless_person_errs_more_than_a_careful_one() -> None:
    errors = {}
    for name, kind in (
        ("careless", CARELESS),
        ("first", FIRST_REVIEWER),
        ("second", SECOND_REVIEWER),
    ):
        reviewer = _reviewer(kind, seed=4)
        errors[name] = 0
        for image in generate(30, seed=2):
            found = _against_truth(
                reviewer.first_answer(_prediction(), image.boxes, 128, 128), image.boxes
            )
            errors[name] += len(found.missed) + len(found.moved) + len(found.class_differences)
    assert errors["careless"] > 3 * errors["first"]
    assert errors["first"] > errors["second"]


def test_the_same_seed_makes_the_same_mistakes() -> None:
    def answer() -> list[tuple[Box, int]]:
        made = _reviewer(CARELESS, seed=11).first_answer(_prediction(), TRUTH * 10, 100, 80)
        return [(box.box, box.class_id) for box in made.boxes]

    assert answer() == answer()


def test_every_answer_takes_its_time() -> None:
    reviewer = _reviewer(FIRST_REVIEWER)
    assert reviewer.first_answer(_prediction(), (), 100, 80).active_seconds >= 2
    assert reviewer.second_answer(_prediction(), (), TRUTH, 100, 80).active_seconds >= 2
