"""What `loop.ports` promises: on SQLite, on PostgreSQL, and by the fakes that others rely on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert

from loop.agreement import Agreement, Match, Reason
from loop.boxes import Box
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.classes import ClassList
from loop.corrections import Correction, FinalBox, Origin
from loop.errors import Conflict, InvalidInput, Misconfigured, NotFound, Unavailable
from loop.events import Actor, Event, Role, new_id
from loop.images import Image
from loop.ports import UnitOfWork, UnitsOfWork
from loop.predictions import Detection, ModelRef, Prediction
from loop.promotions import Decision, GoldScore, Promotion, PromotionState, Verdict
from loop.snapshots import Labels, Manifest, Shard, SnapshotRecord
from store import database, log_files, tables
from store.audit_log import AuditLog
from store.database import open_engine, writing
from store.log_files import LogFiles
from store.settings import Settings
from store.unit_of_work import open_units_of_work, units_of_work
from tests import strategies
from tests.fakes import FakeDatabase
from tests.store.logs import log_in, waiting

ACTOR = Actor("ana", Role.REVIEWER)
MODEL = ModelRef("detector", "1", "a" * 64)
BOXES = (
    FinalBox("b1", Box(0.1, 1 / 3, 10, 12.5), 2, Origin.MOVED, "d1"),
    FinalBox("b2", Box(1, 2, 3, 4), 0, Origin.ADDED),
)


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000Z"


def an_event() -> Event:
    return Event("test.happened", ACTOR, {})


def image(number: int = 0) -> Image:
    return Image(f"{number:064x}", 640, 480, "image/png", "subject", "upload", at(0))


def prediction(id: str = "p", of: int = 0, second: int = 0) -> Prediction:
    detections = (Detection("d1", Box(0.1, 0.2, 10, 12), 2, 1 / 3),)
    return Prediction(id, image(of).id, MODEL, detections, at(second), "request")


def case(id: str = "k", of: str = "p", image_number: int = 0, **other: Any) -> Case:
    first = Case(id, image(image_number).id, of, CaseState.FIRST, ("new_prediction",), 0.5, at(0))
    return replace(first, **other)


def correction(id: str = "c", of: str = "k", **other: Any) -> Correction:
    first = Correction(id, of, "p", "ana", BOXES, ("d2",), False, "so-so — größer", 1.25, at(1))
    return replace(first, **other)


def second_review(id: str = "s", of: str = "k") -> SecondReview:
    return SecondReview(id, of, "ben", BOXES[:1], BOXES, "missed", "", 2.5, at(2))


def annotation(version: int = 1, of: int = 0, case_id: str | None = None) -> Annotation:
    reviewers = ("ana", "ben")
    id = f"a{of}-{version}"
    return Annotation(
        id, image(of).id, version, case_id, Source.SECOND, BOXES, reviewers, at(version)
    )


def snapshot(number: int) -> SnapshotRecord:
    shard = Shard("images/0.parquet", "b" * 64, 10, 1)
    manifest = Manifest(1, Labels.ADJUDICATED, ("cell",), (shard,), (), {"images": number})
    return SnapshotRecord(manifest.sha256, manifest, at(number), "ana")


def promotion(id: str = "m", version: str = "2", second: int = 0) -> Promotion:
    candidate = ModelRef("detector", version, "c" * 64)
    score = GoldScore(candidate, 0.5, 0.25, {"cell": 0.125}, 12, "d" * 64)
    decision = Decision(Verdict.PROMOTE, ("better",))
    return Promotion(
        id, candidate, MODEL, score, None, decision, PromotionState.PROPOSED, at(second)
    )


def keep(units: UnitsOfWork, *changes: Callable[[UnitOfWork], object]) -> None:
    """All of the changes in one unit of work, with an event."""
    with units() as uow:
        for change in changes:
            change(uow)
        uow.record(an_event())
        uow.commit()


def add_case(number: int = 0, **other: Any) -> Callable[[UnitOfWork], object]:
    """Image, prediction and case of that number."""

    def add(uow: UnitOfWork) -> None:
        uow.images.add(image(number))
        uow.predictions.add(prediction(f"p{number}", number))
        uow.cases.add(case(f"k{number}", f"p{number}", number, **other))

    return add


@pytest.fixture
def sql_units(engine: Engine) -> UnitsOfWork:
    return units_of_work(engine)


@pytest.fixture(params=["fake", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> UnitsOfWork:
    if request.param == "fake":
        return FakeDatabase().units
    if request.param == "sqlite":
        return open_units_of_work(Settings(home=tmp_path, database_url=""))
    make = request.getfixturevalue("postgres")
    url = make(request.getfixturevalue("migrated_postgres"))
    engine = open_engine(url)
    request.addfinalizer(engine.dispose)
    return units_of_work(engine)


def test_what_was_added_comes_back_as_it_was(units: UnitsOfWork) -> None:
    agreement = Agreement(
        matches=(Match("d1", "b1", 0.5, 0.25, True),), missed=("b2",), reasons=(Reason.MISSED,)
    )
    keep(
        units,
        lambda uow: uow.images.add(image()),
        lambda uow: uow.predictions.add(prediction()),
        lambda uow: uow.cases.add(case()),
        lambda uow: uow.corrections.add(correction(), agreement),
        lambda uow: uow.second_reviews.add(second_review()),
        lambda uow: uow.annotations.add(annotation(case_id="k")),
        lambda uow: uow.classes.set(ClassList(("cell", "rod"))),
        lambda uow: uow.snapshots.add(snapshot(1)),
        lambda uow: uow.promotions.add(promotion()),
    )
    with units() as uow:
        assert uow.images.get(image().id) == uow.images.find(image().id) == image()
        assert uow.predictions.get("p") == prediction()
        assert uow.predictions.of_image(image().id) == [prediction()]
        assert uow.cases.get("k") == uow.cases.of_prediction("p") == case()
        assert uow.corrections.of_case("k") == correction()
        assert list(uow.corrections.latest()) == [(image().id, correction())]
        assert uow.second_reviews.of_case("k") == second_review()
        assert uow.annotations.latest_of(image().id) == annotation(case_id="k")
        assert uow.classes.get() == uow.classes.find() == ClassList(("cell", "rod"))
        assert uow.snapshots.get(snapshot(1).sha256) == snapshot(1)
        assert uow.promotions.find("detector", "2") == promotion()
        assert (uow.images.count(), uow.corrections.count(), uow.second_reviews.count()) == (
            1,
            1,
            1,
        )


def test_what_is_not_there_is_none_or_not_found(units: UnitsOfWork) -> None:
    with units() as uow:
        for missing in (
            uow.images.find("x"),
            uow.cases.of_prediction("x"),
            uow.corrections.of_case("x"),
            uow.second_reviews.of_case("x"),
            uow.annotations.latest_of("x"),
            uow.classes.find(),
            uow.promotions.find("detector", "9"),
        ):
            assert missing is None
        for get in (uow.images.get, uow.predictions.get, uow.cases.get, uow.snapshots.get):
            with pytest.raises(NotFound):
                get("abc")
        with pytest.raises(Misconfigured):
            uow.classes.get()
        assert list(uow.annotations.latest()) == list(uow.corrections.latest()) == []
        assert uow.images.gold() == uow.snapshots.list() == uow.promotions.list() == []
        assert uow.cases.counts() == {}


def test_leaving_without_commit_keeps_nothing(units: UnitsOfWork) -> None:
    with units() as uow:
        uow.images.add(image())
        uow.record(an_event())
        assert uow.images.count() == 1
    with units() as uow:
        assert uow.images.count() == 0


def test_an_error_in_the_block_keeps_nothing(units: UnitsOfWork) -> None:
    with pytest.raises(KeyError), units() as uow:
        uow.images.add(image())
        raise KeyError
    with units() as uow:
        assert uow.images.count() == 0


def test_a_change_without_an_event_is_refused(units: UnitsOfWork) -> None:
    with pytest.raises(RuntimeError), units() as uow:
        uow.images.add(image())
        uow.commit()
    with units() as uow:
        assert uow.images.count() == 0


def test_an_event_that_the_log_has_no_room_for_is_refused_before_it_is_in_its_way(
    units: UnitsOfWork,
) -> None:
    shards = [{"path": f"images/part-{n:05d}", "sha256": "0" * 64} for n in range(1000)]
    subject = {"snapshot_sha256": "0" * 64, "labels": "adjudicated"}
    details = {"counts": {}, "shards": shards}
    with units() as uow, pytest.raises(InvalidInput, match=r"snapshot\.created takes 10"):
        uow.record(Event("snapshot.created", ACTOR, subject, details))


def test_an_event_without_a_change_may_be_kept(units: UnitsOfWork) -> None:
    keep(units)


def test_nothing_at_all_may_be_committed(units: UnitsOfWork) -> None:
    with units() as uow:
        uow.images.count()
        uow.commit()


def test_a_unit_of_work_may_commit_more_than_once(units: UnitsOfWork) -> None:
    with units() as uow:
        for number in range(2):
            uow.images.add(image(number))
            uow.record(an_event())
            uow.commit()
        uow.images.add(image(2))
    with units() as uow:
        assert uow.images.count() == 2


def test_an_image_that_is_there_stays_as_it_was(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.images.add(image()))
    with units() as uow:
        assert uow.images.add(replace(image(), subject="other")) is False
        assert uow.images.add(image(1)) is True
        assert uow.images.get(image().id).subject == "subject"


def test_the_gold_set_is_ordered_by_id(units: UnitsOfWork) -> None:
    keep(
        units,
        *(lambda uow, n=n: uow.images.add(image(n)) for n in (3, 1, 2)),
        lambda uow: uow.images.mark_gold([image(3).id, image(1).id]),
    )
    with units() as uow:
        assert [found.id for found in uow.images.gold()] == [image(1).id, image(3).id]
        assert uow.images.get(image(1).id).gold


def test_only_an_image_that_is_there_can_be_gold(units: UnitsOfWork) -> None:
    with units() as uow, pytest.raises(NotFound):
        uow.images.mark_gold(["0" * 64])


@pytest.mark.parametrize(("distance", "found"), [(0, {0}), (1, {0, 1}), (6, {0, 1, 2}), (20, None)])
def test_images_that_look_alike_are_found_on_their_side_of_the_gold_set(
    units: UnitsOfWork, distance: int, found: set[int] | None
) -> None:
    hashes = ["00" * 8, "80" + "00" * 7, "10" * 6 + "00" * 2, "ff" * 8, "", None]
    images = [replace(image(n), phash=phash) for n, phash in enumerate(hashes)]
    twin = replace(image(9), phash="00" * 8)
    keep(
        units,
        *(lambda uow, each=each: uow.images.add(each) for each in (*images, twin)),
        lambda uow: uow.images.mark_gold([twin.id]),
    )
    with units() as uow:
        near = uow.images.near("00" * 8, distance, gold=False)
        assert near == [images[n] for n in sorted(found or {0, 1, 2})]
        gold = uow.images.near("80" + "00" * 7, 1, gold=True)
        assert gold == [replace(twin, gold=True)]
        assert uow.images.near("", distance, gold=False) == []


def test_images_of_a_subject_are_found(units: UnitsOfWork) -> None:
    images = [replace(image(n), subject=subject) for n, subject in enumerate("sts")]
    keep(units, *(lambda uow, each=each: uow.images.add(each) for each in images))
    with units() as uow:
        assert uow.images.of_subject("s") == [images[0], images[2]]
        assert uow.images.of_subject("nobody") == []


def test_a_hash_is_kept_without_an_event(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.images.add(image()))
    with units() as uow:
        uow.images.set_phash({image().id: "0f" * 8})
        uow.commit()
    with units() as uow:
        assert uow.images.get(image().id) == replace(image(), phash="0f" * 8)


def test_an_image_is_answered_from_its_first_annotation_or_answer_on(units: UnitsOfWork) -> None:
    keep(
        units,
        *(lambda uow, n=n: uow.images.add(image(n)) for n in (0, 2)),
        lambda uow: uow.annotations.add(replace(annotation(version=2), created_at=at(9))),
        lambda uow: uow.annotations.add(replace(annotation(version=1), created_at=at(4))),
        add_case(1),
        lambda uow: uow.corrections.add(
            replace(correction(of="k1"), prediction_id="p1", created_at=at(7)), Agreement()
        ),
    )
    with units() as uow:
        found = uow.images.answered_at([image(n).id for n in range(3)])
        assert found == {image(0).id: at(4), image(1).id: at(7)}
        assert uow.images.answered_at([]) == {}


def test_predictions_of_an_image_are_oldest_first(units: UnitsOfWork) -> None:
    keep(
        units,
        lambda uow: uow.images.add(image()),
        *(lambda uow, n=n: uow.predictions.add(prediction(f"p{n}", 0, n)) for n in (2, 1, 3)),
    )
    with units() as uow:
        assert [p.id for p in uow.predictions.of_image(image().id)] == ["p1", "p2", "p3"]


def test_a_prediction_without_its_image_is_a_conflict(sql_units: UnitsOfWork) -> None:
    with pytest.raises(Conflict), sql_units() as uow:
        uow.predictions.add(prediction())


def test_cases_wait_by_priority_then_by_age(units: UnitsOfWork) -> None:
    keep(
        units,
        add_case(0, priority=0.5, created_at=at(2)),
        add_case(1, priority=0.5, created_at=at(1)),
        add_case(2, priority=0.9, created_at=at(3)),
        add_case(3, priority=1.0, state=CaseState.SECOND),
    )
    with units() as uow:
        waiting = uow.cases.waiting(CaseState.FIRST)
        assert [found.id for found in waiting] == ["k2", "k1", "k0"]
        assert uow.cases.waiting(CaseState.FIRST, limit=1, offset=1) == waiting[1:2]
        assert uow.cases.counts() == {CaseState.FIRST: 3, CaseState.SECOND: 1}


def test_ones_own_cases_can_be_left_out(units: UnitsOfWork) -> None:
    keep(units, *(add_case(number, state=CaseState.SECOND) for number in range(3)))
    for number, reviewer in ((0, "ana"), (1, "ben")):
        answer = correction(
            f"c{number}", f"k{number}", prediction_id=f"p{number}", reviewer=reviewer
        )
        keep(units, lambda uow, answer=answer: uow.corrections.add(answer, Agreement()))
    with units() as uow:
        assert [c.id for c in uow.cases.waiting(CaseState.SECOND, not_by="ana")] == ["k1", "k2"]
        assert len(uow.cases.waiting(CaseState.SECOND, not_by="eve")) == 3


def test_a_case_moves_only_from_where_it_is_expected(units: UnitsOfWork) -> None:
    keep(units, add_case())
    moved = case("k0", "p0", state=CaseState.SECOND, reasons=("missed",))
    keep(units, lambda uow: uow.cases.move(moved, expected=CaseState.FIRST))
    with units() as uow:
        assert uow.cases.get("k0") == moved
        with pytest.raises(Conflict):
            uow.cases.move(moved, expected=CaseState.FIRST)


def test_a_case_has_one_first_answer_and_one_second(units: UnitsOfWork) -> None:
    first, other = (correction(id, "k0", prediction_id="p0") for id in ("c1", "c2"))
    keep(
        units,
        add_case(),
        lambda uow: uow.corrections.add(first, Agreement()),
        lambda uow: uow.second_reviews.add(second_review("s1", "k0")),
    )
    with pytest.raises(Conflict) as caught, units() as uow:
        uow.corrections.add(other, Agreement())
    with pytest.raises(Conflict), units() as uow:
        uow.second_reviews.add(second_review("s2", "k0"))
    assert caught.value.http_status == 409


def test_the_latest_first_answer_of_each_image_counts(units: UnitsOfWork) -> None:
    def answer(id: str, of: str, second: int) -> Callable[[UnitOfWork], object]:
        made = correction(id, of, prediction_id=f"p{of[1:]}", created_at=at(second))
        return lambda uow: uow.corrections.add(made, Agreement())

    keep(
        units,
        add_case(2),
        add_case(1),
        lambda uow: uow.predictions.add(prediction("p9", 1)),
        lambda uow: uow.cases.add(case("k9", "p9", 1)),
        answer("old", "k1", 1),
        answer("new", "k9", 5),
        answer("only", "k2", 3),
    )
    with units() as uow:
        found = [(image_id, answer.id) for image_id, answer in uow.corrections.latest()]
    assert found == [(image(1).id, "new"), (image(2).id, "only")]


def test_the_highest_version_of_each_annotation_counts(units: UnitsOfWork) -> None:
    keep(
        units,
        *(lambda uow, n=n: uow.images.add(image(n)) for n in (2, 1)),
        lambda uow: uow.annotations.add(annotation(1, 2)),
        lambda uow: uow.annotations.add(annotation(1, 1)),
        lambda uow: uow.annotations.add(annotation(2, 1)),
    )
    with units() as uow:
        assert list(uow.annotations.latest()) == [annotation(2, 1), annotation(1, 2)]
        assert uow.annotations.latest_of(image(1).id) == annotation(2, 1)
    with pytest.raises(Conflict), units() as uow:
        uow.annotations.add(replace(annotation(2, 1), id="other"))


def test_the_class_list_is_set_once(units: UnitsOfWork) -> None:
    keep(units, lambda uow: uow.classes.set(ClassList(("cell", "rod"))))
    with pytest.raises(Conflict), units() as uow:
        uow.classes.set(ClassList(("rod",)))


def test_a_snapshot_is_found_by_how_its_digest_begins(units: UnitsOfWork) -> None:
    records = [snapshot(number) for number in range(20)]  # two of them begin alike
    keep(units, *(lambda uow, r=r: uow.snapshots.add(r) for r in reversed(records)))
    with units() as uow:
        assert uow.snapshots.list() == records
        assert uow.snapshots.get(records[3].sha256[:12]) == records[3]
        assert uow.snapshots.add(records[3]) is False
        shared = [r.sha256[0] for r in records]
        with pytest.raises(Conflict):
            uow.snapshots.get(max(shared, key=shared.count))
        for unknown in ("", "xyz", "%", "_"):
            with pytest.raises(NotFound):
                uow.snapshots.get(unknown)


def test_the_latest_promotion_of_a_version_is_found_and_updated(units: UnitsOfWork) -> None:
    keep(
        units,
        lambda uow: uow.promotions.add(promotion("m2", "2", 2)),
        lambda uow: uow.promotions.add(promotion("m1", "2", 1)),
        lambda uow: uow.promotions.add(promotion("m3", "3", 3)),
    )
    refused = promotion("m2", "2", 2).moved_to(
        PromotionState.REFUSED, by="eve", reason="no", at=at(9)
    )
    keep(units, lambda uow: uow.promotions.update(refused))
    with units() as uow:
        assert uow.promotions.find("detector", "2") == refused
        assert [p.id for p in uow.promotions.list()] == ["m1", "m2", "m3"]
        with pytest.raises(NotFound):
            uow.promotions.update(promotion("m9"))


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(answered=strategies.answers(), comment=st.text(st.characters(codec="utf-8")))
def test_any_answer_comes_back_bit_by_bit(
    sql_units: UnitsOfWork, answered: strategies.Answered, comment: str
) -> None:
    seen = replace(answered.seen.prediction, id=new_id(), image_id=image().id)
    answer = replace(
        answered.correction,
        id=new_id(),
        case_id=new_id(),
        prediction_id=seen.id,
        comment=comment.replace("\0", ""),
    )
    keep(
        sql_units,
        lambda uow: uow.images.add(image()),
        lambda uow: uow.predictions.add(seen),
        lambda uow: uow.cases.add(case(answer.case_id, seen.id)),
        lambda uow: uow.corrections.add(answer, Agreement()),
    )
    with sql_units() as uow:
        assert uow.predictions.get(seen.id) == seen
        assert uow.corrections.of_case(answer.case_id) == answer


# What only a database has: other connections, crashes, and an audit log behind the outbox.


@pytest.fixture
def log(engine: Engine, tmp_path: Path) -> AuditLog:
    return log_in(tmp_path, engine)


@pytest.fixture
def logged(engine: Engine, log: AuditLog) -> UnitsOfWork:
    return units_of_work(engine, log)


def test_a_commit_puts_its_events_into_the_log(log: AuditLog, logged: UnitsOfWork) -> None:
    first, second = an_event(), an_event()
    with logged() as uow:
        uow.images.add(image())
        uow.record(first)
        uow.record(second)
        uow.commit()
    assert [entry.event.id for entry in log.tail(9)] == [first.id, second.id]
    assert log.verify().size == 2


def test_what_was_committed_reaches_the_log_though_nobody_reads_it(
    log: AuditLog, logged: UnitsOfWork
) -> None:
    keep(logged)
    for _ in range(600):
        if log.rows.state().head.size == 1:
            break
        time.sleep(0.05)
    assert (log.rows.state().head.size, log.rows.is_waiting()) == (1, False)


def test_events_that_were_not_committed_never_reach_the_log(
    log: AuditLog, logged: UnitsOfWork
) -> None:
    with logged() as uow:
        uow.images.add(image())
        uow.record(an_event())
    keep(logged)
    assert log.head().size == 1


def test_nothing_is_done_while_it_could_not_be_logged(
    log: AuditLog, logged: UnitsOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(logged)
    log.integrate()
    with monkeypatch.context() as patched:

        def full(*_: object) -> bytes:
            raise OSError(28, "No space left on device")

        patched.setattr(LogFiles, "append", full)
        keep(logged, lambda uow: uow.images.add(image(1)))  # nobody knows yet
        with pytest.raises(Unavailable):
            log.integrate()
        for number in (2, 3):
            with pytest.raises(Unavailable, match="No space left on device") as caught:
                keep(logged, lambda uow, number=number: uow.images.add(image(number)))
            assert "could not be logged" in caught.value.message
    with logged() as uow:
        assert (uow.images.count(), uow.images.find(image(1).id)) == (1, image(1))
    log.integrate()
    keep(logged, lambda uow: uow.images.add(image(2)))
    assert log.verify().size == 3


@pytest.mark.parametrize("full", [True, False])
def test_a_disk_that_visibly_takes_nothing_is_enough(
    log: AuditLog, logged: UnitsOfWork, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    keep(logged)
    log.integrate()
    flag, free = (0, 1) if full else (os.ST_RDONLY, 10**9)
    found = SimpleNamespace(f_flag=flag, f_bavail=free, f_frsize=4096)
    monkeypatch.setattr(log_files.os, "statvfs", lambda _: found)
    with pytest.raises(Unavailable, match="No space" if full else "Read-only"):
        keep(logged, lambda uow: uow.images.add(image()))
    with logged() as uow:
        assert uow.images.count() == 0


def test_working_state_is_kept_though_nothing_can_be_logged(
    log: AuditLog, logged: UnitsOfWork
) -> None:
    keep(logged, add_case())
    log.rows.say("It is broken.")
    with logged() as uow:
        uow.sign_in_failures.forget_before(at(0), at(1))
        uow.commit()


def test_a_change_and_its_event_are_kept_together_or_not_at_all(
    database_url: str, engine: Engine, log: AuditLog
) -> None:
    for step in range(40):
        crashing, statements = open_engine(database_url), iter(range(step))

        def crash(*_: object, statements: Any = statements) -> None:
            if next(statements, None) is None:
                raise KeyboardInterrupt

        event.listen(crashing, "before_cursor_execute", crash)
        event.listen(crashing, "commit", crash)
        try:
            keep(units_of_work(crashing), add_case(step))
        except KeyboardInterrupt:
            crashed = True
        else:
            crashed = False
        crashing.dispose()
        with units_of_work(engine)() as uow:
            assert uow.images.count() == sum(uow.cases.counts().values()) == log.verify().size
        if not crashed:
            return
    pytest.fail("It crashed at every step.")


def test_after_a_write_that_failed_nothing_can_be_committed(sql_units: UnitsOfWork) -> None:
    keep(sql_units, add_case())
    with sql_units() as uow:
        uow.images.add(image(1))
        uow.record(an_event())
        with pytest.raises(Conflict):
            uow.cases.add(case("k0", "p0"))
        with pytest.raises(RuntimeError):
            uow.commit()
    with sql_units() as uow:
        assert uow.images.count() == 1


def test_who_reads_does_not_wait_for_an_open_change(sql_units: UnitsOfWork) -> None:
    with sql_units() as writer:
        writer.images.add(image())
        with sql_units() as reader:
            assert reader.images.count() == 0


def test_who_is_in_the_middle_of_reading_holds_up_no_change(sql_units: UnitsOfWork) -> None:
    keep(sql_units, *(lambda uow, n=n: uow.images.add(image(n)) for n in range(3)))
    keep(sql_units, *(lambda uow, n=n: uow.annotations.add(annotation(1, n)) for n in range(3)))
    with sql_units() as reader:
        going_through = reader.annotations.latest()
        assert next(going_through).image_id == image(0).id
        keep(sql_units, lambda uow: uow.images.add(image(9)))
        assert len(list(going_through)) == 2


def test_a_change_that_rests_on_what_is_no_longer_so_is_a_conflict(
    sql_units: UnitsOfWork,
) -> None:
    with sql_units() as slow:
        assert slow.annotations.latest_of(image().id) is None
        keep(
            sql_units,
            lambda uow: uow.images.add(image()),
            lambda uow: uow.annotations.add(annotation()),
        )
        with pytest.raises(Conflict) as caught:
            slow.images.mark_gold([image().id])
        assert "meantime" in caught.value.message
    with sql_units() as uow:
        assert not uow.images.get(image().id).gold


def test_a_change_elsewhere_is_no_conflict(sql_units: UnitsOfWork) -> None:
    keep(sql_units, lambda uow: uow.images.add(image()))
    with sql_units() as slow:
        assert slow.annotations.latest_of(image().id) is None
        keep(sql_units, lambda uow: uow.images.add(image(1)))
        slow.annotations.add(annotation())
        slow.record(an_event())
        slow.commit()
    with sql_units() as uow:
        assert uow.annotations.latest_of(image().id) == annotation()


def test_of_many_first_answers_at_once_one_is_kept(database_url: str) -> None:
    setup = open_engine(database_url)
    keep(units_of_work(setup), add_case())
    kept: list[str] = []
    refused: list[Conflict] = []
    start = threading.Barrier(6)

    def answer(number: int) -> None:
        engine = open_engine(database_url)
        made = correction(f"c{number}", "k0", prediction_id="p0")
        moved = case("k0", "p0", state=CaseState.SECOND)
        start.wait()
        try:
            with units_of_work(engine)() as uow:
                if uow.cases.get("k0").state is not CaseState.FIRST:
                    raise Conflict("This case is answered.")
                uow.corrections.add(made, Agreement())
                uow.cases.move(moved, expected=CaseState.FIRST)
                uow.record(an_event())
                uow.commit()
            kept.append(made.id)
        except Conflict as error:
            refused.append(error)
        engine.dispose()

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(kept), len(refused)) == (1, 5)
    with units_of_work(setup)() as uow:
        assert uow.corrections.of_case("k0") == correction(kept[0], "k0", prediction_id="p0")
    assert waiting(setup) == 2
    setup.dispose()


def test_a_database_that_stays_locked_is_unavailable_with_a_hint(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    engine = open_engine(database_url)
    with writing(engine) as connection:
        connection.execute(insert(tables.audit_outbox).values(event="{}"))
        with pytest.raises(Unavailable) as caught, units_of_work(engine)() as uow:
            uow.images.add(image())
        connection.rollback()
    assert "try again" in caught.value.hint
    engine.dispose()


def test_the_units_of_a_home_make_their_schema(tmp_path: Path) -> None:
    units = open_units_of_work(Settings(home=tmp_path / "new", database_url=""))
    keep(units, lambda uow: uow.images.add(image()))
    assert (tmp_path / "new" / "secondlook.db").exists()
