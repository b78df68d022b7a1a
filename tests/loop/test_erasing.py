from __future__ import annotations

import pytest

from loop.erasing import Basis, erase_image, images_of
from loop.errors import InvalidInput, NotAllowed, NotFound
from loop.events import Actor, Outcome, Role
from loop.intake import NewImage, queue_image
from loop.sealing import commitment, opens
from loop.snapshots import Labels, Manifest, SnapshotRecord
from tests.fakes import FakeDatabase, FakeImageStore
from tests.loop.cases import MODEL

ADMIN = Actor("root", Role.ADMIN)
API = Actor("api", Role.SYSTEM)


class Home:
    def __init__(self) -> None:
        self.database = FakeDatabase()
        self.images = FakeImageStore()

    def add(self, data: bytes, subject: str = "") -> str:
        new = NewImage(data, "image/png", 4, 4, subject)
        queued = queue_image(
            self.database.units, self.images, new, model=MODEL, detections=(), actor=API
        )
        return queued.image_id

    def erase(self, image_id: str, actor: Actor = ADMIN, reason: str = "asked for") -> object:
        return erase_image(self.database.units, self.images, image_id, actor=actor, reason=reason)


def test_the_bytes_and_every_row_go_and_the_others_stay() -> None:
    home = Home()
    gone, kept = home.add(b"one"), home.add(b"two")
    home.erase(gone)
    assert list(home.images.kept) == [kept]
    tables = home.database.tables
    assert list(tables.images) == [kept]
    assert {case.image_id for case in tables.cases.values()} == {kept}
    assert {each.image_id for each in tables.predictions.values()} == {kept}


def test_it_is_on_record_before_and_after_with_what_went() -> None:
    home = Home()
    image_id = home.add(b"one")
    salt = home.database.tables.image_salts[image_id]
    home.erase(image_id)
    before, after = home.database.events[-2:]
    assert (before.type, before.outcome) == ("image.erased", Outcome.INTENDED)
    assert (after.type, after.outcome) == ("image.erased", Outcome.DONE)
    assert after.subject == before.subject == {"image": commitment(salt, "image", image_id)}
    assert after.details["cases"] == after.details["predictions"] == 1
    assert after.details["basis"] == Basis.REQUEST
    assert opens(after.reason, salt, "reason", "asked for")


def test_nothing_is_left_with_which_the_log_could_be_asked_about_it() -> None:
    home = Home()
    gone, kept = home.add(b"one"), home.add(b"two")
    home.erase(gone)
    assert list(home.database.tables.image_salts) == [kept]
    assert home.database.tables.sealed_texts == {}


def test_one_that_was_interrupted_is_repeated() -> None:
    home = Home()
    image_id = home.add(b"one")
    home.images.delete(image_id)
    home.erase(image_id)
    assert home.database.tables.images == {}
    with pytest.raises(NotFound):
        home.erase(image_id)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMIN])
def test_only_admins_erase(role: Role) -> None:
    home = Home()
    image_id = home.add(b"one")
    with pytest.raises(NotAllowed):
        home.erase(image_id, Actor("x", role))
    assert image_id in home.images.kept


def test_it_needs_a_reason() -> None:
    home = Home()
    image_id = home.add(b"one")
    with pytest.raises(InvalidInput):
        home.erase(image_id, reason=" ")


def test_all_images_of_a_subject_are_found() -> None:
    home = Home()
    mine = sorted([home.add(b"one", "p1"), home.add(b"two", "p1")])
    home.add(b"three", "p2")
    assert images_of(home.database.units, "p1") == mine
    with pytest.raises(NotFound):
        images_of(home.database.units, "p3")


def test_snapshots_that_may_hold_it_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home()
    image_id = home.add(b"one")
    manifest = Manifest(1, Labels.ADJUDICATED, ("rod",), (), (), {})
    for name, at in (("a", "2026-01-01"), ("b", "2026-03-01")):
        record = SnapshotRecord(name * 64, manifest, at, "eva")
        home.database.tables.snapshots[record.sha256] = record
    assert home.erase(image_id).snapshots == ()  # type: ignore[attr-defined]
    image_id = home.add(b"one")
    monkeypatch.setattr(
        "tests.fakes.FakeImages.answered_at", lambda self, ids: {image_id: "2026-02-01"}
    )
    assert home.erase(image_id).snapshots == ("b" * 64,)  # type: ignore[attr-defined]
