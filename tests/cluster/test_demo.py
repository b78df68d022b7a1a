from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from cluster import demo
from cluster.demo_data import DemoImage, empty_home
from cluster.running import note_running
from loop.classes import classes_event
from loop.errors import Conflict
from loop.events import Actor, Role
from loop.intake import queue_image
from loop.predictions import ModelRef
from loop.synthetic import CLASSES
from store.image_store import open_image_store
from store.settings import Settings
from store.unit_of_work import open_units_of_work
from tests.app.answers import settle_everything

API = Actor("api", Role.SYSTEM)
MODEL = ModelRef("detector", "1", "a" * 64)


class Registry:
    def find_alias(self, alias: str) -> ModelRef:
        return MODEL


@pytest.fixture
def prepare(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Sequence[DemoImage]]:
    """What ``up --demo`` would send, from a demo's home that has a champion."""
    empty_home(settings.home)
    with open_units_of_work(settings)() as uow:
        uow.classes.set(CLASSES)
        uow.record(classes_event(CLASSES, API))
        uow.commit()
    monkeypatch.setattr(demo, "open_model_registry", lambda settings: Registry())
    monkeypatch.setattr(demo, "NEW_IMAGES", 4)
    monkeypatch.setattr(demo, "_MORE_IMAGES", 2)
    return lambda: demo.prepare_demo(settings)


def queue(settings: Settings, images: Sequence[DemoImage]) -> None:
    units, store = open_units_of_work(settings), open_image_store(settings)
    for image in images:
        queue_image(units, store, image.new, model=MODEL, detections=(), actor=API)


def test_up_brings_new_images_once_nothing_waits_for_review(
    settings: Settings, prepare: Callable[[], Sequence[DemoImage]]
) -> None:
    seen: set[bytes] = set()
    for expected in (4, 2, 2):
        images = prepare()
        assert len({image.new.data for image in images} - seen) == expected
        seen |= {image.new.data for image in images}
        queue(settings, images)
        assert prepare() == []
        settle_everything(open_units_of_work(settings), settings.agreement)


def test_a_demo_does_not_empty_a_home_that_is_up(settings: Settings) -> None:
    empty_home(settings.home)
    note_running(settings, "127.0.0.1:6379", "http://127.0.0.1:8265", "http://127.0.0.1:5001")
    with pytest.raises(Conflict, match="up in"):
        demo.run_demo(settings)
    assert any((settings.home / "run").iterdir())
