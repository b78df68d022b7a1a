from __future__ import annotations

from dataclasses import replace

import pytest

from loop.agreement import Reason
from loop.cases import CaseState
from loop.desk_views import Phase
from loop.errors import Conflict, InvalidInput, NotAllowed, NotFound
from loop.events import Actor, Role
from loop.queue import Work
from loop.reopening import reopen
from tests.fakes import sealed
from tests.loop.cases import ANA, BEN
from tests.loop.desks import AGREES, EVE, SETTLES, DeskClinic


@pytest.fixture
def clinic() -> DeskClinic:
    return DeskClinic()


def test_a_settled_case_is_looked_at_again_as_a_new_one(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    before = clinic.database.tables.cases[settled]
    case = clinic.desk.reopen(settled, "a ring was missed", actor=EVE)
    assert (case.state, case.reopens, case.reasons) == (CaseState.REOPENED, settled, ("reopened",))
    assert (case.image_id, case.prediction_id) == (before.image_id, before.prediction_id)
    assert case.first_reviewer is None
    assert case.id != settled
    assert clinic.database.tables.cases[settled] == before
    event = clinic.database.events[-1]
    assert event.type == "case.reopened"
    assert event.reason == sealed(case.image_id, "reason", "a ring was missed")
    assert event.subject["reopens"] == settled
    assert event.subject["review_id"] == case.id
    with clinic.units() as uow:
        assert uow.cases.of_prediction(case.prediction_id) == case


def test_it_starts_from_the_current_annotation_and_makes_the_next_one(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    case = clinic.desk.reopen(settled, "look again", actor=EVE)
    opened = clinic.taken(ANA, Work.REOPENED)
    assert (opened.case.id, opened.phase) == (case.id, Phase.FIRST)
    assert opened.annotation is not None
    assert opened.annotation.version == 1
    assert opened.prediction is not None
    outcome = clinic.submit(opened, AGREES, key="again")
    assert outcome.annotation is None  # however much it agrees, a second person looks
    assert outcome.agreement.reasons == (Reason.REOPENED,)
    second = clinic.taken(BEN, Work.SECOND)
    assert second.annotation is None
    sealed = clinic.desk.reveal(
        second.case.id,
        (),
        active_seconds=1,
        actor=BEN,
        tab="tab",
        token=second.lease.token if second.lease else 0,
    )
    kept = tuple(
        replace(box, id=f"f{n}", lineage=replace(box.lineage, sources=sources))
        for n, (box, sources) in enumerate(
            ((SETTLES.boxes[0], ("sure", "b-sure")),)  # and the unsure one is dropped
        )
        if box.lineage
    )
    dropped = (replace(SETTLES.dropped[0], sources=("unsure", "b-unsure")),)
    annotation = clinic.settle(sealed, replace(SETTLES, boxes=kept, dropped=dropped))
    assert annotation.version == 2
    with clinic.units() as uow:
        assert uow.annotations.latest_of(case.image_id) == annotation
    assert clinic.desk.open_case(settled, actor=ANA, tab="tab").annotation == opened.annotation


def test_reopening_needs_a_reason(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    with pytest.raises(InvalidInput):
        clinic.desk.reopen(settled, "  ", actor=EVE)


def test_only_reviewers_reopen(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    with pytest.raises(NotAllowed):
        clinic.desk.reopen(settled, "because", actor=Actor("engineer", Role.ENGINEER))


def test_a_case_that_is_not_settled_is_not_reopened(clinic: DeskClinic) -> None:
    queued = clinic.queue()
    with pytest.raises(Conflict, match="not settled"):
        clinic.desk.reopen(queued.review_id, "because", actor=EVE)
    with pytest.raises(NotFound):
        clinic.desk.reopen("nowhere", "because", actor=EVE)


def test_an_image_that_waits_already_is_not_reopened(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    reopen(clinic.units, settled, "once", actor=EVE)
    with pytest.raises(Conflict, match="waits"):
        reopen(clinic.units, settled, "twice", actor=ANA)


def test_an_image_of_the_gold_set_is_not_reopened(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    images = clinic.database.tables.images
    image_id = clinic.database.tables.cases[settled].image_id
    images[image_id] = replace(images[image_id], gold=True)
    with pytest.raises(Conflict, match="gold"):
        clinic.desk.reopen(settled, "because", actor=EVE)


def test_the_same_image_sent_again_while_reopened_does_not_hide_it(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    case = clinic.desk.reopen(settled, "because", actor=EVE)
    again = clinic.queue()
    assert again.review_id not in (settled, case.id)
    with clinic.units() as uow:
        open_cases = uow.cases.open_of_image(case.image_id)
        assert [each.id for each in open_cases] == [case.id, again.review_id]
