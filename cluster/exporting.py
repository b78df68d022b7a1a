"""Writing what is annotated as a data set that other tools read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from loop.errors import NotEnoughData
from store.formats import ExportedImage, Format, ImportedBox, write_dataset
from store.image_files import open_image_store
from store.settings import Settings
from store.unit_of_work import open_units_of_work

Progress = Callable[[int, int], None]


def export_dataset(
    settings: Settings, folder: Path, format: Format, progress: Progress
) -> tuple[int, int]:
    """Write the latest annotation of every image; returns how many images and boxes.

    Raises `NotEnoughData` if nothing is annotated, `InvalidDataset` if ``folder`` is not empty.
    """
    images = open_image_store(settings)
    with open_units_of_work(settings)() as uow:
        annotations = list(uow.annotations.latest())
        rows = {a.image_id: uow.images.get(a.image_id) for a in annotations}
        classes = uow.classes.get() if annotations else None
    if classes is None:
        raise NotEnoughData(
            "Nothing is annotated yet.", hint="Review cases in the app, or import a data set."
        )

    def items() -> Iterator[ExportedImage]:
        for done, annotation in enumerate(annotations, start=1):
            image = rows[annotation.image_id]
            boxes = tuple(
                ImportedBox(classes.name_of(box.class_id), box.box) for box in annotation.boxes
            )
            data = images.get(image.id)
            yield ExportedImage(image.id, data, image.media_type, image.width, image.height, boxes)
            progress(done, len(annotations))

    write_dataset(folder, format, items(), classes)
    return len(annotations), sum(len(annotation.boxes) for annotation in annotations)
