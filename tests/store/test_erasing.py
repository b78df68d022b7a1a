"""Erasing an image in a real database, where triggers keep answers from going."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, Table, delete, select

from loop.agreement import AgreementSettings
from loop.boxes import Box
from loop.cases import CaseState
from loop.classes import ClassList, classes_event
from loop.erasing import erase_image
from loop.errors import LoopError, NotFound
from loop.events import Actor, Event, Role
from loop.impact import Change, ChangedCase, Impact
from loop.intake import NewImage, queue_image
from loop.ports import UnitsOfWork
from loop.predictions import Detection, ModelRef
from store import tables
from store.database import reading, writing
from store.unit_of_work import units_of_work
from tests.app.answers import FIRST, accept_first, settle_everything
from tests.cluster.fakes import model, proposal
from tests.fakes import FakeImageStore

MODEL = ModelRef("detector", "1", "a" * 64)
ADMIN, API = Actor("root", Role.ADMIN), Actor("api", Role.SYSTEM)
SETTINGS = AgreementSettings()


def queue(units: UnitsOfWork, images: FakeImageStore, data: bytes) -> str:
    detection = Detection(data.decode(), Box(1, 1, 3, 3), 0, 0.9)
    return queue_image(
        units,
        images,
        NewImage(data, "image/png", 8, 8),
        model=MODEL,
        detections=(detection,),
        actor=API,
    ).image_id


def answer_everything(units: UnitsOfWork) -> None:
    """Twice: with boxes added, so that a second person has to look."""
    with units() as uow:
        waiting = [case.id for case in uow.cases.waiting(CaseState.FIRST)]
    for case_id in waiting:
        accept_first(units, case_id, SETTINGS, FIRST, (4, 4, 7, 7, 0))
    settle_everything(units, SETTINGS)


@pytest.fixture
def units(engine: Engine) -> UnitsOfWork:
    units = units_of_work(engine)
    with units() as uow:
        classes = ClassList(("rod",))
        uow.classes.set(classes)
        uow.record(classes_event(classes, API))
        uow.commit()
    return units


def everything(engine: Engine) -> str:
    """All rows but those of the log, as text."""
    rows = []
    with reading(engine) as connection:
        for table in tables.metadata.sorted_tables:
            if not table.name.startswith("audit_"):
                found = connection.execute(select(table)).all()
                rows.append(f"{table.name}: {sorted(map(repr, found))}")
    return "\n".join(rows)


def save_impact(units: UnitsOfWork, image_id: str) -> None:
    with units() as uow:
        promotion = proposal(model("2"), model("1"))
        uow.promotions.add(promotion)
        annotation = uow.annotations.latest_of(image_id)
        assert annotation is not None
        case = ChangedCase(
            "c", image_id, "p", annotation.id, "2026", ("ana",), Change.FIXED, detections=()
        )
        uow.impacts.save(Impact(promotion.id, model("2"), "2026", (case,)))
        uow.record(Event("test.happened", API, {}))
        uow.commit()


def test_nothing_of_the_image_is_left_and_all_of_the_others(
    engine: Engine, units: UnitsOfWork
) -> None:
    images = FakeImageStore()
    kept = queue(units, images, b"kept")
    answer_everything(units)
    before = everything(engine)
    gone = queue(units, images, b"gone")
    answer_everything(units)
    save_impact(units, gone)
    assert gone in everything(engine)
    erased = erase_image(units, images, gone, actor=ADMIN, reason="asked for")
    counted = erased.gone.as_dict()
    assert counted == {
        "predictions": 1,
        "cases": 1,
        "corrections": 1,
        "annotations": 1,
        "impacts": 1,
    }
    with writing(engine) as connection:
        connection.execute(delete(tables.promotions))
    assert everything(engine) == before
    assert list(images.kept) == [kept]


def test_one_that_waits_leaves_the_queue(engine: Engine, units: UnitsOfWork) -> None:
    images = FakeImageStore()
    gone, kept = queue(units, images, b"gone"), queue(units, images, b"kept")
    erase_image(units, images, gone, actor=ADMIN, reason="asked for")
    with units() as uow:
        assert [case.image_id for case in uow.cases.waiting(CaseState.FIRST)] == [kept]
        assert uow.cases.counts()[CaseState.FIRST] == 1
        with pytest.raises(NotFound):
            uow.images.erase(gone)


@pytest.mark.parametrize(
    "table", [tables.corrections, tables.annotations, tables.second_reviews], ids=str
)
def test_an_answer_still_cannot_be_deleted_by_itself(
    engine: Engine, units: UnitsOfWork, table: Table
) -> None:
    queue(units, FakeImageStore(), b"one")
    answer_everything(units)
    with pytest.raises(LoopError), writing(engine) as connection:
        connection.execute(delete(table))
    with reading(engine) as connection:
        assert connection.execute(select(table)).all()


def test_images_that_came_in_before_a_time_are_found(units: UnitsOfWork) -> None:
    image_id = queue(units, FakeImageStore(), b"one")
    with units() as uow:
        at = uow.images.get(image_id).created_at
        assert uow.images.older_than(at) == []
        assert [image.id for image in uow.images.older_than(at + "z")] == [image_id]
