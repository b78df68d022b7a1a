"""The gold set grows: by images that are named one by one, and on the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from loop.access import Permission, require
from loop.errors import Conflict, InvalidInput
from loop.events import Actor, Event
from loop.gold import GoldSet, read_gold
from loop.images import Image
from loop.leakage import refuse_known
from loop.ports import UnitOfWork, UnitsOfWork


@dataclass(frozen=True, slots=True)
class Growth:
    """The gold set before and after; ``added`` are the ids that are new in it.

    ``excluded`` counts the images that are not trained on any more because of them; None where
    nobody counted.
    """

    before: GoldSet
    after: GoldSet
    added: tuple[str, ...]
    excluded: int | None


def grow_gold(
    units: UnitsOfWork,
    image_ids: Sequence[str],
    *,
    actor: Actor,
    hash_of: Callable[[str], str],
    allow_trained: bool = False,
) -> Growth:
    """Freeze annotated images into the gold set, all of them or none.

    Those that are in it already stay as they are. ``hash_of`` computes the perceptual hash of an
    image that has none yet. Raises `NotAllowed`, `NotFound`; `Conflict` for an image that is not
    annotated or under review, and as `loop.leakage.refuse_known` does.
    """
    require(actor, Permission.DECIDE)
    if not image_ids:
        raise InvalidInput("No image was named.", hint="Give the ids of annotated images.")
    with units() as uow:
        uow.lock()
        before = read_gold(uow)
        named = [uow.images.get(image_id) for image_id in dict.fromkeys(image_ids)]
        new = [_hashed(uow, image, hash_of) for image in named if not image.gold]
        for image in new:
            _require_settled(uow, image)
        kin = refuse_known(uow, new, allow_trained=allow_trained)
        excluded = {other.id for each in kin for other in each.all}
        if not new:
            return Growth(before, before, (), 0)
        uow.images.mark_gold([image.id for image in new])
        growth = Growth(before, read_gold(uow), tuple(image.id for image in new), len(excluded))
        uow.record(growth_event(growth, actor, allow_trained=allow_trained))
        uow.commit()
    return growth


def growth_event(
    growth: Growth, actor: Actor, *, allow_trained: bool, dataset: tuple[str, str] | None = None
) -> Event:
    """``dataset`` is what images came from that were not here before: its digest and name."""
    digest, name = dataset or (None, None)
    return Event(
        type="gold.grown",
        actor=actor,
        subject={"gold_sha256": growth.after.sha256, "dataset_id": digest},
        details={
            "before": {"sha256": growth.before.sha256, "images": len(growth.before.image_ids)},
            "after": {"sha256": growth.after.sha256, "images": len(growth.after.image_ids)},
            "added_image_ids": list(growth.added),
            "excluded_from_training": growth.excluded,
            "allow_trained": allow_trained,
        }
        | ({"source_name": name} if name else {}),
        outputs={"gold": growth.after.sha256},
    )


def _hashed(uow: UnitOfWork, image: Image, hash_of: Callable[[str], str]) -> Image:
    if image.phash is not None:
        return image
    phash = hash_of(image.id)
    uow.images.set_phash({image.id: phash})
    return replace(image, phash=phash)


def _require_settled(uow: UnitOfWork, image: Image) -> None:
    name = f"Image {image.id[:12]}"
    if uow.annotations.latest_of(image.id) is None:
        raise Conflict(
            f"{name} is not annotated: there would be nothing to measure a model against.",
            hint="Review it in the app, or import it with its boxes: secondlook gold import PATH",
        )
    if uow.cases.open_of_image(image.id):
        raise Conflict(
            f"{name} is under review, which would change its boxes.",
            hint="Settle its case in the app first.",
        )
