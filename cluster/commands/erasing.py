"""``secondlook erase``: an image, or all images of a subject, and what was said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cluster.console import out, print_json
from cluster.context import JsonOption, settings_of
from loop.erasing import ELSEWHERE, Basis, Erasure, erase_image, images_of
from loop.events import Actor, Role
from loop.ports import UnitsOfWork
from loop.retention import cutoff
from store.image_store import open_image_store
from store.pseudonyms import open_subject_pseudonyms
from store.settings import Settings
from store.unit_of_work import open_units_of_work

group = typer.Typer(
    help="Erase an image, or all of a subject, and what was said of them.", no_args_is_help=True
)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record: no names.")]
ByOption = Annotated[
    str, typer.Option("--by", help="Who does it, by pseudonym. Default: SECONDLOOK_ACTOR.")
]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="erase")


@group.command()
def image(
    context: typer.Context,
    image_id: Annotated[str, typer.Argument(metavar="ID", help="The image's id, 64 hex digits.")],
    reason: ReasonOption,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Erase one image: its bytes, detections, answers and annotations. It does not come back."""
    settings = settings_of(context)
    _erase(settings, open_units_of_work(settings), [image_id], reason, by, json)


@group.command()
def subject(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="The subject's pseudonym, as images carry it.")],
    reason: ReasonOption,
    name: Annotated[
        bool, typer.Option("--name", help="SUBJECT is what clients call it, not its pseudonym.")
    ] = False,
    by: ByOption = "",
    json: JsonOption = False,
) -> None:
    """Erase all images of one subject."""
    settings = settings_of(context)
    units = open_units_of_work(settings)
    pseudonym = open_subject_pseudonyms(settings).of(subject) if name else subject
    _erase(settings, units, images_of(units, pseudonym), reason, by, json)


def erase_older_images(settings: Settings, units: UnitsOfWork, *, actor: Actor, reason: str) -> int:
    """Those that are past the operator's retention; how many."""
    days = settings.retention.image_days
    if not days:
        return 0
    with units() as uow:
        old = [image.id for image in uow.images.older_than(cutoff(days))]
    images = open_image_store(settings)
    for image_id in old:
        erase_image(units, images, image_id, actor=actor, reason=reason, basis=Basis.RETENTION)
    return len(old)


def _erase(
    settings: Settings,
    units: UnitsOfWork,
    image_ids: Sequence[str],
    reason: str,
    by: str,
    json: bool,
) -> None:
    images, actor = open_image_store(settings), settings.acting(Role.ADMIN, by)
    erased = [
        erase_image(units, images, image_id, actor=actor, reason=reason) for image_id in image_ids
    ]
    if json:
        print_json({"erased": [each.as_dict() for each in erased], "elsewhere": list(ELSEWHERE)})
        return
    for each in erased:
        _show(each)
    out.print("Out of reach from here, and for you to look after:")
    for what in ELSEWHERE:
        out.print(f"  - {what}", markup=False)


def _show(erased: Erasure) -> None:
    gone = ", ".join(f"{count} {kind}" for kind, count in erased.gone.as_dict().items() if count)
    out.print(f"Erased {erased.image_id}: its bytes{', ' + gone if gone else ''}.")
    if erased.was_gold:
        out.print("  It was gold: the gold set is another one now. Measure the champion again.")
    if erased.snapshots:
        out.print("  Snapshots that may hold it; the next one leaves it out, these stay until you")
        out.print("  delete them in their workspace (git, then dvc gc):")
        for digest in erased.snapshots:
            out.print(f"    {digest}")
