"""Writing what is annotated as a data set that other tools read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loop.cases import Annotation
from loop.errors import LoopError, NotEnoughData
from loop.events import Actor, Event, Outcome, now
from loop.ports import UnitsOfWork
from store.formats import ExportedImage, Format, ImportedBox, write_dataset
from store.image_store import open_image_store
from store.settings import Settings
from store.unit_of_work import open_units_of_work

Progress = Callable[[int, int], None]


def export_dataset(
    settings: Settings, folder: Path, format: Format, progress: Progress, *, actor: Actor
) -> tuple[int, int]:
    """Write the latest annotation of every image; returns how many images and boxes.

    Images leave this home only once that is on record. Raises `NotEnoughData` if nothing is
    annotated, `InvalidDataset` if ``folder`` is not empty.
    """
    images, units, began = open_image_store(settings), open_units_of_work(settings), now()
    with units() as uow:
        annotations = list(uow.annotations.latest())
        rows = {a.image_id: uow.images.get(a.image_id) for a in annotations}
        classes = uow.classes.get() if annotations else None
    if classes is None:
        raise NotEnoughData(
            "Nothing is annotated yet.", hint="Review cases in the app, or import a data set."
        )
    record = _Record(units, actor, format, annotations, began)
    record.note(Outcome.INTENDED)

    def items() -> Iterator[ExportedImage]:
        for done, annotation in enumerate(annotations, start=1):
            image = rows[annotation.image_id]
            boxes = tuple(
                ImportedBox(classes.name_of(box.class_id), box.box) for box in annotation.boxes
            )
            data = images.get(image.id)
            yield ExportedImage(image.id, data, image.media_type, image.width, image.height, boxes)
            progress(done, len(annotations))

    try:
        write_dataset(folder, format, items(), classes)
    except BaseException as error:  # Ctrl-C too: what was intended on record needs its outcome
        told = error.message if isinstance(error, LoopError) else f"{type(error).__name__}."
        record.note(Outcome.FAILED, told)
        raise
    record.note(Outcome.DONE)
    return len(annotations), record.boxes


class _Record:
    def __init__(
        self,
        units: UnitsOfWork,
        actor: Actor,
        format: Format,
        annotations: Sequence[Annotation],
        began: str,
    ) -> None:
        self._units = units
        self._actor = actor
        self._format = format
        self._images = len(annotations)
        self._began = began
        self.boxes = sum(len(annotation.boxes) for annotation in annotations)
        # Annotations are immutable: their ids say what went out.
        ids = "\n".join(annotation.id for annotation in annotations)
        self._sha256 = hashlib.sha256(ids.encode()).hexdigest()

    def note(self, outcome: Outcome, reason: str = "") -> None:
        with self._units() as uow:
            uow.record(
                Event(
                    type="dataset.exported",
                    actor=self._actor,
                    subject={"format": self._format},
                    details={"images": self._images, "boxes": self.boxes},
                    outcome=outcome,
                    reason=reason,
                    outputs={"annotations": self._sha256},
                    started=self._began,
                )
            )
            uow.commit()
