from __future__ import annotations

from dataclasses import replace

import pytest

from loop.boxes import Box
from loop.cases import Annotation, CaseState, Source
from loop.corrections import Origin
from loop.errors import Conflict, InvalidAnswer, InvalidBox, NotAllowed
from loop.events import Actor, Role
from loop.intake import NewImage, TrueBox, add_truth, queue_image
from loop.predictions import Detection, ModelRef
from loop.review import FirstAnswer, submit_first
from tests.fakes import sealed
from tests.loop.cases import ANA, API, MODEL, NEW, SETTINGS, SURE, UNSURE, Clinic, accepted

TRUTH = (TrueBox(Box(10, 10, 30, 30), 0), TrueBox(Box(0.5, 0.5, 99.5, 79.5), 2))


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


def _add(
    clinic: Clinic, new: NewImage = NEW, boxes: tuple[TrueBox, ...] = TRUTH, gold: bool = False
) -> Annotation | None:
    return add_truth(clinic.units, clinic.images, new, boxes, actor=API, gold=gold)


def test_a_queued_image_waits_for_its_first_review(clinic: Clinic) -> None:
    queued = clinic.queue()
    with clinic.units() as uow:
        (case,) = uow.cases.waiting(CaseState.FIRST)
        image = uow.images.get(queued.image_id)
        prediction = uow.predictions.get(queued.prediction_id)
    assert (case.id, case.image_id, case.prediction_id) == (
        queued.review_id,
        queued.image_id,
        queued.prediction_id,
    )
    assert clinic.images.get(queued.image_id) == NEW.data
    assert (image.width, image.height, image.media_type) == (100, 80, "image/png")
    assert (prediction.model, prediction.detections) == (MODEL, (SURE, UNSURE))
    assert case.priority == pytest.approx(0.6)


def test_queueing_writes_one_event_about_it(clinic: Clinic) -> None:
    queued = clinic.queue()
    (event,) = clinic.database.events
    assert event.type == "image.queued"
    assert event.actor == API
    assert event.subject == {
        "image": sealed(queued.image_id),
        "prediction_id": queued.prediction_id,
        "review_id": queued.review_id,
        "model": MODEL.as_dict(),
    }


def test_the_same_image_and_model_again_give_the_case_that_waits(clinic: Clinic) -> None:
    assert clinic.queue() == clinic.queue(detections=())
    assert clinic.event_types() == ["image.queued"]


def test_the_same_image_from_another_model_is_another_case(clinic: Clinic) -> None:
    first, second = clinic.queue(), clinic.queue(model=replace(MODEL, version="2"))
    assert first.image_id == second.image_id
    assert first.review_id != second.review_id


def test_the_same_image_after_its_review_is_another_case(clinic: Clinic) -> None:
    first = clinic.queue()
    answer = FirstAnswer((accepted(SURE), accepted(UNSURE)))
    submit_first(clinic.units, first.review_id, answer, actor=ANA, settings=SETTINGS)
    assert clinic.queue().review_id != first.review_id


def test_an_image_without_a_subject_is_a_subject_of_its_own(clinic: Clinic) -> None:
    ids = [clinic.queue(replace(NEW, data=data)).image_id for data in (b"one", b"two")]
    named = clinic.queue(replace(NEW, data=b"three", subject="patient"))
    with clinic.units() as uow:
        subjects = [uow.images.get(image_id).subject for image_id in (*ids, named.image_id)]
    assert len(set(subjects)) == 3
    assert subjects[2] == "patient"


@pytest.mark.parametrize("box", [Box(90, 10, 100.5, 20), Box(-1, 0, 5, 5), Box(0, 70, 5, 81)])
def test_a_detection_that_reaches_out_of_the_image_is_refused(clinic: Clinic, box: Box) -> None:
    with pytest.raises(InvalidBox, match="100x80"):
        clinic.queue(detections=[Detection("d", box, 0, 0.5)])
    assert clinic.database.events == []


def test_a_gold_image_is_not_queued(clinic: Clinic) -> None:
    _add(clinic, gold=True)
    with pytest.raises(Conflict, match="gold set"):
        clinic.queue()


def test_truth_is_an_annotation_without_a_review(clinic: Clinic) -> None:
    annotation = _add(clinic)
    assert annotation is not None
    assert (annotation.version, annotation.source) == (1, Source.IMPORTED)
    assert (annotation.case_id, annotation.reviewers) == (None, ("api",))
    assert [(box.box, box.class_id) for box in annotation.boxes] == [
        (true.box, true.class_id) for true in TRUTH
    ]
    assert {box.origin for box in annotation.boxes} == {Origin.IMPORTED}
    assert clinic.event_types() == ["annotation.imported"]
    with clinic.units() as uow:
        assert uow.annotations.latest_of(annotation.image_id) == annotation


def test_the_same_truth_again_changes_nothing(clinic: Clinic) -> None:
    assert _add(clinic) is not None
    assert _add(clinic) is None
    assert clinic.event_types() == ["annotation.imported"]


def test_other_truth_makes_the_next_version(clinic: Clinic) -> None:
    _add(clinic)
    second = _add(clinic, boxes=TRUTH[:1])
    assert second is not None
    assert second.version == 2


def test_an_import_does_not_override_what_people_settled(clinic: Clinic) -> None:
    queued = clinic.queue()
    answer = FirstAnswer((accepted(SURE), accepted(UNSURE)))
    settled = submit_first(
        clinic.units, queued.review_id, answer, actor=ANA, settings=SETTINGS
    ).annotation
    with pytest.raises(Conflict, match="reviewed by people"):
        _add(clinic)
    with clinic.units() as uow:
        assert uow.annotations.latest_of(queued.image_id) == settled


def test_an_image_that_shows_nothing_is_truth_too(clinic: Clinic) -> None:
    annotation = _add(clinic, boxes=())
    assert annotation is not None
    assert annotation.boxes == ()
    assert _add(clinic, boxes=()) is None


def test_gold_marks_the_image(clinic: Clinic) -> None:
    annotation = _add(clinic, gold=True)
    assert annotation is not None
    with clinic.units() as uow:
        assert [image.id for image in uow.images.gold()] == [annotation.image_id]


def test_a_gold_image_is_frozen(clinic: Clinic) -> None:
    _add(clinic, gold=True)
    assert _add(clinic, gold=True) is None
    with pytest.raises(Conflict, match="frozen"):
        _add(clinic, boxes=TRUTH[:1], gold=True)
    with pytest.raises(Conflict, match="already in the gold set"):
        _add(clinic, boxes=TRUTH[:1])


def test_an_annotated_image_does_not_become_gold(clinic: Clinic) -> None:
    _add(clinic)
    with pytest.raises(Conflict, match="already outside the gold set"):
        _add(clinic, gold=True)


def test_an_image_that_waits_for_review_does_not_become_gold(clinic: Clinic) -> None:
    queued = clinic.queue()
    with pytest.raises(Conflict, match="waits for review"):
        _add(clinic, gold=True)
    with clinic.units() as uow:
        assert not uow.images.get(queued.image_id).gold


def test_a_true_box_that_reaches_out_of_the_image_is_refused(clinic: Clinic) -> None:
    with pytest.raises(InvalidAnswer, match="reaches out"):
        _add(clinic, boxes=(TrueBox(Box(0, 0, 101, 80), 0),))
    assert clinic.database.tables.images == {}


def test_a_model_is_told_from_another_by_its_weights(clinic: Clinic) -> None:
    same_number = ModelRef(MODEL.name, MODEL.version, "f" * 64)
    assert clinic.queue().review_id != clinic.queue(model=same_number).review_id


def test_a_case_knows_what_the_queue_is_searched_for(clinic: Clinic) -> None:
    queued = clinic.queue()
    case = clinic.database.tables.cases[queued.review_id]
    assert (case.model, case.classes, case.disagreement) == ("detector:1", (0, 1), 0.0)
    assert 0 <= case.shuffle < 1
    assert case.first_reviewer is case.reopens is None
    again = clinic.queue(model=replace(MODEL, version="2"))
    assert clinic.database.tables.cases[again.review_id].shuffle != case.shuffle


def test_bringing_in_needs_a_permission(clinic: Clinic) -> None:
    auditor, reviewer = Actor("auditor", Role.AUDITOR), ANA
    with pytest.raises(NotAllowed):
        queue_image(clinic.units, clinic.images, NEW, model=MODEL, detections=(), actor=auditor)
    with pytest.raises(NotAllowed):
        add_truth(clinic.units, clinic.images, NEW, TRUTH, actor=reviewer)
    assert clinic.images.kept == {}
