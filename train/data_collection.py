"""Stage data_collection: freezes what people said into a snapshot.

Adjudicated labels are the annotations; first-reviewer labels are the latest first answers. Gold
images keep their annotation in both, so that both are measured against the same truth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from loop.cases import Annotation
from loop.errors import NotEnoughData
from loop.events import Actor, Event, Role, now
from loop.ports import UnitOfWork, UnitsOfWork
from loop.snapshots import Labels, Manifest, SnapshotRecord
from store.image_codec import hash_of
from store.image_store import open_image_store
from store.settings import load_settings
from store.snapshot_files import SnapshotEntry, write_snapshot
from store.unit_of_work import open_units_of_work
from train.paths import StagePaths
from train.stage import out, progress, run_stage

# First answers are not numbered; where there is a later one, its shard is the later one too.
_FIRST_ANSWER_VERSION = 1
_FIRST_ANSWER_SOURCE = "first_answer"
_LOOKED_UP_IN_A_UNIT = 1000
# What an entry of the log has room for. The dataset's root is over all of them.
_LISTED_SHARDS = 400

Item = TypeVar("Item")


def main(labels: Labels = Labels.ADJUDICATED) -> None:
    settings = load_settings()
    folder = StagePaths(labels).snapshot
    manifest = collect(
        open_units_of_work(settings),
        open_image_store(settings).get,
        folder,
        labels,
        settings.acting(Role.ENGINEER),
    )
    counts = manifest.counts
    boxes = ", ".join(f"{number} {name}" for name, number in counts["boxes_per_class"].items())
    out.print(
        f"Snapshot {manifest.sha256} in {folder}:\n"
        f"  {counts['images']} images of {counts['subjects']} subjects, {counts['gold']} of them "
        f"gold, {counts['negatives']} without boxes\n"
        f"  {counts['boxes']} boxes: {boxes}",
        highlight=False,
        markup=False,
    )


def collect(
    units: UnitsOfWork,
    read_image: Callable[[str], bytes],
    folder: Path,
    labels: Labels,
    actor: Actor,
) -> Manifest:
    """Write the snapshot into ``folder`` and, if it is a new one, the record and event of it.

    Raises `NotEnoughData` while nothing is annotated.
    """
    began = now()
    with units() as uow:
        adjudicated = labels is Labels.ADJUDICATED
        sources = _annotations(units, uow) if adjudicated else _first_answers(units, uow)
        with progress("Reading annotations") as step:
            total = uow.images.count()  # at most: not every image is answered
            entries: list[SnapshotEntry] = []
            for entry in sources:
                entries.append(entry)
                step(len(entries), total)
            step(len(entries), len(entries))
        if not entries:
            raise NotEnoughData(
                "Nothing is annotated yet."
                if labels is Labels.ADJUDICATED
                else "There are no first answers yet.",
                hint="Correct images in the reviewers' app, or bring in annotated ones with "
                "`secondlook import`.",
            )
        classes = uow.classes.get()
    entries = _hashed(units, entries, read_image)
    with progress("Writing new images") as step:
        manifest = write_snapshot(folder, labels, classes, entries, read_image, step)
    with units() as uow:
        if uow.snapshots.add(SnapshotRecord(manifest.sha256, manifest, now(), actor.pseudonym)):
            uow.record(_created(manifest, actor, began))
            uow.commit()
    return manifest


def _hashed(
    units: UnitsOfWork, entries: Sequence[SnapshotEntry], read_image: Callable[[str], bytes]
) -> list[SnapshotEntry]:
    """``entries`` with the perceptual hash of each image, which those from before it have not."""
    missing = [entry.image.id for entry in entries if entry.image.phash is None]
    hashes: dict[str, str] = {}
    if missing:
        with progress("Hashing images") as step:
            for image_id in missing:
                hashes[image_id] = hash_of(read_image(image_id))
                step(len(hashes), len(missing))
        with units() as uow:
            uow.images.set_phash(hashes)
            uow.commit()
    return [
        replace(entry, image=replace(entry.image, phash=hashes.get(entry.image.id)))
        if entry.image.phash is None
        else entry
        for entry in entries
    ]


def _annotations(units: UnitsOfWork, uow: UnitOfWork) -> Iterator[SnapshotEntry]:
    for beside, annotation in _with_units(units, uow.annotations.latest()):
        yield _annotated(beside, annotation)


def _first_answers(units: UnitsOfWork, uow: UnitOfWork) -> Iterator[SnapshotEntry]:
    for beside, image in _with_units(units, uow.images.gold()):
        annotation = beside.annotations.latest_of(image.id)
        if annotation is not None:
            yield _annotated(beside, annotation)
    for beside, (image_id, correction) in _with_units(units, uow.corrections.latest()):
        image = beside.images.get(image_id)
        if not image.gold:
            yield SnapshotEntry(
                image=image,
                annotation_id=correction.id,
                version=_FIRST_ANSWER_VERSION,
                source=_FIRST_ANSWER_SOURCE,
                boxes=correction.boxes,
                reviewers=(correction.reviewer,),
                prediction=beside.predictions.get(correction.prediction_id),
            )


def _with_units(units: UnitsOfWork, items: Iterable[Item]) -> Iterator[tuple[UnitOfWork, Item]]:
    """Each of ``items`` with a unit of work to look up what belongs to it: a new one now and then,
    since a unit of work remembers all that was read in it."""
    left = iter(items)
    while some := list(islice(left, _LOOKED_UP_IN_A_UNIT)):
        with units() as uow:
            for item in some:
                yield uow, item


def _annotated(uow: UnitOfWork, annotation: Annotation) -> SnapshotEntry:
    prediction = None
    if annotation.case_id is not None:
        prediction = uow.predictions.get(uow.cases.get(annotation.case_id).prediction_id)
    return SnapshotEntry(
        image=uow.images.get(annotation.image_id),
        annotation_id=annotation.id,
        version=annotation.version,
        source=annotation.source.value,
        boxes=annotation.boxes,
        reviewers=annotation.reviewers,
        prediction=prediction,
    )


def _created(manifest: Manifest, actor: Actor, began: str) -> Event:
    shards = (*manifest.image_shards, *manifest.annotation_shards)
    listed = [{"path": shard.path, "sha256": shard.sha256} for shard in shards[:_LISTED_SHARDS]]
    return Event(
        type="snapshot.created",
        actor=actor,
        subject={"snapshot_sha256": manifest.sha256, "labels": manifest.labels.value},
        details={
            "counts": dict(manifest.counts),
            "shards": listed,
            "unlisted_shards": len(shards) - len(listed),
        },
        outputs={"snapshot": manifest.sha256, "dataset_root": manifest.dataset_root},
        started=began,
    )


if __name__ == "__main__":
    sys.exit(run_stage(main, "data_collection"))
