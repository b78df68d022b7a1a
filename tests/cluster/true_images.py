"""A home with true images, for tests that train."""

from __future__ import annotations

from loop.events import Actor, Event, Role
from loop.intake import NewImage, add_truth
from loop.synthetic import CLASSES, generate
from store.image_codec import encode_png
from store.image_store import open_image_store
from store.settings import Settings
from store.unit_of_work import open_units_of_work

ENGINEER = Actor("p-engineer", Role.ENGINEER)


def fill(settings: Settings, images: int, size_px: int) -> None:
    """With ``images`` to train on, of as many subjects, and a gold one."""
    units, store = open_units_of_work(settings), open_image_store(settings)
    with units() as uow:
        uow.classes.set(CLASSES)
        uow.record(Event("classes.defined", ENGINEER, {"classes": list(CLASSES)}))
        uow.commit()
    for place, image in enumerate(generate(images + 1, seed=3, size=size_px, images_per_subject=1)):
        new = NewImage(encode_png(image.pixels), "image/png", size_px, size_px, image.subject, "t")
        add_truth(units, store, new, image.boxes, actor=ENGINEER, gold=place == 0)
