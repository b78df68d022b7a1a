"""Work under way, on SQLite, on PostgreSQL and by the fakes; and what only a database refuses."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from loop.agreement import Agreement
from loop.cases import BlindReview, CaseState, Skip
from loop.classes import ClassList
from loop.corrections import Dropped, FinalBox, How, Lineage, Origin
from loop.desk import Desk, DeskSettings
from loop.desk_views import Phase
from loop.drafts import Draft, Submission
from loop.errors import Conflict, LoopError, OwnCase, StaleLease
from loop.events import Actor, Role
from loop.leases import Hold
from loop.ports import UnitsOfWork
from loop.queue import Filters, Order, Work
from loop.review import FirstAnswer
from loop.settling import SettledAnswer
from store import database
from store.database import migrate, open_engine, reading, writing
from store.settings import Settings
from store.unit_of_work import open_units_of_work, units_of_work
from tests.fakes import FakeDatabase
from tests.store.logs import waiting
from tests.store.test_unit_of_work import (
    BOXES,
    add_case,
    an_event,
    annotation,
    at,
    correction,
    keep,
    second_review,
)

ANA, BEN = Actor("ana", Role.ADJUDICATOR), Actor("ben", Role.ADJUDICATOR)
DRAWN = (FinalBox("b", replace(BOXES[1].box), 1, Origin.ADDED),)


@pytest.fixture(params=["fake", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> UnitsOfWork:
    if request.param == "fake":
        return FakeDatabase().units
    if request.param == "sqlite":
        return open_units_of_work(Settings(home=tmp_path, database_url=""))
    make = request.getfixturevalue("postgres")
    engine = open_engine(make(request.getfixturevalue("migrated_postgres")))
    request.addfinalizer(engine.dispose)
    return units_of_work(engine)


@pytest.fixture
def sql_units(engine: Engine) -> UnitsOfWork:
    return units_of_work(engine)


def draft(id: str = "d", **other: Any) -> Draft:
    first = Draft(id, "k0", "ana", "first", "tab", 3, 7, {"boxes": [0.1, "größer"]}, at(1))
    return replace(first, **other)


def test_work_under_way_comes_back_as_it_was(units: UnitsOfWork) -> None:
    hold = Hold("k0", "ana", "tab", 3, at(9))
    sealed = BlindReview("k0", "ben", BOXES, 1.5, at(2))
    submission = Submission("key", "ana", "k0", "first", at(3))
    keep(
        units,
        add_case(),
        lambda uow: uow.leases.put(hold),
        lambda uow: uow.drafts.put(draft()),
        lambda uow: uow.blind_reviews.add(sealed),
        lambda uow: uow.submissions.add(submission),
    )
    with units() as uow:
        assert uow.leases.find("k0") == hold
        assert uow.drafts.find("d") == uow.drafts.live("k0", "ana") == draft()
        assert uow.blind_reviews.find("k0", "ben") == sealed
        assert uow.submissions.find("key") == submission
        for missing in (
            uow.leases.find("k1"),
            uow.drafts.find("x"),
            uow.drafts.live("k0", "ben"),
            uow.blind_reviews.find("k0", "ana"),
            uow.submissions.find("x"),
            uow.corrections.agreement_of("k0"),
            uow.annotations.of_case("k0"),
        ):
            assert missing is None
        assert uow.drafts.recovered("k0", "ana") == []


def test_leases_and_drafts_need_no_event(units: UnitsOfWork) -> None:
    keep(units, add_case())
    with units() as uow:
        uow.lock()
        uow.leases.put(Hold("k0", "ana", "tab", 1, at(9)))
        uow.leases.put(Hold("k0", "ben", "tab", 2, at(19)))
        uow.drafts.put(draft())
        uow.drafts.put(draft(rev=8))
        uow.drafts.put(draft("other", recovered=True))
        uow.commit()
    with units() as uow:
        assert uow.leases.find("k0") == Hold("k0", "ben", "tab", 2, at(19))
        assert uow.drafts.live("k0", "ana") == draft(rev=8)
        uow.leases.forget("k0")
        uow.drafts.delete("d")
        uow.commit()
    with units() as uow:
        assert uow.leases.find("k0") is uow.drafts.live("k0", "ana") is None
        assert [each.id for each in uow.drafts.recovered("k0", "ana")] == ["other"]


def test_other_changes_beside_them_still_need_one(units: UnitsOfWork) -> None:
    keep(units, add_case())
    with pytest.raises(RuntimeError), units() as uow:
        uow.leases.put(Hold("k0", "ana", "tab", 1, at(9)))
        uow.skips.put(Skip("k0", "ana", "other", at(1)))
        uow.commit()
    with units() as uow:
        assert uow.leases.find("k0") is None


def test_recovered_drafts_are_newest_first(units: UnitsOfWork) -> None:
    keep(
        units,
        add_case(),
        *(
            lambda uow, n=n: uow.drafts.put(draft(f"d{n}", recovered=True, saved_at=at(n)))
            for n in (2, 3, 1)
        ),
    )
    with units() as uow:
        assert [each.id for each in uow.drafts.recovered("k0", "ana")] == ["d3", "d2", "d1"]


def test_nobody_seals_or_adds_a_second_review_of_their_own_case(units: UnitsOfWork) -> None:
    answer = correction("c", "k0", prediction_id="p0", reviewer="ben")
    keep(units, add_case(), lambda uow: uow.corrections.add(answer, Agreement()))
    with pytest.raises(OwnCase), units() as uow:
        uow.blind_reviews.add(BlindReview("k0", "ben", (), 0, at(1)))
    with pytest.raises(OwnCase), units() as uow:
        uow.second_reviews.add(replace(second_review("s", "k0"), reviewer="ben"))
    sealed = BlindReview("k0", "ana", (), 0, at(1))
    keep(units, lambda uow: uow.blind_reviews.add(sealed))
    with pytest.raises(Conflict), units() as uow:
        uow.blind_reviews.add(sealed)


def test_a_second_review_keeps_lineage_and_what_was_dropped(units: UnitsOfWork) -> None:
    lineage = Lineage(("d1", "b2"), How.MERGED, "boundary")
    review = replace(
        second_review("s", "k0"),
        final=(replace(BOXES[0], lineage=lineage), BOXES[1]),
        dropped=(Dropped(("x", "y"), "duplicate"),),
    )
    settled = replace(annotation(1, 0, "k0"), boxes=review.final)
    keep(
        units,
        add_case(),
        lambda uow: uow.second_reviews.add(review),
        lambda uow: uow.annotations.add(settled),
    )
    with units() as uow:
        assert uow.second_reviews.of_case("k0") == review
        assert uow.annotations.of_case("k0") == settled


# What only a database has: rules of its own, and several who write at once.


@pytest.mark.parametrize(
    "statement",
    [
        f"{verb} {where}"
        for table in ("corrections", "second_reviews", "blind_reviews", "annotations")
        for verb, where in (
            (f"UPDATE {table} SET", "created_at = 'later'"),
            ("DELETE FROM", table),
        )
    ],
)
def test_answers_are_never_changed(engine: Engine, sql_units: UnitsOfWork, statement: str) -> None:
    keep(
        sql_units,
        add_case(),
        lambda uow: uow.corrections.add(correction("c", "k0", prediction_id="p0"), Agreement()),
        lambda uow: uow.blind_reviews.add(BlindReview("k0", "ben", (), 0, at(1))),
        lambda uow: uow.second_reviews.add(second_review("s", "k0")),
        lambda uow: uow.annotations.add(annotation(1, 0, "k0")),
    )
    with pytest.raises(Conflict) as caught, writing(engine) as connection:
        connection.execute(text(statement))
    assert "never changed" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "insertion",
    [
        "INSERT INTO blind_reviews (case_id, reviewer, boxes, active_seconds, created_at) "
        "VALUES ('k0', 'ana', '[]', 0, '2026')",
        "INSERT INTO second_reviews (id, case_id, reviewer, blind, final, reason, comment, "
        "active_seconds, created_at) VALUES ('s', 'k0', 'ana', '[]', '[]', 'x', '', 0, '2026')",
    ],
    ids=["blind", "second"],
)
def test_the_database_itself_refuses_a_second_look_at_ones_own_case(
    engine: Engine, sql_units: UnitsOfWork, insertion: str
) -> None:
    answer = correction("c", "k0", prediction_id="p0", reviewer="ana")
    keep(sql_units, add_case(), lambda uow: uow.corrections.add(answer, Agreement()))
    with pytest.raises(Conflict) as caught, writing(engine) as connection:
        connection.execute(text(insertion))
    assert "own case" in str(caught.value.__cause__)
    with writing(engine) as connection:
        connection.execute(text(insertion.replace("'ana'", "'ben'")))


def a_desk(units: UnitsOfWork, **settings: Any) -> Desk:
    return Desk(units, DeskSettings(random_share=0, **settings))


def an_answer() -> FirstAnswer:
    """Adds a box, so that a second person is asked."""
    detection_id = "d1"  # of tests.store.test_unit_of_work.prediction
    return FirstAnswer(DRAWN, rejected=(detection_id,))


def prepared(units: UnitsOfWork, count: int = 1) -> None:
    keep(
        units,
        lambda uow: uow.classes.set(ClassList(("cell", "rod", "ring"))),
        *(add_case(n, priority=n / 100) for n in range(count)),
    )


def test_a_case_goes_all_the_way_round(engine: Engine, sql_units: UnitsOfWork) -> None:
    prepared(sql_units)
    desk = a_desk(sql_units)
    opened = desk.take_next(Work.FIRST, Order.UNCERTAIN, Filters(), actor=ANA, tab="tab")
    assert opened is not None
    assert opened.lease is not None
    mine: dict[str, Any] = {"actor": ANA, "tab": "tab", "token": opened.lease.token}
    saved, _ = desk.save_draft("k0", rev=1, document={"x": [1.5, None]}, **mine)
    assert desk.open_case("k0", actor=ANA, tab="tab").draft == saved
    first = desk.submit_first("k0", an_answer(), key="a", **mine)
    assert desk.submit_first("k0", an_answer(), key="a", **mine) == first

    blind = desk.take_next(Work.SECOND, Order.DISAGREED, Filters(1), actor=BEN, tab="tab")
    assert blind is not None
    assert blind.lease is not None
    assert (blind.phase, blind.prediction, blind.correction) == (Phase.BLIND, None, None)
    his: dict[str, Any] = {"actor": BEN, "tab": "tab", "token": blind.lease.token}
    own = (replace(DRAWN[0], id="blind"),)
    shown = desk.reveal("k0", own, active_seconds=1, **his)
    assert shown.correction == first.correction
    assert shown.agreement == first.agreement
    lineage = Lineage(("b", "blind"), How.PICKED, "missed")
    answer = SettledAnswer(
        (replace(DRAWN[0], id="final", lineage=lineage),),
        "missed",
        (Dropped(("d1",), "false_positive"),),
    )
    settled = desk.submit_second("k0", answer, key="b", **his)
    assert desk.submit_second("k0", answer, key="b", **his) == settled
    assert settled.boxes == answer.boxes

    again = desk.reopen("k0", "look again", actor=BEN)
    assert desk.counts(ANA) == {
        CaseState.FIRST: 0,
        CaseState.SECOND: 0,
        CaseState.REOPENED: 1,
        CaseState.SETTLED: 1,
    }
    third = desk.take_next(Work.REOPENED, Order.OLDEST, Filters(), actor=ANA, tab="tab")
    assert third is not None
    assert (third.case.id, third.annotation) == (again.id, settled)
    # One to prepare, then: opened twice, submitted; opened, revealed, submitted and settled;
    # reopened, opened.
    assert waiting(engine) == 1 + 3 + 4 + 2


def test_a_stale_save_is_refused_and_kept(sql_units: UnitsOfWork) -> None:
    prepared(sql_units)
    desk = a_desk(sql_units)
    opened = desk.open_case("k0", actor=ANA, tab="here")
    desk.open_case("k0", actor=ANA, tab="there", take_over=True)
    assert opened.lease is not None
    with pytest.raises(StaleLease):
        desk.save_draft(
            "k0", actor=ANA, tab="here", token=opened.lease.token, rev=1, document={"late": True}
        )
    again = desk.open_case("k0", actor=ANA, tab="there")
    assert [each.document for each in again.recovered] == [{"late": True}]


def at_once(database_url: str, count: int, work: Any) -> list[Any]:
    """What ``work(units, number)`` gave in each of so many threads, or the error it raised."""
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def run(number: int) -> None:
        engine = open_engine(database_url)
        start.wait()
        try:
            results[number] = work(units_of_work(engine), number)
        except LoopError as error:
            results[number] = error
        engine.dispose()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_many_who_take_a_case_at_once_each_gets_another(
    database_url: str, sql_units: UnitsOfWork
) -> None:
    prepared(sql_units, 5)

    def take(units: UnitsOfWork, number: int) -> str | None:
        actor = Actor(f"person-{number}", Role.REVIEWER)
        opened = a_desk(units).take_next(
            Work.FIRST, Order.UNCERTAIN, Filters(), actor=actor, tab="tab"
        )
        return opened.case.id if opened else None

    taken = at_once(database_url, 6, take)
    assert sorted(id for id in taken if id) == ["k0", "k1", "k2", "k3", "k4"]
    assert taken.count(None) == 1


def test_the_same_submission_many_times_at_once_is_one(
    engine: Engine, database_url: str, sql_units: UnitsOfWork
) -> None:
    prepared(sql_units)
    opened = a_desk(sql_units).open_case("k0", actor=ANA, tab="tab")
    assert opened.lease is not None
    token = opened.lease.token
    before = waiting(engine)

    def submit(units: UnitsOfWork, _: int) -> str:
        outcome = a_desk(units).submit_first(
            "k0", an_answer(), key="key", actor=ANA, tab="tab", token=token
        )
        return outcome.correction.id

    ids = at_once(database_url, 4, submit)
    assert len(set(ids)) == 1
    assert isinstance(ids[0], str)
    assert waiting(engine) == before + 1


def test_of_two_who_reopen_a_case_at_once_one_does(
    database_url: str, sql_units: UnitsOfWork
) -> None:
    keep(sql_units, add_case(0, state=CaseState.SETTLED))

    def reopen(units: UnitsOfWork, number: int) -> str:
        return a_desk(units).reopen("k0", "because", actor=(ANA, BEN)[number]).id

    results = at_once(database_url, 2, reopen)
    assert sorted(isinstance(each, Conflict) for each in results) == [False, True]


# The way up from the schema before, and back


def revise(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        if revision == "0001":
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)


@pytest.fixture
def before(empty_url: str) -> Any:
    """A database of the first schema, with a case in each state."""
    engine = open_engine(empty_url)
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, *values in _ROWS:
            names = [f"v{n}" for n in range(len(values))]
            marks = ", ".join(f":{name}" for name in names)
            statement = text(f"INSERT INTO {table} VALUES ({marks})")  # noqa: S608
            connection.execute(statement, dict(zip(names, values, strict=True)))
    yield engine
    engine.dispose()


_MODEL = '{"name": "detector", "version": "3", "digest": "0"}'
_DETECTIONS = '[{"id": "d1", "box": [0, 0, 9, 9], "class_id": 1, "confidence": 0.5}]'
_FINAL = (
    '[{"id": "b", "box": [0, 0, 9, 9], "class_id": 2, "origin": "added", "detection_id": null}]'
)
_AGREEMENT = (
    '{"matches": [{"left": "d1", "right": "b", "iou": 0.8, "ciou": 0.75}], "moved": [], '
    '"class_differences": [], "missed": ["b2"], "false_positives": [], '
    '"high_confidence_removals": [], "reasons": ["missed"]}'
)
_IMAGE = f"{0:064x}"
_ROWS: list[tuple[Any, ...]] = [
    ("images", _IMAGE, 10, 10, "image/png", "s", "test", "2026", False),
    *(("predictions", f"p{n}", _IMAGE, _MODEL, _DETECTIONS, "2026", "") for n in range(3)),
    *(
        ("cases", f"k{n}", _IMAGE, f"p{n}", state, '["x"]', 0.5, f"2026-0{3 - n}")
        for n, state in enumerate(("first", "second", "settled"))
    ),
    *(
        (
            *("corrections", f"c{n}", f"k{n}", f"p{n}", _IMAGE, "ana", _FINAL, "[]", False, ""),
            *(1.0, _AGREEMENT, "2026"),
        )
        for n in (1, 2)
    ),
    ("second_reviews", "s", "k2", "ben", "[]", "[]", "x", "", 1.0, "2026"),
    ("annotations", "a", _IMAGE, 1, "k2", "second_review", "[]", '["ana"]', "2026"),
]


def test_what_was_there_is_there_after_the_migration_and_in_the_queue(before: Engine) -> None:
    migrate(before)
    units = units_of_work(before)
    with units() as uow:
        first, second, settled = (uow.cases.get(f"k{n}") for n in range(3))
        for each in (first, second, settled):
            assert each.model == "detector:3"
            assert 0 <= each.shuffle < 1
            assert each.reasons == ("x",)
        assert len({first.shuffle, second.shuffle, settled.shuffle}) == 3
        assert (first.classes, second.classes) == ((1,), (1, 2))
        assert (first.first_reviewer, second.first_reviewer) == (None, "ana")
        assert (first.disagreement, second.disagreement) == (0.0, 1 - 0.75 / 2)
        agreement = uow.corrections.agreement_of("k1")
        assert agreement is not None
        assert agreement.disagreement == second.disagreement
        assert uow.queue.place("k0", Order.OLDEST).number == 3  # the youngest
        assert uow.cases.counts() == {
            CaseState.FIRST: 1,
            CaseState.SECOND: 1,
            CaseState.SETTLED: 1,
        }
        assert uow.queue.count(CaseState.SECOND, Filters(2, "detector:3")) == 1
        review = uow.second_reviews.of_case("k2")
        assert review is not None
        assert review.dropped == ()
    desk = a_desk(units)
    assert desk.take_next(Work.SECOND, Order.OLDEST, Filters(), actor=ANA, tab="tab") is None
    opened = desk.take_next(Work.SECOND, Order.OLDEST, Filters(2), actor=BEN, tab="tab")
    assert opened is not None
    assert opened.case.id == "k1"


def test_references_hold_after_the_migration(before: Engine) -> None:
    migrate(before)
    with pytest.raises(Conflict), writing(before) as connection:
        connection.execute(text("DELETE FROM cases WHERE id = 'k1'"))
    with pytest.raises(Conflict), writing(before) as connection:
        connection.execute(text("UPDATE cases SET prediction_id = 'nowhere'"))


def test_the_way_back_keeps_the_cases(before: Engine) -> None:
    with reading(before) as connection:
        cases = connection.execute(text("SELECT * FROM cases ORDER BY id")).all()
    migrate(before)
    revise(before, "0001")
    with reading(before) as connection:
        assert connection.execute(text("SELECT * FROM cases ORDER BY id")).all() == cases
    with pytest.raises(Conflict), writing(before) as connection:
        connection.execute(text("UPDATE cases SET prediction_id = 'p0'"))  # is UNIQUE again
    migrate(before)


def test_there_is_no_way_back_for_reopened_cases(sql_units: UnitsOfWork, engine: Engine) -> None:
    keep(sql_units, add_case(0, state=CaseState.SETTLED))
    a_desk(sql_units).reopen("k0", "because", actor=ANA)
    with pytest.raises(RuntimeError):
        revise(engine, "0001")
    with sql_units() as uow:
        uow.record(an_event())
        assert sum(uow.cases.counts().values()) == 2
