"""What `loop.ports` promises of figures: on SQLite, on PostgreSQL, and by the fakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from loop.agreement import Agreement
from loop.boxes import Box
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.corrections import Correction, FinalBox, Origin
from loop.errors import Conflict
from loop.events import Actor, Event, Role
from loop.images import Image
from loop.impact import Change, ChangedCase, Impact
from loop.ports import UnitOfWork, UnitsOfWork
from loop.predictions import Detection, ModelRef, Prediction
from loop.progress import ActiveSeconds, Done, Verdicts
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from store.database import open_engine, reading
from store.settings import Settings
from store.unit_of_work import open_units_of_work, units_of_work
from tests.fakes import FakeDatabase

OLD, NEW = ModelRef("detector", "1", "a" * 64), ModelRef("detector", "2", "b" * 64)
CELL, ROD = (Detection(id, Box(1, 2, 9, 10), n, 0.9) for n, id in enumerate(("cell", "rod")))
OTHER_BOX = Box(20, 20, 40, 40)


def at(hour: int, day: int = 1) -> str:
    return f"2026-01-{day:02}T{hour:02}:00:00.000000Z"


def image_id(number: int) -> str:
    return f"{number:064x}"


def keep(units: UnitsOfWork, *changes: Callable[[UnitOfWork], object]) -> None:
    with units() as uow:
        for change in changes:
            change(uow)
        uow.record(Event("test.happened", Actor("ana", Role.REVIEWER), {}))
        uow.commit()


def box(detection: Detection | None = None, *, id: str = "b", **changed: Any) -> FinalBox:
    if detection is None:
        return FinalBox(id, OTHER_BOX, changed.get("class_id", 0), Origin.ADDED)
    own = {"box": detection.box, "class_id": detection.class_id} | changed
    return FinalBox.from_detection(id, own["box"], own["class_id"], detection)


def a_case(number: int, *, of_image: int | None = None, model: ModelRef = OLD) -> Any:
    """An image and a case of that number; another number's image has two cases."""
    place = number if of_image is None else of_image

    def add(uow: UnitOfWork) -> None:
        uow.images.add(Image(image_id(place), 64, 48, "image/png", "s", "test", at(0)))
        prediction = Prediction(f"p{number}", image_id(place), model, (CELL, ROD), at(0))
        uow.predictions.add(prediction)
        state = CaseState.SETTLED  # so that an image may have several
        uow.cases.add(Case(f"k{number}", image_id(place), f"p{number}", state, (), 0.5, at(0)))

    return add


def first(number: int, created_at: str, *boxes: FinalBox, **other: Any) -> Any:
    by = other.pop("by", "ana")
    given = {"rejected": (), "comment": "", "active_seconds": float(number)} | other
    answer = Correction(
        id=f"c{number}",
        case_id=f"k{number}",
        prediction_id=f"p{number}",
        reviewer=by,
        boxes=boxes,
        no_finding=not boxes,
        created_at=created_at,
        **given,
    )
    return lambda uow: uow.corrections.add(answer, Agreement())


def second(number: int, created_at: str, *blind: FinalBox, by: str = "ben") -> Any:
    review = SecondReview(
        f"s{number}", f"k{number}", by, blind, (), "agreed", "", 10.0 * number, created_at
    )
    return lambda uow: uow.second_reviews.add(review)


def settled(
    number: int, created_at: str, *, version: int = 1, of_image: int | None = None
) -> Callable[[UnitOfWork], object]:
    annotation = Annotation(
        f"a{number}",
        image_id(number if of_image is None else of_image),
        version,
        f"k{number}",
        Source.FIRST,
        (box(CELL),),
        ("ana",),
        created_at,
    )
    return lambda uow: uow.annotations.add(annotation)


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


def test_nothing_done_is_nothing(units: UnitsOfWork) -> None:
    with units() as uow:
        found = uow.statistics
        assert found.done() == found.done("ana") == Done(0, 0)
        assert found.done_per_day(at(0)) == {}
        assert found.active_seconds() == ActiveSeconds()
        assert found.verdicts() == found.annotations_by_source() == {}
        assert found.double_readings() == []
        assert uow.impacts.find("m") is None
        assert uow.impacts.settled_before(at(1), not_by=NEW, limit=9) == []


def test_what_is_done_is_counted_by_day_and_by_person(units: UnitsOfWork) -> None:
    keep(
        units,
        *(a_case(number) for number in range(5)),
        first(0, at(23, day=1)),
        first(1, at(0, day=2)),
        first(2, at(5, day=2), by="eve"),
        second(0, at(6, day=2)),
        second(2, at(1, day=4), by="ana"),
    )
    with units() as uow:
        found = uow.statistics
        assert found.done() == Done(3, 2)
        assert found.done("ana") == Done(2, 1)
        assert found.done("nobody") == Done(0, 0)
        assert found.done_per_day(at(0)) == {
            "2026-01-01": Done(1, 0),
            "2026-01-02": Done(2, 1),
            "2026-01-04": Done(0, 1),
        }
        assert list(found.done_per_day(at(0, day=2))) == ["2026-01-02", "2026-01-04"]
        assert found.done_per_day(at(0), "ana") == {
            "2026-01-01": Done(1, 0),
            "2026-01-02": Done(1, 0),
            "2026-01-04": Done(0, 1),
        }


def test_times_are_those_of_the_latest_answers(units: UnitsOfWork) -> None:
    keep(
        units,
        *(a_case(number) for number in range(4)),
        *(first(number, at(number), by="eve" if number == 2 else "ana") for number in range(4)),
        second(3, at(9)),
    )
    with units() as uow:
        found = uow.statistics
        assert found.active_seconds() == ActiveSeconds((3, 2, 1, 0), (30,))
        assert found.active_seconds(limit=2).first == (3, 2)
        assert found.active_seconds("ana", limit=2) == ActiveSeconds((3, 1), ())


def test_what_became_of_detections_counts_for_the_class_the_model_gave(units: UnitsOfWork) -> None:
    keep(
        units,
        *(a_case(number) for number in range(3)),
        first(0, at(1), box(CELL), box(ROD, id="c", class_id=0), box(id="d", class_id=1)),
        first(1, at(2), box(CELL, box=OTHER_BOX), rejected=("rod",)),
        first(2, at(3), rejected=("cell", "rod"), by="eve"),
    )
    with units() as uow:
        found = uow.statistics.verdicts()
        assert found == {
            0: Verdicts(accepted=1, moved=1, rejected=1),
            1: Verdicts(relabelled=1, rejected=2, added=1),
        }
        assert uow.statistics.verdicts("eve") == {0: Verdicts(rejected=1), 1: Verdicts(rejected=1)}
        assert uow.statistics.verdicts(limit=1) == uow.statistics.verdicts("eve")


def test_two_peoples_boxes_stand_side_by_side_once_an_image(units: UnitsOfWork) -> None:
    keep(
        units,
        *(a_case(number) for number in range(3)),
        a_case(9, of_image=0),
        first(0, at(1), box(CELL)),
        first(1, at(1), box(ROD)),
        first(2, at(1), box(ROD)),  # nobody looked a second time
        first(9, at(2), rejected=("cell", "rod")),
        second(0, at(3), box(id="old")),
        second(1, at(4)),
        second(9, at(5), box(id="new", class_id=1)),
    )
    with units() as uow:
        latest, other = uow.statistics.double_readings()
        assert [each.image_id for each in (latest, other)] == [image_id(0), image_id(1)]
        assert (latest.width, latest.height) == (64, 48)
        assert latest.first == ()
        assert [(b.box, b.class_id) for b in latest.second] == [(OTHER_BOX, 1)]
        assert [(b.box, b.class_id) for b in other.first] == [(ROD.box, 1)]
        assert other.second == ()
        assert uow.statistics.double_readings(limit=1) == [latest]


def test_annotations_are_counted_by_where_they_come_from(units: UnitsOfWork) -> None:
    imported = Annotation("i", image_id(1), 1, None, Source.IMPORTED, (), ("eve",), at(2))
    keep(
        units,
        *(a_case(number) for number in range(2)),
        settled(0, at(1)),
        lambda uow: uow.annotations.add(imported),
        settled(1, at(3), version=2),
    )
    with units() as uow:
        assert uow.statistics.annotations_by_source() == {Source.FIRST: 2, Source.IMPORTED: 1}


def test_cases_settled_before_are_newest_first_and_of_other_models(units: UnitsOfWork) -> None:
    keep(
        units,
        *(a_case(number) for number in range(3)),
        a_case(3, model=NEW),
        settled(0, at(1)),
        settled(1, at(2)),
        settled(2, at(5)),  # too late
        settled(3, at(3)),
    )
    with units() as uow:
        found = uow.impacts.settled_before(at(5), not_by=NEW, limit=9)
        assert [each.annotation.id for each in found] == ["a1", "a0"]
        assert found[0].prediction == uow.predictions.get("p1")
        assert found[0].annotation == uow.annotations.latest_of(image_id(1))
        assert uow.impacts.settled_before(at(5), not_by=NEW, limit=1) == found[:1]
        assert [
            each.annotation.id for each in uow.impacts.settled_before(at(9), not_by=OLD, limit=9)
        ] == ["a3"]


def test_of_an_image_that_was_settled_twice_the_later_answer_counts(units: UnitsOfWork) -> None:
    keep(
        units,
        a_case(0),
        a_case(1, of_image=0),
        a_case(2, of_image=0),
        settled(0, at(1)),
        settled(1, at(3), version=2, of_image=0),
        settled(2, at(9), version=3, of_image=0),
    )
    with units() as uow:
        found = uow.impacts.settled_before(at(5), not_by=NEW, limit=9)
        assert [each.annotation.id for each in found] == ["a1"]


def test_an_impact_is_kept_and_replaced(units: UnitsOfWork) -> None:
    case = ChangedCase("k", image_id(0), "p", "a", at(1), ("ana", "ben"), Change.FIXED, (CELL, ROD))
    once, again = (Impact("m", NEW, at(hour), (case,) * hour) for hour in (1, 2))
    score = GoldScore(NEW, 0.5, 0.25, {"cell": 0.125}, 12, "d" * 64)
    decision = Decision(Verdict.PROMOTE, ("better",))
    promotion = Promotion("m", NEW, OLD, score, None, decision, PromotionState.PROPOSED, at(0))
    keep(units, lambda uow: uow.promotions.add(promotion))
    for impact in (once, again):
        keep(units, lambda uow, impact=impact: uow.impacts.save(impact))
        with units() as uow:
            assert uow.impacts.find("m") == impact


def test_an_impact_without_its_promotion_is_a_conflict(tmp_path: Path) -> None:
    units = open_units_of_work(Settings(home=tmp_path, database_url=""))
    with pytest.raises(Conflict), units() as uow:
        uow.impacts.save(Impact("m", NEW, at(1), ()))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM corrections WHERE reviewer = 'x'",
        "SELECT substr(created_at, 1, 10), count(*) FROM second_reviews "
        "WHERE created_at >= '2026' GROUP BY 1",
        "SELECT source, count(*) FROM annotations GROUP BY source",
    ],
)
def test_counting_reads_an_index_and_no_answer(tmp_path: Path, query: str) -> None:
    settings = Settings(home=tmp_path, database_url="")
    open_units_of_work(settings)
    with reading(open_engine(settings.database)) as connection:
        plan = " ".join(row[-1] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert "COVERING INDEX" in plan


def test_what_people_saw_and_said_is_told_oldest_first_within_a_time(units: UnitsOfWork) -> None:
    keep(
        units,
        a_case(0),
        a_case(1),
        first(1, at(3), box(ROD, class_id=0), box(id="own"), by="cleo", rejected=(CELL.id,)),
        first(0, at(2), box(CELL), box(ROD, id="b2")),
        second(0, at(4), box(id="blind")),
    )
    with units() as uow:
        early, late = uow.statistics.first_looks(at(2), at(5))
        assert uow.statistics.first_looks(at(3), at(5)) == [late]
        assert uow.statistics.first_looks(at(2), at(3)) == [early]
        (again,) = uow.statistics.second_looks(at(4), at(5))
        assert uow.statistics.second_looks(at(2), at(4)) == []
    assert (early.case_id, early.reviewer, early.at) == ("k0", "ana", at(2))
    assert early.verdicts == Verdicts(accepted=2)
    assert late.verdicts == Verdicts(relabelled=1, rejected=1, added=1)
    assert late.overrode and not early.overrode
    assert early.model == f"{OLD.name}:{OLD.version}"
    assert [b.box for b in early.detections] == [CELL.box, ROD.box]
    assert [b.box for b in again.first] == [CELL.box, ROD.box]
    assert [b.id for b in again.blind] == ["blind"]
    assert (again.final, again.reviewer, again.active_seconds) == ((), "ben", 0.0)
