from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from loop.boxes import Box
from loop.classes import ClassList
from loop.corrections import FinalBox
from loop.events import Actor, Event, Role
from loop.intake import NewImage, Queued, TrueBox, add_truth, queue_image
from loop.ports import ImageStore, UnitsOfWork
from loop.predictions import Detection, ModelRef
from loop.review import FirstAnswer, FirstOutcome, submit_first
from store.image_store import open_image_store
from store.settings import Settings, load_settings
from store.unit_of_work import open_units_of_work

CLASSES = ClassList(("round_cell", "rod"))
MODEL = ModelRef("detector", "1", "a" * 64)
ENGINEER = Actor("p-engineer", Role.ENGINEER)
REVIEWER = Actor("p-reviewer", Role.REVIEWER)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop's state on disk, and short ways to put something into it."""

    settings: Settings
    units: UnitsOfWork
    images: ImageStore

    def truth(
        self,
        number: int,
        class_ids: Sequence[int] = (0,),
        *,
        subject: str | None = None,
        gold: bool = False,
    ) -> str:
        """An imported image with a box of each class; returns its id."""
        boxes = [TrueBox(Box(1, 2 + 9 * i, 9, 10 + 9 * i), c) for i, c in enumerate(class_ids)]
        new = _image(number, f"subject-{number}" if subject is None else subject)
        add_truth(self.units, self.images, new, boxes, actor=ENGINEER, gold=gold)
        return self.images.put(new.data)

    def queue(self, number: int) -> Queued:
        """An image on which the model saw one box of class 0."""
        detection = Detection("d", Box(1, 2, 9, 10), 0, 0.9)
        return queue_image(
            self.units,
            self.images,
            _image(number, f"subject-{number}"),
            model=MODEL,
            detections=[detection],
            actor=ENGINEER,
        )

    def correct(self, queued: Queued, class_id: int = 0) -> FirstOutcome:
        """A first answer: another class than 0 sends the case to a second reviewer."""
        detection = queued.detections[0]
        box = FinalBox.from_detection("b", detection.box, class_id, detection)
        return submit_first(
            self.units,
            queued.review_id,
            FirstAnswer((box,)),
            actor=REVIEWER,
            settings=self.settings.agreement,
        )

    def events(self, type: str) -> list[Event]:
        from store.audit_log import open_audit_log

        log = open_audit_log(self.settings)
        log.integrate()
        return [entry.event for entry in log.tail(1000) if entry.event.type == type]


def _image(number: int, subject: str) -> NewImage:
    return NewImage(f"image {number}".encode(), "image/png", 64, 64, subject, "test")


@pytest.fixture
def loop_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """An empty loop with classes; the test runs in a folder like a workspace's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECONDLOOK_HOME", str(tmp_path / "var"))
    settings = load_settings()
    state = Loop(settings, open_units_of_work(settings), open_image_store(settings))
    with state.units() as uow:
        uow.classes.set(CLASSES)
        uow.record(Event("classes.defined", ENGINEER, {"classes": list(CLASSES)}))
        uow.commit()
    return state
