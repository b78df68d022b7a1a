from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.agreement import Reason
from loop.boxes import Box
from loop.cases import CaseState, Source
from loop.corrections import FinalBox, Origin, digest_of_boxes
from loop.errors import Conflict, InvalidAnswer, NotAllowed, NotFound, OwnCase
from loop.events import Actor, Outcome, Role
from loop.intake import NewImage, Queued
from loop.review import FirstAnswer, FirstOutcome, SecondAnswer, submit_first, submit_second
from tests.fakes import sealed
from tests.loop.cases import ANA, BEN, NEW, SETTINGS, SURE, UNSURE, Clinic, accepted
from tests.strategies import Answered, answers, few_examples

ADDED = FinalBox("new", Box(80, 5, 95, 20), 2, Origin.ADDED)
AGREES = FirstAnswer((accepted(SURE), accepted(UNSURE)), active_seconds=12.5)
DIFFERS = FirstAnswer((accepted(SURE), ADDED), rejected=("unsure",))
SETTLES = SecondAnswer((ADDED,), (accepted(SURE), ADDED), "missed_by_model")


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


@pytest.fixture
def queued(clinic: Clinic) -> Queued:
    return clinic.queue()


def _first(clinic: Clinic, queued: Queued, answer: FirstAnswer) -> FirstOutcome:
    return submit_first(clinic.units, queued.review_id, answer, actor=ANA, settings=SETTINGS)


def _state(clinic: Clinic, queued: Queued) -> CaseState:
    return clinic.database.tables.cases[queued.review_id].state


def test_an_answer_that_agrees_with_the_model_settles_the_case(
    clinic: Clinic, queued: Queued
) -> None:
    outcome = _first(clinic, queued, AGREES)
    assert outcome.annotation is not None
    assert outcome.annotation.boxes == AGREES.boxes
    assert outcome.annotation.source is Source.FIRST
    assert outcome.annotation.reviewers == ("ana",)
    assert outcome.annotation.version == 1
    assert _state(clinic, queued) is CaseState.SETTLED


def test_an_answer_that_differs_waits_for_a_second_review_and_says_why(
    clinic: Clinic, queued: Queued
) -> None:
    outcome = _first(clinic, queued, DIFFERS)
    assert outcome.annotation is None
    assert outcome.agreement.reasons == (Reason.MISSED,)
    with clinic.units() as uow:
        (case,) = uow.cases.waiting(CaseState.SECOND)
        assert uow.annotations.latest_of(queued.image_id) is None
        assert uow.corrections.of_case(queued.review_id) == outcome.correction
    assert case.reasons == ("missed",)


def test_a_person_may_ask_for_a_second_review(clinic: Clinic, queued: Queued) -> None:
    outcome = _first(clinic, queued, replace(AGREES, escalate=True))
    assert outcome.agreement.reasons == (Reason.ESCALATED,)
    assert _state(clinic, queued) is CaseState.SECOND


def test_no_finding_is_settled_without_boxes(clinic: Clinic) -> None:
    queued = clinic.queue(detections=[UNSURE])
    outcome = _first(clinic, queued, FirstAnswer((), rejected=("unsure",), no_finding=True))
    assert outcome.annotation is not None
    assert outcome.annotation.boxes == ()


def test_an_empty_answer_is_not_no_finding(clinic: Clinic) -> None:
    queued = clinic.queue(detections=[])
    with pytest.raises(InvalidAnswer, match="no finding"):
        _first(clinic, queued, FirstAnswer(()))
    assert _state(clinic, queued) is CaseState.FIRST


def test_each_change_of_a_settled_case_has_its_event(clinic: Clinic, queued: Queued) -> None:
    outcome = _first(clinic, queued, AGREES)
    assert outcome.annotation is not None
    _, submitted, settled = clinic.database.events
    assert (submitted.type, settled.type) == ("correction.submitted", "annotation.settled")
    assert settled.cause == submitted.id
    assert submitted.subject["correction_id"] == outcome.correction.id
    assert submitted.details["active_seconds"] == 12.5
    assert submitted.details["second_review"] == []
    assert settled.subject["annotation_id"] == outcome.annotation.id
    digest = digest_of_boxes(outcome.correction.boxes)
    boxes = sealed(queued.image_id, "boxes", digest)
    assert submitted.subject["boxes"] == settled.subject["boxes"] == boxes
    assert {event.actor for event in (submitted, settled)} == {ANA}
    assert {event.outcome for event in (submitted, settled)} == {Outcome.DONE}


def test_each_change_of_a_second_review_has_its_event(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, DIFFERS)
    submit_second(clinic.units, queued.review_id, SETTLES, actor=BEN)
    assert clinic.event_types() == [
        "image.queued",
        "correction.submitted",
        "second_review.submitted",
        "annotation.settled",
    ]
    assert clinic.database.events[1].details["second_review"] == ["missed"]
    assert clinic.database.events[2].decision == "missed_by_model"
    assert clinic.database.events[1].decision == "second_review"


def test_a_first_answer_is_given_once(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, AGREES)
    before = (clinic.database.tables, list(clinic.database.events))
    with pytest.raises(Conflict, match="first answer already"):
        _first(clinic, queued, DIFFERS)
    assert (clinic.database.tables, clinic.database.events) == before


def test_an_answer_that_leaves_a_detection_out_changes_nothing(
    clinic: Clinic, queued: Queued
) -> None:
    with pytest.raises(InvalidAnswer, match="unsure"):
        _first(clinic, queued, FirstAnswer((accepted(SURE),)))
    assert _state(clinic, queued) is CaseState.FIRST
    assert clinic.event_types() == ["image.queued"]


def test_a_class_that_does_not_exist_is_refused_with_those_that_do(
    clinic: Clinic, queued: Queued
) -> None:
    with pytest.raises(InvalidAnswer, match="class 3") as caught:
        _first(clinic, queued, replace(AGREES, boxes=(*AGREES.boxes, replace(ADDED, class_id=3))))
    assert "cell, rod, ring" in caught.value.hint


def test_a_case_that_does_not_exist_is_not_found(clinic: Clinic) -> None:
    with pytest.raises(NotFound):
        submit_first(clinic.units, "nowhere", AGREES, actor=ANA, settings=SETTINGS)
    with pytest.raises(NotFound):
        submit_second(clinic.units, "nowhere", SETTLES, actor=BEN)


def test_a_second_person_settles_the_case(clinic: Clinic, queued: Queued) -> None:
    first = _first(clinic, queued, DIFFERS)
    annotation = submit_second(clinic.units, queued.review_id, SETTLES, actor=BEN)
    assert annotation.boxes == SETTLES.final
    assert annotation.source is Source.SECOND
    assert annotation.reviewers == ("ana", "ben")
    assert _state(clinic, queued) is CaseState.SETTLED
    with clinic.units() as uow:
        review = uow.second_reviews.of_case(queued.review_id)
        assert uow.corrections.of_case(queued.review_id) == first.correction
    assert review is not None
    assert (review.blind, review.final, review.reviewer) == (SETTLES.blind, SETTLES.final, "ben")


def test_nobody_settles_their_own_case(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, DIFFERS)
    ana_again = replace(ANA, role=Role.ADJUDICATOR)
    with pytest.raises(OwnCase) as caught:
        submit_second(clinic.units, queued.review_id, SETTLES, actor=ana_again)
    assert caught.value.hint
    assert _state(clinic, queued) is CaseState.SECOND


def test_ones_own_cases_are_left_out_of_the_second_queue(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, DIFFERS)
    with clinic.units() as uow:
        assert uow.cases.waiting(CaseState.SECOND, not_by="ana") == []
        assert len(uow.cases.waiting(CaseState.SECOND, not_by="ben")) == 1


def test_a_case_is_settled_once(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, DIFFERS)
    submit_second(clinic.units, queued.review_id, SETTLES, actor=BEN)
    with pytest.raises(Conflict, match="does not wait"):
        submit_second(clinic.units, queued.review_id, SETTLES, actor=BEN)
    assert len(clinic.event_types()) == 4


@pytest.mark.parametrize("answer", [None, AGREES])
def test_a_case_that_does_not_wait_for_a_second_review_gets_none(
    clinic: Clinic, queued: Queued, answer: FirstAnswer | None
) -> None:
    if answer:
        _first(clinic, queued, answer)
    with pytest.raises(Conflict, match="does not wait"):
        submit_second(clinic.units, queued.review_id, SETTLES, actor=BEN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": ""}, "reason code"),
        ({"final": (ADDED, ADDED)}, "twice"),
        ({"final": (replace(ADDED, box=Box(90, 0, 101, 10)),)}, "reaches out"),
        ({"blind": (replace(ADDED, box=Box(90, 0, 101, 10)),)}, "reaches out"),
        ({"final": (replace(ADDED, class_id=9),)}, "class 9"),
        ({"final": (replace(ADDED, origin=Origin.IMPORTED),)}, "says imported"),
        ({"final": (replace(accepted(SURE), box=Box(0, 0, 5, 5)),)}, "it is moved"),
        ({"final": (replace(accepted(SURE), detection_id="nowhere"),)}, "nowhere"),
        ({"blind": (accepted(SURE),)}, "blind"),
        ({"active_seconds": float("nan")}, "duration"),
    ],
)
def test_a_second_answer_that_cannot_be_true_changes_nothing(
    clinic: Clinic, queued: Queued, change: dict[str, object], message: str
) -> None:
    _first(clinic, queued, DIFFERS)
    answer = replace(SETTLES, **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidAnswer, match=message):
        submit_second(clinic.units, queued.review_id, answer, actor=BEN)
    assert _state(clinic, queued) is CaseState.SECOND
    assert clinic.event_types() == ["image.queued", "correction.submitted"]


def test_a_second_person_may_find_nothing(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, DIFFERS)
    nothing = SecondAnswer((), (), "artefact")
    assert submit_second(clinic.units, queued.review_id, nothing, actor=BEN).boxes == ()


def test_versions_of_an_image_count_up(clinic: Clinic, queued: Queued) -> None:
    _first(clinic, queued, AGREES)
    again = clinic.queue()
    _first(clinic, again, DIFFERS)
    second = submit_second(clinic.units, again.review_id, SETTLES, actor=BEN)
    third = _first(clinic, clinic.queue(), AGREES).annotation
    assert third is not None
    assert (second.version, third.version) == (2, 3)
    with clinic.units() as uow:
        assert uow.annotations.latest_of(queued.image_id) == third
        assert len(clinic.database.tables.annotations) == 3


@few_examples
@given(answers(), st.booleans())
def test_every_true_answer_settles_the_case_or_sends_it_on(
    answered: Answered, escalate: bool
) -> None:
    clinic, given_answer = Clinic(), answered.correction
    new = NewImage(b"pixels", NEW.media_type, answered.seen.width, answered.seen.height)
    queued = clinic.queue(new, answered.seen.prediction.detections)
    outcome = _first(
        clinic,
        queued,
        FirstAnswer(
            given_answer.boxes, given_answer.rejected, given_answer.no_finding, escalate=escalate
        ),
    )
    needed = outcome.agreement.needs_second_review
    assert needed == (outcome.annotation is None) == (_state(clinic, queued) is CaseState.SECOND)
    assert needed or not escalate
    assert len(clinic.database.events) == (2 if needed else 3)


def test_each_answer_needs_its_permission(clinic: Clinic, queued: Queued) -> None:
    engineer = Actor("engineer", Role.ENGINEER)
    with pytest.raises(NotAllowed):
        submit_first(clinic.units, queued.review_id, AGREES, actor=engineer, settings=SETTINGS)
    _first(clinic, queued, DIFFERS)
    for actor in (engineer, Actor("tea", Role.REVIEWER)):
        with pytest.raises(NotAllowed):
            submit_second(clinic.units, queued.review_id, SETTLES, actor=actor)
    assert _state(clinic, queued) is CaseState.SECOND


def test_a_case_knows_its_first_reviewer_and_how_far_the_answer_is_from_the_model(
    clinic: Clinic, queued: Queued
) -> None:
    outcome = _first(clinic, queued, replace(DIFFERS, bulk_accepted=1))
    case = clinic.database.tables.cases[queued.review_id]
    assert case.first_reviewer == "ana"
    assert case.disagreement == outcome.agreement.disagreement
    assert case.classes == (0, 1, 2)  # of the detections and of the added box
    assert clinic.database.events[-1].details["bulk_accepted"] == 1
