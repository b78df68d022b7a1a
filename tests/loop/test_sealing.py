from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import InvalidInput
from loop.events import Actor, Event, Role
from loop.intake import NewImage
from loop.sealing import SealedText, commitment, opens, seal, text_to_keep, without_names
from tests.fakes import salt_of, sealed
from tests.loop.cases import Clinic
from tests.strategies import digests

ANA = Actor("ana", Role.REVIEWER)
IMAGE, OTHER, BOXES = "1" * 64, "2" * 64, "3" * 64

salts = st.binary(min_size=32, max_size=32)


def event(subject: dict[str, Any], details: dict[str, Any] | None = None, **more: Any) -> Event:
    return Event("test.happened", ANA, subject, details or {}, **more)


@given(salts, digests, st.sampled_from(("image", "boxes", "reason")))
def test_a_commitment_opens_to_its_value_alone(salt: bytes, value: str, field: str) -> None:
    committed = commitment(salt, field, value)
    assert opens(committed, salt, field, value)
    assert not opens(committed, salt, field, value + "0")
    assert not opens(committed, salt, field + "s", value)
    assert not opens(committed, bytes(32) if salt != bytes(32) else salt[::-1] + b"1", field, value)
    assert value not in committed


def test_a_commitment_is_an_hmac_over_the_field_and_the_value() -> None:
    # printf 'image\0abc' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…01 (32 bytes)
    assert commitment(b"\x01" * 32, "image", "abc") == (
        "hmac-sha256:19cf60e1a944a4d0195eed03071265a8d1c0ae25a9497212cdcd233c7caf3ea9"
    )


@given(digests, digests, st.lists(digests, max_size=3))
def test_nothing_of_an_image_is_left(image: str, boxes: str, kin: list[str]) -> None:
    said = event(
        {"image_id": image, "boxes_sha256": boxes},
        {"gold_kin": {"near_duplicates": len(kin), "image_ids": kin}, "added_image_ids": kin},
        reason="the patient of room 7",
    )
    text = json.dumps(seal(said, salt_of).as_dict())
    for secret in (image, boxes, *kin, "room 7", "image_id", "boxes_sha256"):
        assert secret not in text


def test_each_image_of_a_list_is_sealed_with_its_own_salt() -> None:
    details = seal(event({}, {"added_image_ids": [IMAGE, OTHER]}), salt_of).details
    assert details == {"added": [sealed(IMAGE), sealed(OTHER)]}


def test_boxes_are_sealed_with_their_images_salt() -> None:
    subject = seal(event({"image_id": IMAGE, "boxes_sha256": BOXES}), salt_of).subject
    assert subject == {"image": sealed(IMAGE), "boxes": sealed(IMAGE, "boxes", BOXES)}


def test_sealing_again_changes_nothing() -> None:
    once = seal(event({"image_id": IMAGE, "boxes_sha256": BOXES}, reason="unclear"), salt_of)
    assert seal(once, salt_of).as_dict() == once.as_dict()


def test_a_reason_that_looks_like_a_commitment_is_sealed_all_the_same() -> None:
    reason = sealed(IMAGE)
    said = seal(event({"image_id": IMAGE}, reason=reason), salt_of)
    assert said.reason == sealed(IMAGE, "reason", reason)


def test_what_is_not_about_an_image_keeps_its_reason() -> None:
    said = event({"promotion_id": "p1"}, reason="better on rings")
    assert seal(said, salt_of).reason == "better on rings"
    assert text_to_keep(said) is None


def test_a_sealed_reason_is_to_be_kept() -> None:
    said = event({"image_id": IMAGE}, reason="unclear")
    assert text_to_keep(said) == SealedText(said.id, IMAGE, "unclear")
    assert text_to_keep(event({"image_id": IMAGE})) is None


def test_the_boxes_of_a_data_set_do_not_name_its_folder() -> None:
    model = {"name": "import:Jones family", "version": "1", "digest": BOXES}
    said = seal(event({"image_id": IMAGE, "model": model}), salt_of)
    digest = sealed(IMAGE, "model", f"import:Jones family\0{BOXES}")
    assert said.subject["model"] == {"name": "import", "version": "1", "digest": digest}


def test_what_is_of_an_image_cannot_be_told_without_it() -> None:
    for said in (event({"boxes_sha256": BOXES}), event({}, {"source_name": "upload"})):
        with pytest.raises(InvalidInput, match="has to name it"):
            seal(said, salt_of)


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (f"Image {IMAGE} does not match its id.", "Image [sealed] does not match its id."),
        ("Image 3f2a9b1c0d4e is gone.", "Image [sealed] is gone."),
        ("There is no file /data/jones/knee.png.", "There is no file [path]"),
        ("See https://docs.ray.io/en/latest.", "See https://docs.ray.io/en/latest."),
        ("A share of 3/4, and/or none.", "A share of 3/4, and/or none."),
    ],
)
def test_messages_lose_paths_and_images(message: str, left: str) -> None:
    assert without_names(message) == left
    failed = event({"stage": "data_collection"}, {"error": message}, reason=message)
    said = seal(failed, salt_of)
    assert (said.reason, said.details["error"]) == (left, left)


def test_events_of_one_image_are_linked_until_its_salt_is_erased() -> None:
    clinic = Clinic()
    queued = clinic.queue(NewImage(b"pixels", "image/png", 100, 80))
    with clinic.units() as uow:
        salt = uow.image_salts.find(queued.image_id)
        assert salt is not None
        said = clinic.database.events[0].subject["image"]
        assert opens(said, salt, "image", queued.image_id)
        uow.image_salts.erase(queued.image_id)
        assert uow.image_salts.find(queued.image_id) is None
