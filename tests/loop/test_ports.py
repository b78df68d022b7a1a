"""The laws of the ports, held by the fakes that the tests of the use cases stand on."""

from __future__ import annotations

import pytest

from loop.errors import BrokenRecord, Conflict, Misconfigured, NotFound
from loop.events import Actor, Event, Role
from loop.images import Image
from tests.fakes import FakeDatabase, FakeImageStore
from tests.strategies import CLASSES

EVENT = Event("test.happened", Actor("ana", Role.SYSTEM), {})
IMAGE = Image("1" * 64, 640, 480, "image/png", "patient", "upload", "2026-01-02")


def test_change_and_event_are_kept_together() -> None:
    database = FakeDatabase()
    with database.units() as uow:
        assert uow.images.add(IMAGE)
        uow.record(EVENT)
        uow.commit()
    assert database.tables.images == {IMAGE.id: IMAGE}
    assert database.events == [EVENT]


def test_nothing_is_kept_without_a_commit() -> None:
    database = FakeDatabase()
    with database.units() as uow:
        uow.images.add(IMAGE)
        uow.record(EVENT)
    with pytest.raises(ZeroDivisionError), database.units() as uow:
        uow.images.add(IMAGE)
        uow.record(EVENT)
        raise ZeroDivisionError
    assert database.tables.images == {}
    assert database.events == []


def test_a_change_without_an_event_is_refused() -> None:
    database = FakeDatabase()
    with database.units() as uow:
        uow.images.add(IMAGE)
        with pytest.raises(RuntimeError, match="audit event"):
            uow.commit()
    assert database.tables.images == {}


def test_of_two_changes_at_once_the_later_one_is_refused() -> None:
    database = FakeDatabase()
    with database.units() as one, database.units() as other:
        for uow in (one, other):
            uow.images.add(IMAGE)
            uow.record(EVENT)
        one.commit()
        with pytest.raises(Conflict):
            other.commit()
    assert database.events == [EVENT]


def test_an_image_that_is_there_stays_as_it_was() -> None:
    with FakeDatabase().units() as uow:
        assert uow.images.add(IMAGE)
        assert not uow.images.add(IMAGE)
        uow.images.mark_gold([IMAGE.id])
        assert uow.images.get(IMAGE.id).gold
        assert uow.images.gold() == [uow.images.get(IMAGE.id)]


def test_what_is_not_there_is_not_found() -> None:
    with FakeDatabase().units() as uow:
        for get in (uow.images.get, uow.predictions.get, uow.cases.get, uow.snapshots.get):
            with pytest.raises(NotFound):
                get("nowhere")


def test_the_class_list_is_set_once() -> None:
    with FakeDatabase().units() as uow:
        with pytest.raises(Misconfigured):
            uow.classes.get()
        uow.classes.set(CLASSES)
        assert uow.classes.get() == CLASSES
        with pytest.raises(Conflict):
            uow.classes.set(CLASSES)


def test_an_image_store_knows_bytes_by_their_digest() -> None:
    store = FakeImageStore()
    image_id = store.put(b"pixels")
    assert store.put(b"pixels") == image_id
    assert store.get(image_id) == b"pixels"
    store.kept[image_id] = b"other pixels"
    with pytest.raises(BrokenRecord):
        store.get(image_id)
    with pytest.raises(NotFound):
        store.get("0" * 64)
