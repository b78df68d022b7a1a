"""What the tests of the use cases share: a database in memory with a case in it."""

from __future__ import annotations

from collections.abc import Sequence

from loop.agreement import AgreementSettings
from loop.boxes import Box
from loop.corrections import FinalBox
from loop.events import Actor, Role
from loop.intake import NewImage, Queued, queue_image
from loop.predictions import Detection, ModelRef
from tests.fakes import FakeDatabase, FakeImageStore
from tests.strategies import CLASSES

SETTINGS = AgreementSettings()
MODEL = ModelRef("detector", "1", "0" * 64)
ANA, BEN = Actor("ana", Role.REVIEWER), Actor("ben", Role.ADJUDICATOR)
API = Actor("api", Role.SYSTEM)
SURE = Detection("sure", Box(10, 10, 30, 30), 0, 0.9)
UNSURE = Detection("unsure", Box(50, 50, 70, 60), 1, 0.4)
NEW = NewImage(b"pixels", "image/png", 100, 80)


class Clinic:
    """A database and an image store of its own, with the class list of `CLASSES`."""

    def __init__(self) -> None:
        self.database = FakeDatabase(CLASSES)
        self.images = FakeImageStore()
        self.units = self.database.units

    def queue(
        self,
        new: NewImage = NEW,
        detections: Sequence[Detection] = (SURE, UNSURE),
        model: ModelRef = MODEL,
    ) -> Queued:
        return queue_image(
            self.units, self.images, new, model=model, detections=detections, actor=API
        )

    def event_types(self) -> list[str]:
        return [event.type for event in self.database.events]


def accepted(detection: Detection) -> FinalBox:
    return FinalBox.from_detection(
        f"b-{detection.id}", detection.box, detection.class_id, detection
    )
