from __future__ import annotations

from collections.abc import Sequence

import pytest

from loop.agreement import AgreementSettings
from loop.boxes import Box
from loop.corrections import FinalBox, Origin
from loop.errors import BrokenRecord, Conflict, NotAllowed, NotFound, Unavailable
from loop.impact import Change, Impact
from loop.intake import NewImage, Queued
from loop.measuring import Detect, agrees, measure
from loop.predictions import Detection, ModelRef
from loop.promotions import PromotionState
from loop.review import FirstAnswer, submit_first
from tests.loop.cases import ANA, API, BEN, MODEL, SETTINGS, SURE, Clinic, accepted
from tests.loop.test_impact import model, promotion

NEW = model(2)
LATER = "9999"  # after everything that the tests do


def found(*boxes: Box) -> list[Detection]:
    return [Detection(f"n{i}", box, 0, 0.9) for i, box in enumerate(boxes)]


class Measured(Clinic):
    """Settled cases of one box each, and a service that answers what it is told for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[bytes, Sequence[Detection]] = {}
        self.served: ModelRef = NEW
        self.promote(promotion(2, 1, measured="1", at=LATER))

    def promote(self, of: object) -> None:
        self.database.tables.promotions["m2"] = of  # type: ignore[assignment]

    def settle(self, name: str, box: Box, *now: Box, model: ModelRef = MODEL) -> Queued:
        """A case settled as ``box``; the model saw `SURE` on it, and the new one sees ``now``."""
        data = name.encode()
        self.answers[data] = found(*now)
        queued = self.queue(NewImage(data, "image/png", 100, 80), [SURE], model)
        detection = queued.detections[0]
        final = FinalBox.from_detection("b", box, 0, detection)
        outcome = submit_first(
            self.units, queued.review_id, FirstAnswer((final,)), actor=ANA, settings=LENIENT
        )
        assert outcome.annotation is not None
        return queued

    def detect(self, data: bytes) -> tuple[ModelRef, Sequence[Detection]]:
        return self.served, self.answers[data]

    def measure(self, most: int = 200, detect: Detect | None = None) -> Impact:
        steps = measure(
            self.units,
            self.images,
            detect or self.detect,
            "m2",
            actor=BEN,
            settings=SETTINGS,
            most=most,
        )
        self.progress: list[tuple[int, int]] = []
        while True:
            try:
                self.progress.append(next(steps))
            except StopIteration as end:
                impact: Impact = end.value
                return impact


# Settles any first answer at once, however far from the model it is.
LENIENT = AgreementSettings(agreement_ciou=-1)
AS_SEEN, MOVED = SURE.box, Box(20, 20, 44, 44)


@pytest.fixture
def clinic() -> Measured:
    return Measured()


def test_cases_are_told_apart_by_who_agrees_with_the_annotation(clinic: Measured) -> None:
    clinic.settle("fixed", MOVED, MOVED)
    clinic.settle("still wrong", MOVED, AS_SEEN)
    clinic.settle("broken", AS_SEEN, MOVED)
    clinic.settle("still right", AS_SEEN, AS_SEEN)
    impact = clinic.measure()
    changes = [case.change for case in impact.cases]
    assert changes == [Change.STILL_RIGHT, Change.BROKEN, Change.STILL_WRONG, Change.FIXED]
    assert (impact.promotion_id, impact.model) == ("m2", NEW)
    fixed = impact.of(Change.FIXED)[0]
    assert fixed.reviewers == ("ana",)
    assert [detection.box for detection in fixed.detections] == [MOVED]
    with clinic.units() as uow:
        assert uow.impacts.find("m2") == impact
        assert uow.cases.get(fixed.case_id).prediction_id == fixed.prediction_id


def test_measuring_is_on_record_with_its_counts_and_no_image(clinic: Measured) -> None:
    clinic.settle("fixed", MOVED, MOVED)
    clinic.measure()
    event = clinic.database.events[-1]
    assert (event.type, event.actor) == ("impact.measured", BEN)
    assert event.subject == {"promotion_id": "m2", "model": NEW.as_dict()}
    assert event.details == {"fixed": 1, "still_wrong": 0, "broken": 0, "still_right": 0}


def test_progress_is_told_before_each_case_and_at_the_end(clinic: Measured) -> None:
    for name in ("a", "b"):
        clinic.settle(name, AS_SEEN, AS_SEEN)
    clinic.measure()
    assert clinic.progress == [(0, 2), (1, 2), (2, 2)]


def test_only_the_latest_cases_are_looked_at(clinic: Measured) -> None:
    for name in ("old", "newer", "newest"):
        clinic.settle(name, AS_SEEN, AS_SEEN)
    impact = clinic.measure(most=2)
    assert len(impact.cases) == 2
    assert clinic.progress[-1] == (2, 2)


def test_what_the_promoted_model_itself_proposed_is_left_out(clinic: Measured) -> None:
    clinic.settle("its own", AS_SEEN, AS_SEEN, model=NEW)
    assert clinic.measure().cases == ()


def test_cases_settled_after_the_promotion_are_left_out(clinic: Measured) -> None:
    clinic.promote(promotion(2, 1, measured="1", at="2020"))
    clinic.settle("later", AS_SEEN, AS_SEEN)
    assert clinic.measure().cases == ()


def test_another_model_in_service_is_refused_and_nothing_is_stored(clinic: Measured) -> None:
    clinic.settle("case", AS_SEEN, AS_SEEN)
    clinic.served = model(3)
    events = len(clinic.database.events)
    with pytest.raises(Conflict, match="Version 3 of detector is in service, and not 2"):
        clinic.measure()
    assert len(clinic.database.events) == events
    with clinic.units() as uow:
        assert uow.impacts.find("m2") is None


def test_a_swap_while_it_is_measured_is_noticed(clinic: Measured) -> None:
    for name in ("a", "b"):
        clinic.settle(name, AS_SEEN, AS_SEEN)
    models = iter((NEW, model(3)))
    with pytest.raises(Conflict):
        clinic.measure(detect=lambda data: (next(models), clinic.answers[data]))


def test_a_service_that_is_down_is_said(clinic: Measured) -> None:
    clinic.settle("case", AS_SEEN, AS_SEEN)

    def down(_: bytes) -> tuple[ModelRef, Sequence[Detection]]:
        raise Unavailable("The detection API does not answer.")

    with pytest.raises(Unavailable):
        clinic.measure(detect=down)


def test_an_image_that_is_damaged_is_not_passed_over(clinic: Measured) -> None:
    queued = clinic.settle("case", AS_SEEN, AS_SEEN)
    clinic.images.kept[queued.image_id] = b"damaged"
    with pytest.raises(BrokenRecord):
        clinic.measure()


def test_only_a_promotion_that_went_through_can_be_measured(clinic: Measured) -> None:
    clinic.promote(promotion(2, 1, measured="1"))
    with pytest.raises(Conflict, match=PromotionState.PROPOSED):
        clinic.measure()
    del clinic.database.tables.promotions["m2"]
    with pytest.raises(NotFound):
        clinic.measure()


def test_a_part_that_acts_by_itself_may_not_measure(clinic: Measured) -> None:
    steps = measure(clinic.units, clinic.images, clinic.detect, "m2", actor=API, settings=SETTINGS)
    with pytest.raises(NotAllowed):
        next(steps)


def test_measuring_again_takes_the_place_of_the_first_time(clinic: Measured) -> None:
    clinic.settle("case", MOVED, AS_SEEN)
    assert clinic.measure().counts[Change.STILL_WRONG] == 1
    clinic.answers[b"case"] = found(MOVED)
    assert clinic.measure().counts[Change.FIXED] == 1
    assert len(clinic.database.tables.impacts) == 1


def test_a_model_agrees_as_it_would_in_review() -> None:
    assert agrees([SURE], [accepted(SURE)], SETTINGS)
    assert not agrees([], [accepted(SURE)], SETTINGS)
    assert not agrees([SURE], [], SETTINGS)
    assert agrees([], [], SETTINGS)
    other_class = FinalBox("b", SURE.box, 1, Origin.ADDED)
    assert not agrees([SURE], [other_class], SETTINGS)
