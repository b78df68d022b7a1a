from __future__ import annotations

from dataclasses import replace

import pytest

from loop.errors import NotFound
from loop.events import Actor, Event, Role
from loop.images import Image
from loop.opening import image_references, opened_reason
from tests.fakes import FakeDatabase, sealed

ANA = Actor("ana", Role.REVIEWER)
IMAGE = "1" * 64
SKIPPED = Event(
    "case.skipped",
    ANA,
    {"image_id": IMAGE, "review_id": "r1"},
    {"work": "first"},
    reason="The smear is too thick.",
)


@pytest.fixture
def database() -> FakeDatabase:
    database = FakeDatabase()
    with database.units() as uow:
        uow.record(SKIPPED)
        uow.commit()
    return database


def test_a_sealed_reason_is_opened_and_its_words_are_checked(database: FakeDatabase) -> None:
    (event,) = database.events
    with database.units() as uow:
        found = opened_reason(uow, event)
    assert found is not None
    assert (found.text, found.opens) == (SKIPPED.reason, True)


def test_words_that_were_changed_beside_the_log_do_not_open_it(database: FakeDatabase) -> None:
    (event,) = database.events
    kept = database.tables.sealed_texts[event.id]
    database.tables.sealed_texts[event.id] = replace(kept, text="The smear is fine.")
    with database.units() as uow:
        found = opened_reason(uow, event)
    assert found is not None
    assert not found.opens


@pytest.mark.parametrize("what", ["salt", "text"])
def test_what_was_erased_stays_closed(database: FakeDatabase, what: str) -> None:
    (event,) = database.events
    if what == "salt":
        del database.tables.image_salts[IMAGE]
    else:
        del database.tables.sealed_texts[event.id]
    with database.units() as uow:
        assert opened_reason(uow, event) is None


def test_a_reason_in_plain_words_is_none_to_open(database: FakeDatabase) -> None:
    with database.units() as uow:
        assert opened_reason(uow, SKIPPED) is None


def test_an_image_is_looked_for_by_its_commitment_and_as_long_ago(database: FakeDatabase) -> None:
    with database.units() as uow:
        assert image_references(uow, IMAGE) == [("image", sealed(IMAGE)), ("image", IMAGE)]
        assert image_references(uow, sealed(IMAGE)) == [("image", sealed(IMAGE))]


def test_after_an_erasure_nothing_connects_an_image_with_the_log(database: FakeDatabase) -> None:
    del database.tables.image_salts[IMAGE]
    with database.units() as uow, pytest.raises(NotFound, match="Nothing connects") as refusal:
        image_references(uow, IMAGE)
    assert "erased" in refusal.value.hint


def test_an_image_from_before_there_were_salts_is_found_by_its_id() -> None:
    database = FakeDatabase()
    image = Image(IMAGE, 10, 10, "image/png", "s1", "upload", "2026-01-01T00:00:00Z")
    database.tables.images[IMAGE] = image
    with database.units() as uow:
        assert image_references(uow, IMAGE) == [("image", IMAGE)]
