"""What comes in near the gold set, and what may become gold near the training images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loop.boxes import Box
from loop.cases import Annotation
from loop.errors import Conflict
from loop.events import Event, now
from loop.intake import NewImage, TrueBox, add_truth
from loop.review import FirstAnswer, submit_first
from loop.snapshots import Labels, Manifest, SnapshotRecord
from tests.fakes import sealed
from tests.loop.cases import ANA, API, NEW, SETTINGS, SURE, UNSURE, Clinic, accepted

HASH = "00" * 8
NEAR = "3f" + "00" * 7  # 6 bits away
FAR = "7f" + "00" * 7  # 7 bits away
TRUTH = (TrueBox(Box(10, 10, 30, 30), 0),)


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


def image(name: str, phash: str | None = None, subject: str = "") -> NewImage:
    return replace(NEW, data=name.encode(), phash=phash, subject=subject)


def add(
    clinic: Clinic, new: NewImage, *, gold: bool = False, allow_trained: bool = False
) -> tuple[Annotation | None, list[str]]:
    warnings: list[str] = []
    annotation = add_truth(
        clinic.units,
        clinic.images,
        new,
        TRUTH,
        actor=API,
        gold=gold,
        allow_trained=allow_trained,
        warn=warnings.append,
    )
    return annotation, warnings


def freeze(clinic: Clinic) -> None:
    """A snapshot of what is annotated by now."""
    manifest = Manifest(1, Labels.ADJUDICATED, (), (), (), {"at": now()})
    with clinic.units() as uow:
        uow.snapshots.add(SnapshotRecord(manifest.sha256, manifest, now(), "ana"))
        uow.record(Event("test.happened", API, {}))
        uow.commit()


def test_a_training_image_near_a_gold_one_is_kept_and_noted(clinic: Clinic) -> None:
    gold, _ = add(clinic, image("gold", HASH), gold=True)
    near, warnings = add(clinic, image("near", NEAR))
    assert gold is not None
    assert near is not None
    assert warnings == ["kept, but not trained on: it shows the same as a gold image"]
    noted = {"near_duplicates": 1, "same_subject": 0, "images": [sealed(gold.image_id)]}
    assert clinic.database.events[-1].details["gold_kin"] == noted


def test_a_training_image_of_a_gold_subject_is_kept_and_noted(clinic: Clinic) -> None:
    add(clinic, image("gold", subject="s"), gold=True)
    _, warnings = add(clinic, image("other", subject="s"))
    assert warnings == ["kept, but not trained on: it is of a subject in the gold set"]
    assert clinic.database.events[-1].details["gold_kin"]["same_subject"] == 1


def test_an_image_for_review_near_a_gold_one_is_noted(clinic: Clinic) -> None:
    gold, _ = add(clinic, image("gold", HASH), gold=True)
    clinic.queue(image("near", NEAR))
    assert gold is not None
    assert clinic.database.events[-1].details["gold_kin"]["images"] == [sealed(gold.image_id)]


def test_what_is_far_from_gold_is_not_noted(clinic: Clinic) -> None:
    add(clinic, image("gold", HASH, "s"), gold=True)
    _, warnings = add(clinic, image("far", FAR, "t"))
    clinic.queue(image("also far", FAR, "u"))
    assert warnings == []
    assert all("gold_kin" not in event.details for event in clinic.database.events)


def test_gold_near_an_annotated_image_is_refused_unless_allowed(clinic: Clinic) -> None:
    trained, _ = add(clinic, image("trained", HASH))
    with pytest.raises(Conflict, match="shows the same") as caught:
        add(clinic, image("gold", NEAR), gold=True)
    assert "--allow-trained" in caught.value.hint
    assert caught.value.detail_code == "known_to_models"
    assert len(clinic.database.tables.images) == 1
    allowed, warnings = add(clinic, image("gold", NEAR), gold=True, allow_trained=True)
    assert allowed is not None
    assert trained is not None
    assert warnings == ["not trained on any more: 1 near-duplicates, 0 images of its subject"]
    noted = {"near_duplicates": 1, "same_subject": 0, "images": [sealed(trained.image_id)]}
    assert clinic.database.events[-1].details["training_kin"] == noted


def test_gold_near_a_first_answer_is_refused(clinic: Clinic) -> None:
    queued = clinic.queue(image("answered", HASH))
    answer = FirstAnswer((accepted(SURE), accepted(UNSURE)))
    submit_first(clinic.units, queued.review_id, answer, actor=ANA, settings=SETTINGS)
    with pytest.raises(Conflict, match="shows the same"):
        add(clinic, image("gold", HASH), gold=True)


def test_gold_near_an_image_that_nobody_answered_is_taken(clinic: Clinic) -> None:
    clinic.queue(image("waiting", HASH))
    annotation, warnings = add(clinic, image("gold", HASH), gold=True)
    assert annotation is not None
    assert warnings


def test_gold_images_may_look_alike(clinic: Clinic) -> None:
    add(clinic, image("one", HASH, "s"), gold=True)
    _, warnings = add(clinic, image("two", HASH, "s"), gold=True)
    assert warnings == []
    assert len(clinic.database.tables.images) == 2


def test_gold_of_a_subject_in_a_snapshot_is_refused_unless_allowed(clinic: Clinic) -> None:
    add(clinic, image("trained", subject="s"))
    annotation, warnings = add(clinic, image("before", subject="s"), gold=True)
    assert annotation is not None
    assert warnings
    freeze(clinic)
    with pytest.raises(Conflict, match="same subject"):
        add(clinic, image("after", subject="s"), gold=True)
    assert add(clinic, image("after", subject="s"), gold=True, allow_trained=True)[0] is not None


def test_an_image_from_before_there_were_hashes_gets_its_own(clinic: Clinic) -> None:
    first, _ = add(clinic, image("old"))
    assert first is not None
    clinic.queue(image("old", HASH))
    assert clinic.database.tables.images[first.image_id].phash == HASH
