"""``secondlook gold``: the frozen gold set, which measures models and grows only by these."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.commands.data import (
    AllowTrainedOption,
    FormatOption,
    OnlyOption,
    SubjectOption,
    import_,
)
from cluster.console import out, print_json, print_table, when
from cluster.context import JsonOption, engineer, settings_of, settings_to_read
from cluster.importing import ImportAs
from loop.classes import ClassList
from loop.gold import GoldSet, read_gold
from loop.growing_gold import grow_gold
from loop.images import Image
from store.image_codec import hash_of
from store.image_store import open_image_store
from store.settings import Settings
from store.unit_of_work import open_units_of_work

group = typer.Typer(
    help="The frozen gold set: models are measured on it, none is trained on it.",
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="gold")


@group.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """Every gold image."""
    _, images, gold = _read(settings_to_read(context))
    boxes = {name: len(truth) for name, truth in zip(gold.image_ids, gold.truth, strict=True)}
    if json:
        print_json(
            [
                {
                    "image_id": image.id,
                    "subject": image.subject,
                    "source": image.source,
                    "width": image.width,
                    "height": image.height,
                    "boxes": boxes[image.id],
                    "created_at": image.created_at,
                }
                for image in images
            ]
        )
        return
    print_table(
        "Gold images",
        ["image", "subject", "source", "boxes", "came in"],
        [
            (image.id, image.subject, image.source, boxes[image.id], when(image.created_at))
            for image in images
        ],
    )


@group.command()
def show(context: typer.Context, json: JsonOption = False) -> None:
    """The set as a whole: its digest, by which promotions name it, and what it shows."""
    classes, images, gold = _read(settings_to_read(context))
    data = _summary(classes, images, gold)
    if json:
        print_json(data)
    else:
        out.print_json(data=data)


@group.command()
def add(
    context: typer.Context,
    image_ids: Annotated[
        list[str], typer.Argument(metavar="IMAGE_ID…", help="Ids of annotated images.")
    ],
    allow_trained: AllowTrainedOption = False,
    json: JsonOption = False,
) -> None:
    """Freeze annotated images into the gold set, for good: all of them or, if one cannot be, none.

    An image is refused if a model may know it: it, or an image of its subject, is in a snapshot
    outside the gold set, or a near-duplicate was annotated for training.
    """
    settings = settings_of(context)
    images = open_image_store(settings)
    growth = grow_gold(
        open_units_of_work(settings),
        image_ids,
        actor=engineer(settings),
        hash_of=lambda image_id: hash_of(images.get(image_id)),
        allow_trained=allow_trained,
    )
    if json:
        print_json(
            {
                "added": list(growth.added),
                "images_before": len(growth.before.image_ids),
                "images": len(growth.after.image_ids),
                "sha256_before": growth.before.sha256,
                "sha256": growth.after.sha256,
                "excluded_from_training": growth.excluded,
            }
        )
        return
    out.print(
        f"{len(growth.added)} images are new in the gold set, which now has "
        f"{len(growth.after.image_ids)} ({growth.after.sha256[:12]}).",
        highlight=False,
    )
    if growth.excluded:
        out.print(
            f"{growth.excluded} images of their subjects or near-duplicates of them are not "
            "trained on any more.",
            highlight=False,
        )


@group.command("import")
def import_gold(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The data set's folder (or COCO's JSON file).")],
    format: FormatOption,
    subject_pattern: SubjectOption = "",
    only: OnlyOption = None,
    allow_trained: AllowTrainedOption = False,
    json: JsonOption = False,
) -> None:
    """Bring in a data set as gold images: the same as `secondlook import --gold`."""
    import_(
        context,
        path,
        format,
        import_as=ImportAs.TRUTH,
        subject_pattern=subject_pattern,
        gold=True,
        only=only,
        allow_trained=allow_trained,
        json=json,
    )


def _read(settings: Settings) -> tuple[ClassList, list[Image], GoldSet]:
    with open_units_of_work(settings)() as uow:
        return uow.classes.get(), uow.images.gold(), read_gold(uow)


def _summary(classes: ClassList, images: list[Image], gold: GoldSet) -> dict[str, Any]:
    boxes = Counter(box.class_id for truth in gold.truth for box in truth)
    return {
        "sha256": gold.sha256,
        "images": len(images),
        "subjects": len({image.subject for image in images}),
        "negatives": sum(not truth for truth in gold.truth),
        "boxes_per_class": {name: boxes[index] for index, name in enumerate(classes)},
    }
