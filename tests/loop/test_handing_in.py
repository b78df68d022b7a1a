"""First answers, sealed blind boxes, second answers and skips, handed in at the desk."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from loop.boxes import Box
from loop.cases import CaseState, Source
from loop.corrections import FinalBox, Origin, digest_of_boxes
from loop.desk_views import Opened, Phase
from loop.errors import CaseDone, Conflict, InvalidAnswer, InvalidInput, OwnCase, StaleLease
from loop.events import Role
from loop.queue import Work
from loop.sealing import SealedText
from tests.fakes import sealed
from tests.loop.cases import ANA, BEN, SURE
from tests.loop.desks import AGREES, BLIND, DIFFERS, EVE, SETTLES, DeskClinic, held_by


@pytest.fixture
def clinic() -> DeskClinic:
    return DeskClinic()


def save(clinic: DeskClinic, opened: Opened, actor: Any = BEN, rev: int = 1, **boxes: Any) -> None:
    clinic.desk.save_draft(opened.case.id, rev=rev, document=boxes, **held_by(opened, actor))


# First answers


def test_a_first_answer_settles_the_case_and_ends_lease_and_draft(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    save(clinic, opened, ANA, boxes=[1])
    outcome = clinic.submit(opened, AGREES)
    assert outcome.annotation is not None
    assert clinic.database.tables.cases[opened.case.id].state is CaseState.SETTLED
    assert clinic.database.tables.drafts == {}
    assert clinic.database.tables.leases == {}


def test_a_first_answer_that_differs_frees_the_case_for_the_second(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    outcome = clinic.submit(opened, replace(DIFFERS, bulk_accepted=1))
    case = clinic.database.tables.cases[opened.case.id]
    assert case.state is CaseState.SECOND
    assert case.first_reviewer == "ana"
    assert case.disagreement == outcome.agreement.disagreement > 0
    assert case.classes == (0, 1, 2)
    submitted = next(e for e in clinic.database.events if e.type == "correction.submitted")
    assert submitted.details["bulk_accepted"] == 1
    again = clinic.taken(BEN, Work.SECOND)
    assert opened.lease is not None
    assert again.lease is not None
    assert again.lease.token > opened.lease.token


@pytest.mark.parametrize("answer", [AGREES, DIFFERS])
def test_the_same_submission_twice_is_one(clinic: DeskClinic, answer: Any) -> None:
    clinic.queue()
    opened = clinic.taken()
    first = clinic.submit(opened, answer, key="k")
    events = list(clinic.database.events)
    assert clinic.submit(opened, answer, key="k") == first
    assert clinic.submit(opened, AGREES, key="k") == first  # whatever comes with it
    assert clinic.database.events == events


def test_the_first_result_stays_what_it_was_when_a_second_person_has_settled_the_case(
    clinic: DeskClinic,
) -> None:
    clinic.queue()
    opened = clinic.taken()
    first = clinic.submit(opened, DIFFERS, key="k")
    clinic.settle(clinic.reveal(clinic.taken(BEN, Work.SECOND)))
    assert clinic.submit(opened, DIFFERS, key="k") == first


def test_a_key_is_good_for_one_submission_of_one_person(clinic: DeskClinic) -> None:
    clinic.queue_many(2)
    one, two = clinic.taken(tab="one"), clinic.taken(tab="two")
    nothing = replace(AGREES, boxes=(), no_finding=True)
    clinic.submit(one, replace(nothing, rejected=("d1",)), key="k")
    with pytest.raises(Conflict, match="key"):
        clinic.submit(two, replace(nothing, rejected=("d0",)), key="k")
    with pytest.raises(Conflict, match="key"):
        clinic.submit(one, nothing, EVE, key="k")
    with pytest.raises(Conflict, match="key"):
        clinic.settle(one, actor=replace(ANA, role=Role.ADJUDICATOR), key="k")


@pytest.mark.parametrize("key", ["", "x" * 65])
def test_a_key_has_a_bearable_length(clinic: DeskClinic, key: str) -> None:
    clinic.queue()
    with pytest.raises(InvalidInput):
        clinic.submit(clinic.taken(), AGREES, key=key)


def test_another_answer_to_an_answered_case_is_refused(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    clinic.submit(opened, DIFFERS, key="k1")
    with pytest.raises(CaseDone):
        clinic.submit(opened, AGREES, key="k2")


def test_an_answer_that_is_refused_leaves_lease_and_draft_as_they_were(
    clinic: DeskClinic,
) -> None:
    clinic.queue()
    opened = clinic.taken()
    save(clinic, opened, ANA, boxes=[1])
    before = clinic.database.tables
    with pytest.raises(InvalidAnswer):
        clinic.submit(opened, replace(AGREES, rejected=("unsure",)))
    assert clinic.database.tables == before


# Blind, then revealed


def test_a_second_look_starts_blind(clinic: DeskClinic) -> None:
    case_id = clinic.waiting_for_second()
    opened = clinic.taken(BEN, Work.SECOND)
    assert (opened.case.id, opened.phase) == (case_id, Phase.BLIND)
    assert opened.prediction is opened.correction is opened.agreement is opened.blind is None
    assert opened.annotation is opened.second_review is None
    assert opened.groups == opened.case.classes == ()
    shown = json.dumps(asdict(opened), default=str)
    assert '"x1"' not in shown  # no box at all
    for box in (SURE, *DIFFERS.boxes):
        assert f'"{box.id}"' not in shown
    assert clinic.database.events[-1].details["phase"] == "blind"
    assert "prediction_id" not in clinic.database.events[-1].subject


def test_a_second_look_stays_blind_for_who_only_reads(clinic: DeskClinic) -> None:
    clinic.waiting_for_second()
    held = clinic.taken(BEN, Work.SECOND)
    for actor, tab in ((EVE, "tab"), (BEN, "other tab")):
        opened = clinic.desk.open_case(held.case.id, actor=actor, tab=tab)
        assert opened.lease is None
        assert opened.phase is Phase.BLIND
        assert opened.prediction is opened.correction is None


def test_a_draft_of_a_first_answer_does_not_come_back_in_a_blind_second_look(
    clinic: DeskClinic,
) -> None:
    """It was drawn beside the model's boxes."""
    clinic.queue()
    opened = clinic.taken(BEN)
    save(clinic, opened, boxes=["beside the model"])
    clinic.clock.pass_by(301)
    clinic.submit(clinic.taken(ANA), DIFFERS)
    with pytest.raises(StaleLease):
        save(clinic, opened, rev=2, boxes=["beside the model"])
    blind = clinic.taken(BEN, Work.SECOND)
    assert (blind.draft, blind.recovered) == (None, ())
    save(clinic, blind, rev=1, boxes=["blind"])
    again = clinic.desk.open_case(blind.case.id, actor=BEN, tab="tab")
    assert again.draft is not None
    assert again.draft.document == {"boxes": ["blind"]}
    assert again.recovered == ()
    clinic.settle(clinic.reveal(again))
    done = clinic.desk.open_case(blind.case.id, actor=BEN, tab="tab")
    assert len(done.recovered) == 2  # nothing was lost


def test_the_settled_answer_before_is_closed_to_who_is_to_look_blind(clinic: DeskClinic) -> None:
    settled = clinic.settled()
    reopened = clinic.desk.reopen(settled, "look again", actor=EVE)
    first = clinic.desk.open_case(reopened.id, actor=ANA, tab="tab")
    assert clinic.desk.open_case(settled, actor=BEN, tab="tab").annotation is not None
    clinic.submit(first, AGREES, key="again")
    for case_id in (settled, reopened.id):
        closed = clinic.desk.open_case(case_id, actor=BEN, tab="tab")
        assert closed.prediction is closed.correction is closed.annotation is None
    assert closed.lease is not None
    clinic.reveal(closed)
    assert clinic.desk.open_case(settled, actor=BEN, tab="tab").annotation is not None


def test_sealing_the_blind_boxes_shows_the_others(clinic: DeskClinic) -> None:
    clinic.waiting_for_second()
    blind = clinic.taken(BEN, Work.SECOND)
    save(clinic, blind, boxes=["blind"])
    opened = clinic.reveal(blind)
    assert (opened.phase, opened.blind) == (Phase.SETTLE, BLIND)
    assert opened.prediction is not None
    assert opened.correction is not None
    assert opened.correction.boxes == DIFFERS.boxes
    assert opened.agreement is not None
    assert opened.groups
    assert opened.draft is None
    event = clinic.database.events[-1]
    assert event.type == "second_review.revealed"
    assert event.subject["boxes"] == sealed(blind.case.image_id, "boxes", digest_of_boxes(BLIND))
    assert clinic.desk.open_case(blind.case.id, actor=BEN, tab="tab").phase is Phase.SETTLE


def test_sealed_boxes_cannot_change(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    events = len(clinic.database.events)
    assert clinic.reveal(opened).blind == BLIND
    assert len(clinic.database.events) == events
    with pytest.raises(Conflict, match="sealed"):
        clinic.desk.reveal(opened.case.id, (), active_seconds=1, **held_by(opened, BEN))


def test_each_second_reviewer_starts_blind(clinic: DeskClinic) -> None:
    opened = clinic.revealed(BEN)
    clinic.desk.release(opened.case.id, **held_by(opened, BEN))
    other = clinic.taken(EVE, Work.SECOND)
    assert (other.phase, other.blind) == (Phase.BLIND, None)
    clinic.settle(clinic.reveal(other, EVE), actor=EVE)
    review = clinic.database.tables.second_reviews[opened.case.id]
    assert review.reviewer == "eve"


@pytest.mark.parametrize(
    "box",
    [
        FinalBox("b", Box(90, 0, 101, 10), 0, Origin.ADDED),
        FinalBox("b", Box(90, 0, 99, 10), 9, Origin.ADDED),
        FinalBox("b", SURE.box, 0, Origin.ACCEPTED, "sure"),
        SETTLES.boxes[1],
    ],
    ids=["outside", "class", "detection", "lineage"],
)
def test_what_cannot_have_been_drawn_blind_is_refused(clinic: DeskClinic, box: FinalBox) -> None:
    clinic.waiting_for_second()
    opened = clinic.taken(BEN, Work.SECOND)
    with pytest.raises(InvalidAnswer):
        clinic.desk.reveal(opened.case.id, (box,), active_seconds=1, **held_by(opened, BEN))
    assert clinic.desk.open_case(opened.case.id, actor=BEN, tab="tab").phase is Phase.BLIND


def test_a_reveal_with_a_lost_lease_shows_nothing(clinic: DeskClinic) -> None:
    clinic.waiting_for_second()
    opened = clinic.taken(BEN, Work.SECOND)
    clinic.clock.pass_by(301)
    clinic.taken(EVE, Work.SECOND)
    with pytest.raises(StaleLease):
        clinic.reveal(opened)
    assert clinic.database.tables.blind_reviews == {}


def test_nobody_seals_or_settles_their_own_case(clinic: DeskClinic) -> None:
    case_id = clinic.waiting_for_second()
    holder: dict[str, Any] = {
        "actor": replace(ANA, role=Role.ADJUDICATOR),
        "tab": "tab",
        "token": 1,
    }
    with pytest.raises(OwnCase):
        clinic.desk.reveal(case_id, BLIND, active_seconds=1, **holder)
    with pytest.raises(OwnCase):
        clinic.desk.submit_second(case_id, SETTLES, key="k", **holder)


# Second answers


def test_a_second_answer_settles_the_case_with_its_lineage(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    annotation = clinic.settle(opened)
    assert annotation.source is Source.SECOND
    assert annotation.reviewers == ("ana", "ben")
    assert annotation.boxes == SETTLES.boxes
    assert [box.lineage for box in annotation.boxes] == [box.lineage for box in SETTLES.boxes]
    review = clinic.database.tables.second_reviews[opened.case.id]
    assert (review.blind, review.final, review.dropped) == (BLIND, SETTLES.boxes, SETTLES.dropped)
    assert review.active_seconds == 3.0 + 4.0
    assert clinic.database.tables.leases == {}
    first, _ = clinic.database.tables.corrections[opened.case.id]
    assert first.boxes == DIFFERS.boxes  # as it was


def test_the_same_second_answer_twice_is_one(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    annotation = clinic.settle(opened, key="k")
    events = list(clinic.database.events)
    assert clinic.settle(opened, key="k") == annotation
    assert clinic.database.events == events
    with pytest.raises(CaseDone):
        clinic.settle(opened, key="other")


def test_there_is_no_second_answer_before_the_reveal(clinic: DeskClinic) -> None:
    clinic.waiting_for_second()
    opened = clinic.taken(BEN, Work.SECOND)
    with pytest.raises(Conflict, match="blind boxes come first"):
        clinic.settle(opened)


def test_a_second_answer_with_a_lost_lease_is_refused(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    clinic.clock.pass_by(301)
    clinic.taken(EVE, Work.SECOND)
    with pytest.raises(StaleLease):
        clinic.settle(opened)
    assert clinic.database.tables.second_reviews == {}


def test_a_second_answer_that_leaves_a_box_out_changes_nothing(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    before = clinic.database.tables
    with pytest.raises(InvalidAnswer, match="unsure"):
        clinic.settle(opened, replace(SETTLES, dropped=()))
    assert clinic.database.tables == before


def test_an_origin_that_is_not_true_is_refused(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    relabelled = replace(SETTLES.boxes[0], origin=Origin.RELABELLED)
    with pytest.raises(InvalidAnswer, match="says relabelled"):
        clinic.settle(opened, replace(SETTLES, boxes=(relabelled, SETTLES.boxes[1])))


# Skipping


def test_a_skipped_case_stays_for_others(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken(ANA)
    clinic.desk.skip(opened.case.id, "unclear_image", **held_by(opened, ANA))
    assert clinic.take(ANA) is None
    assert clinic.taken(BEN).case.id == opened.case.id
    event = next(e for e in clinic.database.events if e.type == "case.skipped")
    image_id = opened.case.image_id
    assert event.reason == sealed(image_id, "reason", "unclear_image")
    assert event.details == {"work": "first"}
    with clinic.units() as uow:
        kept = uow.sealed_texts.find(event.id)
    assert kept == SealedText(event.id, image_id, "unclear_image")


def test_who_skipped_a_case_can_still_ask_for_it(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    for _ in range(2):
        clinic.desk.skip(opened.case.id, "other", **held_by(opened, ANA))
        opened = clinic.desk.open_case(opened.case.id, actor=ANA, tab="tab")
        assert opened.lease is not None


def test_a_skip_needs_a_reason_that_there_is(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    with pytest.raises(InvalidInput, match="boring"):
        clinic.desk.skip(opened.case.id, "boring", **held_by(opened, ANA))


def test_a_settled_case_is_not_skipped(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    clinic.submit(opened, AGREES)
    with pytest.raises(CaseDone):
        clinic.desk.skip(opened.case.id, "other", **held_by(opened, ANA))


def test_who_skipped_it_as_first_reviewer_is_not_asked_for_the_second_look(
    clinic: DeskClinic,
) -> None:
    """They have seen what the model says."""
    clinic.queue()
    opened = clinic.taken(BEN)
    clinic.desk.skip(opened.case.id, "not_my_field", **held_by(opened, BEN))
    clinic.submit(clinic.taken(ANA), DIFFERS)
    assert clinic.take(BEN, Work.SECOND) is None
    assert clinic.taken(EVE, Work.SECOND).case.id == opened.case.id
