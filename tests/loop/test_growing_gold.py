from __future__ import annotations

import pytest

from loop.errors import Conflict, InvalidInput, NotAllowed, NotFound
from loop.events import Actor, Role
from loop.gold import read_gold
from loop.growing_gold import Growth, grow_gold
from loop.reopening import reopen
from loop.review import FirstAnswer, submit_first
from tests.fakes import sealed
from tests.loop.cases import ANA, SETTINGS, SURE, UNSURE, Clinic, accepted
from tests.loop.test_leakage import HASH, NEAR, add, freeze, image

EVA = Actor("eva", Role.ENGINEER)


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


def grow(clinic: Clinic, *image_ids: str, allow_trained: bool = False) -> Growth:
    return grow_gold(
        clinic.units,
        image_ids,
        actor=EVA,
        hash_of=lambda _: HASH,
        allow_trained=allow_trained,
    )


def annotated(clinic: Clinic, name: str, phash: str | None = "", subject: str = "") -> str:
    annotation, _ = add(clinic, image(name, phash, subject))
    assert annotation is not None
    return annotation.image_id


def test_annotated_images_become_gold_on_the_record(clinic: Clinic) -> None:
    add(clinic, image("gold"), gold=True)
    with clinic.units() as uow:
        before = read_gold(uow)
    names = [annotated(clinic, name) for name in ("one", "two")]
    growth = grow(clinic, *names, names[0])
    with clinic.units() as uow:
        after = read_gold(uow)
    assert (growth.before, growth.after, growth.added) == (before, after, tuple(names))
    assert set(after.image_ids) == {*before.image_ids, *names}
    event = clinic.database.events[-1]
    assert (event.type, event.actor) == ("gold.grown", EVA)
    assert event.subject == {"gold_sha256": after.sha256}
    assert event.details["before"] == {"sha256": before.sha256, "images": 1}
    assert event.details["after"] == {"sha256": after.sha256, "images": 3}
    assert event.details["added"] == [sealed(name) for name in names]


def test_what_is_gold_already_changes_nothing(clinic: Clinic) -> None:
    gold, _ = add(clinic, image("gold"), gold=True)
    assert gold is not None
    events = len(clinic.database.events)
    assert grow(clinic, gold.image_id).added == ()
    assert len(clinic.database.events) == events


def test_an_image_in_a_snapshot_is_refused_unless_allowed_and_then_said(clinic: Clinic) -> None:
    old = annotated(clinic, "old")
    freeze(clinic)
    new = annotated(clinic, "new")
    with pytest.raises(Conflict, match="in a snapshot") as caught:
        grow(clinic, new, old)
    assert "--allow-trained" in caught.value.hint
    with clinic.units() as uow:
        assert uow.images.gold() == []  # all of them or none
    assert grow(clinic, new).added == (new,)
    assert grow(clinic, old, allow_trained=True).added == (old,)
    assert clinic.database.events[-1].details["allow_trained"] is True


def test_near_duplicates_become_gold_together_or_not_at_all(clinic: Clinic) -> None:
    one, two = annotated(clinic, "one", HASH), annotated(clinic, "two", NEAR)
    with pytest.raises(Conflict, match="shows the same"):
        grow(clinic, one)
    assert grow(clinic, one, two).excluded == 0


def test_images_of_their_subjects_are_counted_as_excluded(clinic: Clinic) -> None:
    one = annotated(clinic, "one", subject="s")
    annotated(clinic, "two", subject="s")
    assert grow(clinic, one).excluded == 1


def test_an_image_from_before_there_were_hashes_is_hashed_first(clinic: Clinic) -> None:
    annotated(clinic, "trained", HASH)
    old = annotated(clinic, "old", None)
    with pytest.raises(Conflict, match="shows the same"):
        grow(clinic, old)


def test_only_settled_annotations_can_be_measured_against(clinic: Clinic) -> None:
    queued = clinic.queue()
    with pytest.raises(Conflict, match="not annotated"):
        grow(clinic, queued.image_id)
    answer = FirstAnswer((accepted(SURE), accepted(UNSURE)))
    submit_first(clinic.units, queued.review_id, answer, actor=ANA, settings=SETTINGS)
    reopen(clinic.units, queued.review_id, "a box is missing", actor=ANA)
    with pytest.raises(Conflict, match="under review"):
        grow(clinic, queued.image_id)


def test_an_unknown_image_and_no_image_are_refused(clinic: Clinic) -> None:
    with pytest.raises(NotFound):
        grow(clinic, "0" * 64)
    with pytest.raises(InvalidInput):
        grow(clinic)


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.ADJUDICATOR, Role.SYSTEM, Role.AUDITOR])
def test_growing_it_needs_a_permission(clinic: Clinic, role: Role) -> None:
    one = annotated(clinic, "one")
    with pytest.raises(NotAllowed):
        grow_gold(clinic.units, [one], actor=Actor("x", role), hash_of=lambda _: HASH)
