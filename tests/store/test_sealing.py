from __future__ import annotations

import json

from sqlalchemy import Engine, select

from loop.events import Actor, Event, Role
from loop.sealing import SALT_BYTES, SealedText, commitment
from store import tables
from store.database import reading
from store.unit_of_work import units_of_work

ANA = Actor("ana", Role.REVIEWER)
IMAGE, OTHER = "1" * 64, "2" * 64


def skipped(image_id: str) -> Event:
    subject = {"image_id": image_id, "review_id": "r1"}
    return Event("case.skipped", ANA, subject, {"work": "first"}, reason="unclear_image")


def test_an_image_has_one_salt_which_is_random(engine: Engine) -> None:
    units = units_of_work(engine)
    with units() as uow:
        assert uow.image_salts.find(IMAGE) is None
        one, other = uow.image_salts.of(IMAGE), uow.image_salts.of(OTHER)
        assert (len(one), len(other)) == (SALT_BYTES, SALT_BYTES)
        assert one != other
        uow.record(skipped(IMAGE))
        uow.commit()
    with units() as uow:
        assert uow.image_salts.of(IMAGE) == uow.image_salts.find(IMAGE) == one


def test_a_salt_is_kept_with_its_event_or_not_at_all(engine: Engine) -> None:
    units = units_of_work(engine)
    with units() as uow:
        uow.record(skipped(IMAGE))
    with units() as uow:
        assert uow.image_salts.find(IMAGE) is None
        uow.record(skipped(IMAGE))
        uow.commit()
    with units() as uow:
        assert uow.image_salts.find(IMAGE) is not None


def test_what_is_recorded_is_sealed_and_its_reason_can_be_opened(engine: Engine) -> None:
    units, event = units_of_work(engine), skipped(IMAGE)
    with units() as uow:
        uow.record(event)
        salt = uow.image_salts.of(IMAGE)
        uow.commit()
        assert uow.sealed_texts.find(event.id) == SealedText(event.id, IMAGE, "unclear_image")
    with reading(engine) as connection:
        waiting = connection.execute(select(tables.audit_outbox.c.event)).scalars().all()
        moved = connection.execute(select(tables.audit_log.c.event)).scalars().all()
    (text,) = [*waiting, *moved]
    said = json.loads(text)
    assert said["subject"]["image"] == commitment(salt, "image", IMAGE)
    assert said["reason"] == commitment(salt, "reason", "unclear_image")
    assert IMAGE not in text
    assert "unclear_image" not in text


def test_what_is_erased_is_gone_and_the_rest_stays(engine: Engine) -> None:
    units, events = units_of_work(engine), [skipped(IMAGE), skipped(OTHER)]
    with units() as uow:
        for event in events:
            uow.record(event)
        uow.commit()
    with units() as uow:
        uow.image_salts.erase(IMAGE)
        uow.sealed_texts.erase(IMAGE)
        uow.record(Event("test.happened", ANA, {}))
        uow.commit()
    with units() as uow:
        assert uow.image_salts.find(IMAGE) is None
        assert uow.image_salts.find(OTHER) is not None
        assert uow.sealed_texts.find(events[0].id) is None
        assert uow.sealed_texts.find(events[1].id) is not None
