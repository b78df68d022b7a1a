"""Bringing an existing data set in, as truth or as predictions that wait for review."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from loop.classes import ClassList, classes_event
from loop.errors import InvalidImage, InvalidInput, LoopError
from loop.events import Actor, Event, new_id, now
from loop.gold import GoldSet, read_gold
from loop.growing_gold import Growth, growth_event
from loop.intake import NewImage, TrueBox, add_truth, queue_image
from loop.ports import UnitsOfWork
from loop.predictions import Detection, ModelRef
from store.formats import Format, ImportedImage, read_dataset
from store.image_codec import Limits, sanitise
from store.image_store import open_image_store
from store.pseudonyms import open_subject_pseudonyms
from store.settings import Settings
from store.unit_of_work import open_units_of_work

# Boxes that come without a score are neither sure nor unsure: removing one is not a
# high-confidence removal.
_UNKNOWN_CONFIDENCE = 0.5

Progress = Callable[[int, int], None]


class ImportAs(StrEnum):
    TRUTH = "truth"
    PREDICTION = "prediction"


@dataclass(slots=True)
class ImportReport:
    """What came in, and what did not or not as it was; ``problems`` are (file, reason)."""

    images: int = 0
    boxes: int = 0
    unchanged: int = 0
    subjects: set[str] = field(default_factory=set)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "boxes": self.boxes,
            "unchanged": self.unchanged,
            "subjects": len(self.subjects),
            "problems": [{"file": file, "reason": reason} for file, reason in self.problems],
        }


def import_dataset(
    settings: Settings,
    path: Path,
    format: Format,
    *,
    import_as: ImportAs,
    gold: bool,
    subject_pattern: str,
    only: Path | None,
    actor: Actor,
    progress: Progress,
    name: str = "",
    sha256: str = "",
    allow_trained: bool = False,
) -> ImportReport:
    """Import every image under ``path`` that can be; what cannot is in the report, with why.

    ``subject_pattern`` is searched for in the image's path below ``path``; its first group (or
    all of the match) is the subject, and its pseudonym is what is kept. ``only`` is a file that
    lists the names to import, one a line. ``name`` and ``sha256`` are what the data set is called
    and known by where the folder it lies in says nothing. ``allow_trained`` lets gold images in
    that models may know. Raises `InvalidDataset`, `InvalidInput`.
    """
    if gold and import_as is ImportAs.PREDICTION:
        raise InvalidInput("Gold images need true boxes.", hint="Use --as truth with --gold.")
    began = now()
    units = open_units_of_work(settings)
    with units() as uow:
        known = uow.classes.find()
        gold_before = read_gold(uow) if gold else None
    reader = read_dataset(path, format, classes=known)
    classes = known or reader.classes
    if known is None:
        _define_classes(units, classes, actor)
    source = f"import:{name or path.name}"
    # Whoever made the boxes, the data set is all that is known of it.
    digest = sha256 or hashlib.sha256(str(path.absolute()).encode()).hexdigest()
    importer = _Importer(
        settings,
        units,
        classes,
        import_as,
        gold=gold,
        allow_trained=allow_trained,
        model=ModelRef(source, "1", digest),
        actor=actor,
    )
    pattern = _compiled(subject_pattern)
    report = ImportReport()
    if only is not None:
        missing = reader.keep(_names(only))
        report.problems += [(str(only), f"no image is called {name}") for name in missing]
    total = len(reader)
    for done, image in enumerate(reader, start=1):
        importer.add(image, pattern, report)
        progress(done, total)
    report.problems = [(str(p.file), p.what) for p in reader.problems] + report.problems
    model = importer.model
    _record(units, model, format, report, actor, gold=gold, began=began)
    if gold_before is not None:
        _record_growth(units, gold_before, model, actor, allow_trained=allow_trained)
    return report


class _Importer:
    def __init__(
        self,
        settings: Settings,
        units: UnitsOfWork,
        classes: ClassList,
        import_as: ImportAs,
        *,
        gold: bool,
        allow_trained: bool,
        model: ModelRef,
        actor: Actor,
    ) -> None:
        self._units = units
        self._classes = classes
        self._as_truth = import_as is ImportAs.TRUTH
        self._gold = gold
        self._allow_trained = allow_trained
        self._actor = actor
        self.model = model
        self._images = open_image_store(settings)
        self._pseudonyms = open_subject_pseudonyms(settings)
        self._limits = Limits(settings.max_image_bytes, settings.max_image_pixels)

    def add(
        self, image: ImportedImage, pattern: re.Pattern[str] | None, report: ImportReport
    ) -> None:
        try:
            subject = self._subject(image, pattern, report)
            added = self._add(image, subject, report)
        except LoopError as error:
            report.problems.append((str(image.path), error.message))
            return
        if added is None:
            report.unchanged += 1
            return
        report.images += 1
        report.boxes += len(image.boxes)
        report.subjects.add(added)

    def _subject(
        self, image: ImportedImage, pattern: re.Pattern[str] | None, report: ImportReport
    ) -> str:
        if pattern is None:
            return ""
        match = pattern.search(image.name)
        if match is None:
            reason = "the subject pattern does not match; taken as a subject of its own"
            report.problems.append((str(image.path), reason))
            return ""
        return self._pseudonyms.of(match.group(1) if pattern.groups else match.group(0))

    def _add(self, image: ImportedImage, subject: str, report: ImportReport) -> str | None:
        """Keep one image; returns its subject, or None if nothing about it is new."""
        clean = sanitise(image.path.read_bytes(), self._limits)
        if (clean.width, clean.height) != (image.width, image.height):
            raise InvalidImage(
                "its EXIF data turns it, and nothing says whether its boxes were drawn before or "
                "after turning"
            )
        new = NewImage(
            clean.data,
            clean.media_type,
            clean.width,
            clean.height,
            subject,
            self.model.name,
            clean.phash,
        )
        if self._as_truth:
            truth = [TrueBox(box.box, self._classes.id_of(box.class_name)) for box in image.boxes]
            annotation = add_truth(
                self._units,
                self._images,
                new,
                truth,
                actor=self._actor,
                gold=self._gold,
                allow_trained=self._allow_trained,
                warn=lambda reason: report.problems.append((str(image.path), reason)),
            )
            return (subject or annotation.image_id) if annotation else None
        detections = [
            Detection(
                new_id(),
                box.box,
                self._classes.id_of(box.class_name),
                _UNKNOWN_CONFIDENCE if box.confidence is None else box.confidence,
            )
            for box in image.boxes
        ]
        queued = queue_image(
            self._units,
            self._images,
            new,
            model=self.model,
            detections=detections,
            actor=self._actor,
        )
        return subject or queued.image_id


def _define_classes(units: UnitsOfWork, classes: ClassList, actor: Actor) -> None:
    with units() as uow:
        uow.classes.set(classes)
        uow.record(classes_event(classes, actor))
        uow.commit()


def _compiled(subject_pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(subject_pattern) if subject_pattern else None
    except re.error as error:
        raise InvalidInput(
            f"--subject-pattern {subject_pattern!r} is not a regular expression: {error}.",
            hint="For example '^([^_]+)_' takes what stands before the first underscore.",
        ) from error


def _names(only: Path) -> set[str]:
    try:
        lines = only.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--only {only} cannot be read: {error}.") from error
    return {line.strip() for line in lines if line.strip()}


def _record(
    units: UnitsOfWork,
    dataset: ModelRef,
    format: Format,
    report: ImportReport,
    actor: Actor,
    *,
    gold: bool,
    began: str,
) -> None:
    with units() as uow:
        uow.record(
            Event(
                type="dataset.imported",
                actor=actor,
                subject={"dataset_id": dataset.digest, "format": format},
                details={
                    "source_name": dataset.name,
                    "images": report.images,
                    "boxes": report.boxes,
                    "unchanged": report.unchanged,
                    "problems": len(report.problems),
                    "gold": gold,
                },
                started=began,
            )
        )
        uow.commit()


def _record_growth(
    units: UnitsOfWork, before: GoldSet, dataset: ModelRef, actor: Actor, *, allow_trained: bool
) -> None:
    with units() as uow:
        after = read_gold(uow)
        added = tuple(sorted({*after.image_ids} - {*before.image_ids}))
        if added:
            growth = Growth(before, after, added, None)
            whence = (dataset.digest, dataset.name)
            uow.record(growth_event(growth, actor, allow_trained=allow_trained, dataset=whence))
            uow.commit()
