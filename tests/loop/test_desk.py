"""Taking, holding, keeping and browsing; handing in has a file of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loop.cases import CaseState
from loop.desk import Desk, DeskSettings
from loop.desk_views import Phase, Picked
from loop.errors import (
    CaseDone,
    HeldByOther,
    InvalidInput,
    NotAllowed,
    NotFound,
    StaleLease,
    TooLarge,
)
from loop.events import Actor, Role
from loop.queue import Filters, Order, Work
from loop.review import submit_first
from tests.fakes import sealed
from tests.loop.cases import ANA, BEN, MODEL, SETTINGS, SURE, UNSURE
from tests.loop.desks import ADDED, AGREES, DIFFERS, EVE, DeskClinic, held_by

TEA = Actor("tea", Role.REVIEWER)
ENGINEER = Actor("engineer", Role.ENGINEER)


@pytest.fixture
def clinic() -> DeskClinic:
    return DeskClinic()


def save(clinic: DeskClinic, opened: Any, actor: Actor = ANA, rev: int = 1, **document: Any) -> Any:
    return clinic.desk.save_draft(
        opened.case.id, rev=rev, document=document, **held_by(opened, actor)
    )


# Taking


def test_the_next_case_comes_with_a_lease_and_what_the_model_says(clinic: DeskClinic) -> None:
    queued = clinic.queue()
    opened = clinic.taken()
    assert (opened.case.id, opened.phase, opened.picked) == (
        queued.review_id,
        Phase.FIRST,
        Picked.ORDER,
    )
    assert opened.prediction is not None
    assert opened.prediction.detections == (SURE, UNSURE)
    assert opened.lease is not None
    assert (opened.lease.holder, opened.lease.tab, opened.lease.expires_in) == ("ana", "tab", 300)
    assert opened.lease.expires_at == "2030-01-01T00:05:00.000000Z"
    assert opened.refusal is None
    assert opened.correction is opened.annotation is opened.draft is None


def test_what_was_shown_is_on_record(clinic: DeskClinic) -> None:
    queued = clinic.queue()
    clinic.taken()
    event = clinic.database.events[-1]
    assert (event.type, event.actor) == ("case.opened", ANA)
    assert event.subject == {
        "image": sealed(queued.image_id),
        "review_id": queued.review_id,
        "prediction_id": queued.prediction_id,
    }
    assert event.details == {
        "phase": "first",
        "work": "first",
        "picked": "order",
        "read_only": None,
    }


def test_nobody_gets_what_another_holds_until_it_runs_out(clinic: DeskClinic) -> None:
    clinic.queue()
    first = clinic.taken(ANA)
    assert clinic.take(BEN) is None
    clinic.clock.pass_by(299.9)
    assert clinic.take(BEN) is None
    clinic.clock.pass_by(0.2)
    second = clinic.taken(BEN)
    assert second.lease is not None
    assert first.lease is not None
    assert second.lease.token == first.lease.token + 1


def test_one_person_gets_two_cases_in_two_tabs(clinic: DeskClinic) -> None:
    clinic.queue_many(2)
    one, two = clinic.taken(tab="one"), clinic.taken(tab="two")
    assert one.case.id != two.case.id
    assert clinic.taken(tab="one").case.id == one.case.id


def test_the_orders(clinic: DeskClinic) -> None:
    first, second, third = clinic.queue_many(3)
    cases = clinic.database.tables.cases
    for queued, shuffle in ((first, 0.9), (second, 0.1), (third, 0.5)):
        cases[queued.review_id] = replace(cases[queued.review_id], shuffle=shuffle)
    expected = {
        Order.UNCERTAIN: [third, second, first],
        Order.OLDEST: [first, second, third],
        Order.DISAGREED: [first, second, third],  # nothing to tell them apart but their age
        Order.RANDOM: [second, third, first],
    }
    for order, in_order in expected.items():
        page = clinic.desk.page(CaseState.FIRST, order, Filters(), actor=ANA)
        assert [case.id for case in page.cases] == [queued.review_id for queued in in_order]
        opened = clinic.take(order=order)
        assert opened is not None
        assert opened.case.id == in_order[0].review_id


def test_the_filters(clinic: DeskClinic) -> None:
    queued = clinic.queue_many(4)  # of the classes 0, 1, 2, 0
    newer = clinic.queue(detections=[SURE, UNSURE], model=replace(MODEL, version="2"))

    def found(**filters: Any) -> set[str]:
        page = clinic.desk.page(CaseState.FIRST, Order.OLDEST, Filters(**filters), actor=ANA)
        assert page.total == len(page.cases)
        return {case.id for case in page.cases}

    assert found(class_id=0) == {queued[0].review_id, queued[3].review_id, newer.review_id}
    assert found(model="detector:2") == {newer.review_id}
    assert found(class_id=2, model="detector:2") == set()
    assert clinic.take(filters=Filters(class_id=7)) is None
    assert clinic.desk.models(CaseState.FIRST, actor=ANA) == ["detector:1", "detector:2"]


def test_a_class_that_only_the_first_answer_has_is_found_in_the_second_queue(
    clinic: DeskClinic,
) -> None:
    case_id = clinic.waiting_for_second()
    filters = Filters(class_id=ADDED.class_id)
    page = clinic.desk.page(CaseState.SECOND, Order.DISAGREED, filters, actor=BEN)
    assert [case.id for case in page.cases] == [case_id]


def test_a_share_is_drawn_by_lot(clinic: DeskClinic) -> None:
    queued = clinic.queue_many(3)
    cases = clinic.database.tables.cases
    for each, shuffle in zip(queued, (0.2, 0.4, 0.6), strict=True):
        cases[each.review_id] = replace(cases[each.review_id], shuffle=shuffle)
    clinic.draws = [0.09, 0.3]
    drawn = clinic.taken(tab="one")
    assert (drawn.case.id, drawn.picked) == (queued[1].review_id, Picked.RANDOM)
    clinic.draws = [0.09, 0.7]  # behind the last: it goes on from the start
    assert clinic.taken(tab="two").case.id == queued[0].review_id
    clinic.draws = [0.1]
    assert clinic.taken(tab="three").picked is Picked.ORDER


def test_the_next_one_after_a_case_goes_on_behind_it_and_round(clinic: DeskClinic) -> None:
    queued = clinic.queue_many(3)
    last, middle, first = (each.review_id for each in queued)
    seen = [first]
    for _ in range(3):
        opened = clinic.take(after=seen[-1])
        assert opened is not None
        seen.append(opened.case.id)
        clinic.desk.release(opened.case.id, **held_by(opened, ANA))
    assert seen == [first, middle, last, first]


def test_after_the_only_case_there_is_none(clinic: DeskClinic) -> None:
    queued = clinic.queue()
    assert clinic.take(after=queued.review_id) is None


@pytest.mark.parametrize(
    ("work", "actor"),
    [(Work.FIRST, ENGINEER), (Work.REOPENED, ENGINEER), (Work.SECOND, TEA)],
)
def test_who_may_not_do_the_work_gets_none_of_it(
    clinic: DeskClinic, work: Work, actor: Actor
) -> None:
    with pytest.raises(NotAllowed):
        clinic.take(actor, work)
    with pytest.raises(NotAllowed):
        clinic.desk.page(work.state, Order.OLDEST, Filters(), actor=actor)


# Opening


def test_a_second_tab_reads_until_it_takes_over(clinic: DeskClinic) -> None:
    clinic.queue()
    here = clinic.taken(tab="here")
    there = clinic.desk.open_case(here.case.id, actor=ANA, tab="there")
    assert there.lease is None
    assert there.refusal is not None
    assert (there.refusal.code, there.refusal.can_take_over) == ("held_elsewhere", True)
    assert there.prediction == here.prediction
    there = clinic.desk.open_case(here.case.id, actor=ANA, tab="there", take_over=True)
    assert there.lease is not None
    with pytest.raises(StaleLease):
        clinic.desk.heartbeat(here.case.id, **held_by(here, ANA))
    clinic.desk.heartbeat(here.case.id, **held_by(there, ANA))


def test_nobody_takes_over_from_somebody_else(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken(ANA)
    other = clinic.desk.open_case(opened.case.id, actor=TEA, tab="tab", take_over=True)
    assert other.lease is None
    assert other.refusal is not None
    assert (other.refusal.code, other.refusal.can_take_over) == ("held_by_other", False)
    clinic.desk.heartbeat(opened.case.id, **held_by(opened, ANA))


def test_opening_again_in_the_same_tab_goes_on_with_the_lease(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    clinic.clock.pass_by(200)
    again = clinic.desk.open_case(opened.case.id, actor=ANA, tab="tab")
    assert opened.lease is not None
    assert again.lease is not None
    assert again.lease.token == opened.lease.token
    assert again.lease.expires_at > opened.lease.expires_at
    assert again.picked is Picked.ASKED


def test_a_case_that_does_not_exist_is_not_found(clinic: DeskClinic) -> None:
    with pytest.raises(NotFound):
        clinic.desk.open_case("nowhere", actor=ANA, tab="tab")


def test_an_engineer_opens_nothing(clinic: DeskClinic) -> None:
    queued = clinic.queue()
    with pytest.raises(NotAllowed):
        clinic.desk.open_case(queued.review_id, actor=ENGINEER, tab="tab")


def test_a_reviewer_opens_no_case_of_the_second_reviewers(clinic: DeskClinic) -> None:
    case_id = clinic.waiting_for_second()
    with pytest.raises(NotAllowed):
        clinic.desk.open_case(case_id, actor=TEA, tab="tab")


def test_ones_own_case_shows_ones_own_answer_and_no_more(clinic: DeskClinic) -> None:
    case_id = clinic.revealed(BEN).case.id
    own = clinic.desk.open_case(case_id, actor=ANA, tab="tab")
    assert (own.phase, own.lease) == (Phase.DONE, None)
    assert own.refusal is not None
    assert own.refusal.code == "own_case"
    assert own.correction is not None
    assert own.correction.boxes == DIFFERS.boxes
    assert own.blind is own.second_review is own.annotation is None
    assert own.groups == ()


def test_a_settled_case_is_to_read(clinic: DeskClinic) -> None:
    opened = clinic.revealed()
    annotation = clinic.settle(opened)
    done = clinic.desk.open_case(opened.case.id, actor=TEA, tab="tab")
    assert (done.phase, done.lease, done.annotation) == (Phase.DONE, None, annotation)
    assert done.refusal is not None
    assert done.refusal.code == "case_done"
    assert done.second_review is not None
    assert done.blind == done.second_review.blind


# Holding


def test_a_heartbeat_holds_on(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    for _ in range(20):
        clinic.clock.pass_by(250)
        lease = clinic.desk.heartbeat(opened.case.id, **held_by(opened, ANA))
        assert lease.expires_in == 300
    assert clinic.take(BEN) is None


def test_a_case_that_was_let_go_is_free_at_once(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    for _ in range(2):
        clinic.desk.release(opened.case.id, **held_by(opened, ANA))
    assert clinic.taken(BEN).case.id == opened.case.id
    clinic.desk.release(opened.case.id, **held_by(opened, ANA))  # not hers any more
    assert clinic.take(EVE) is None


def test_letting_go_and_holding_on_need_no_event(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    before = len(clinic.database.events)
    clinic.desk.heartbeat(opened.case.id, **held_by(opened, ANA))
    save(clinic, opened)
    clinic.desk.release(opened.case.id, **held_by(opened, ANA))
    assert len(clinic.database.events) == before


def test_every_way_to_change_a_lost_case_is_refused(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken(ANA)
    clinic.clock.pass_by(301)
    clinic.taken(BEN)
    with pytest.raises(StaleLease):
        clinic.desk.heartbeat(opened.case.id, **held_by(opened, ANA))
    with pytest.raises(StaleLease):
        clinic.desk.skip(opened.case.id, "other", **held_by(opened, ANA))
    with pytest.raises(StaleLease):
        clinic.submit(opened, AGREES)
    assert clinic.database.tables.corrections == {}
    assert clinic.database.tables.skips == {}


def test_who_answers_without_a_lease_does_not_answer_a_case_that_another_holds(
    clinic: DeskClinic,
) -> None:
    queued = clinic.queue()
    opened = clinic.taken(BEN)
    hold = clinic.database.tables.leases[queued.review_id]
    clinic.database.tables.leases[queued.review_id] = replace(hold, expires_at="9999")
    with pytest.raises(HeldByOther):
        submit_first(clinic.units, queued.review_id, AGREES, actor=ANA, settings=SETTINGS)
    submit_first(clinic.units, opened.case.id, AGREES, actor=BEN, settings=SETTINGS)


@pytest.mark.parametrize("tab", ["", "x" * 65])
def test_a_tab_has_a_name_of_bearable_length(clinic: DeskClinic, tab: str) -> None:
    clinic.queue()
    with pytest.raises(InvalidInput):
        clinic.take(tab=tab)


# Drafts


def test_a_draft_comes_back(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    clinic.clock.pass_by(60)
    draft, lease = save(clinic, opened, boxes=[1, 2])
    assert (draft.document, draft.rev, draft.recovered) == ({"boxes": [1, 2]}, 1, False)
    assert draft.saved_at == "2030-01-01T00:01:00.000000Z"
    assert lease.expires_at == "2030-01-01T00:06:00.000000Z"
    again = clinic.desk.open_case(opened.case.id, actor=ANA, tab="tab")
    assert (again.draft, again.recovered) == (draft, ())


def test_nobody_sees_anothers_draft(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken(ANA)
    draft, _ = save(clinic, opened, boxes=[1])
    clinic.desk.release(opened.case.id, **held_by(opened, ANA))
    other = clinic.taken(TEA)
    assert (other.draft, other.recovered) == (None, ())
    with pytest.raises(NotFound):
        clinic.desk.discard_draft(draft.id, actor=TEA)


def test_an_older_save_that_comes_late_changes_nothing(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken()
    newer, _ = save(clinic, opened, rev=5, boxes=["newer"])
    found, _ = save(clinic, opened, rev=4, boxes=["older"])
    assert found == newer
    found, _ = save(clinic, opened, rev=6, boxes=["newest"])
    assert (found.id, found.document) == (newer.id, {"boxes": ["newest"]})


def test_a_lease_that_ran_out_but_was_not_taken_goes_on_with_the_next_save(
    clinic: DeskClinic,
) -> None:
    clinic.queue()
    opened = clinic.taken()
    clinic.clock.pass_by(3600)
    _, lease = save(clinic, opened, boxes=[1])
    assert opened.lease is not None
    assert lease.token == opened.lease.token
    assert clinic.take(BEN) is None


def test_a_save_with_a_lost_lease_is_refused_and_kept(clinic: DeskClinic) -> None:
    clinic.queue()
    opened = clinic.taken(ANA)
    save(clinic, opened, rev=1, boxes=["in time"])
    clinic.clock.pass_by(301)
    taken = clinic.taken(BEN)
    for rev in (2, 4, 3):
        with pytest.raises(StaleLease):
            save(clinic, opened, rev=rev, boxes=[rev])
    clinic.desk.release(taken.case.id, **held_by(taken, BEN))
    again = clinic.taken(ANA)
    assert again.draft is not None
    assert again.draft.document == {"boxes": ["in time"]}
    (recovered,) = again.recovered
    assert (recovered.document, recovered.recovered) == ({"boxes": [4]}, True)
    clinic.desk.discard_draft(recovered.id, actor=ANA)
    assert clinic.desk.open_case(opened.case.id, actor=ANA, tab="tab").recovered == ()


def test_what_the_other_tab_saved_late_is_kept_beside_the_draft(clinic: DeskClinic) -> None:
    clinic.queue()
    here = clinic.taken(tab="here")
    there = clinic.desk.open_case(here.case.id, actor=ANA, tab="there", take_over=True)
    save(clinic, there, rev=1, boxes=["there"])
    with pytest.raises(StaleLease):
        save(clinic, here, rev=2, boxes=["here"])
    again = clinic.desk.open_case(here.case.id, actor=ANA, tab="there")
    assert again.draft is not None
    assert again.draft.document == {"boxes": ["there"]}
    assert [each.document for each in again.recovered] == [{"boxes": ["here"]}]


def test_the_draft_of_a_case_that_somebody_else_settled_can_be_had_back(
    clinic: DeskClinic,
) -> None:
    clinic.queue()
    opened = clinic.taken(TEA)
    save(clinic, opened, TEA, boxes=["in time"])
    clinic.clock.pass_by(301)
    clinic.submit(clinic.taken(ANA), AGREES)
    with pytest.raises(CaseDone):
        save(clinic, opened, TEA, rev=2, boxes=["too late"])
    done = clinic.desk.open_case(opened.case.id, actor=TEA, tab="tab")
    assert done.draft is None
    assert {each.document["boxes"][0] for each in done.recovered} == {"in time", "too late"}
    assert all(each.recovered for each in done.recovered)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ([], InvalidInput),
        ({"x": float("nan")}, InvalidInput),
        ({"x": object()}, InvalidInput),
        ({"x": "y" * 1_000_001}, TooLarge),
    ],
    ids=["list", "nan", "object", "large"],
)
def test_what_is_no_draft_is_refused(clinic: DeskClinic, document: Any, error: Any) -> None:
    clinic.queue()
    opened = clinic.taken()
    with pytest.raises(error):
        clinic.desk.save_draft(opened.case.id, rev=1, document=document, **held_by(opened, ANA))
    assert clinic.database.tables.drafts == {}


def test_what_is_recovered_does_not_grow_without_end(clinic: DeskClinic) -> None:
    queued = clinic.queue()
    for token in range(30):
        clinic.clock.pass_by(1)
        with pytest.raises(StaleLease):
            clinic.desk.save_draft(
                queued.review_id,
                actor=ANA,
                tab="tab",
                token=token,
                rev=1,
                document={"token": token},
            )
    recovered = clinic.taken().recovered
    assert [each.document["token"] for each in recovered] == list(range(29, 9, -1))


# Browsing


def test_ones_own_cases_are_not_in_the_second_queue(clinic: DeskClinic) -> None:
    case_id = clinic.waiting_for_second()
    ana_again = replace(ANA, role=Role.ADJUDICATOR)
    assert clinic.take(ana_again, Work.SECOND) is None
    for actor, expected in ((ana_again, []), (BEN, [case_id])):
        page = clinic.desk.page(CaseState.SECOND, Order.OLDEST, Filters(), actor=actor)
        assert [case.id for case in page.cases] == expected
        assert clinic.desk.counts(actor)[CaseState.SECOND] == len(expected) == page.total


def test_a_page_leaves_out_what_others_hold_and_shows_what_one_holds_oneself(
    clinic: DeskClinic,
) -> None:
    clinic.queue_many(2)
    held = clinic.taken(ANA).case.id
    for actor, expected in ((ANA, True), (BEN, False)):
        page = clinic.desk.page(CaseState.FIRST, Order.OLDEST, Filters(), actor=actor)
        assert (held in {case.id for case in page.cases}) is expected


def test_pages_follow_one_another(clinic: DeskClinic) -> None:
    queued = clinic.queue_many(7)
    seen: list[str] = []
    cursor = None
    sizes = []
    while True:
        page = clinic.desk.page(
            CaseState.FIRST, Order.UNCERTAIN, Filters(), actor=ANA, cursor=cursor, limit=3
        )
        seen += [case.id for case in page.cases]
        sizes.append(len(page.cases))
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [each.review_id for each in reversed(queued)]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_has_a_bearable_size(clinic: DeskClinic, limit: int) -> None:
    with pytest.raises(InvalidInput):
        clinic.desk.page(CaseState.FIRST, Order.OLDEST, Filters(), actor=ANA, limit=limit)


def test_counts(clinic: DeskClinic) -> None:
    clinic.queue_many(3)
    clinic.submit(clinic.taken(), replace(AGREES, boxes=(), no_finding=True, rejected=("d2",)))
    assert clinic.desk.counts(ANA) == {
        CaseState.FIRST: 2,
        CaseState.SECOND: 0,
        CaseState.REOPENED: 0,
        CaseState.SETTLED: 1,
    }


def test_every_method_asks_for_a_permission(clinic: DeskClinic) -> None:
    """Somebody without any: an auditor may see progress, and so the counts, and nothing else."""
    auditor = Actor("auditor", Role.AUDITOR)
    holder: dict[str, Any] = {"actor": auditor, "tab": "tab", "token": 1}
    desk: Desk = clinic.desk
    for attempt in (
        lambda: desk.open_case("k", actor=auditor, tab="tab"),
        lambda: desk.heartbeat("k", **holder),
        lambda: desk.release("k", **holder),
        lambda: desk.save_draft("k", rev=1, document={}, **holder),
        lambda: desk.discard_draft("k", actor=auditor),
        lambda: desk.submit_first("k", AGREES, key="key", **holder),
        lambda: desk.reveal("k", (), active_seconds=0, **holder),
        lambda: desk.submit_second("k", None, key="key", **holder),  # type: ignore[arg-type]
        lambda: desk.skip("k", "other", **holder),
        lambda: desk.reopen("k", "because", actor=auditor),
    ):
        with pytest.raises(NotAllowed):
            attempt()
    assert set(desk.counts(auditor).values()) == {0}


def test_the_lease_is_as_long_as_the_settings_say() -> None:
    clinic = DeskClinic(DeskSettings(lease_seconds=10))
    clinic.queue()
    opened = clinic.taken()
    assert opened.lease is not None
    assert opened.lease.expires_in == 10
