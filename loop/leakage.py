"""Images that tell a model what the gold set shows: found when they come in.

They are near-duplicates (`loop.near_duplicates`) and images of the same subject. A training image
that is kin to a gold one is kept, noted in the record, and excluded from every split. A gold image
that is kin to what was trained on would make the measurement of models worthless, and is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loop.errors import Conflict
from loop.images import Image
from loop.near_duplicates import DEFAULT_DISTANCE
from loop.ports import UnitOfWork

# An event says how many there are and names the first ones.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Kin:
    """Images that show what another one shows, each list by id."""

    near_duplicates: tuple[Image, ...] = ()
    same_subject: tuple[Image, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.near_duplicates or self.same_subject)

    def as_dict(self) -> dict[str, Any]:
        """For an event: numbers, and the first ids."""
        return {
            "near_duplicates": len(self.near_duplicates),
            "same_subject": len(self.same_subject),
            "image_ids": [image.id for image in self.all[:_NAMED]],
        }

    @property
    def all(self) -> list[Image]:
        images = {image.id: image for image in (*self.near_duplicates, *self.same_subject)}
        return list(images.values())


def gold_kin(uow: UnitOfWork, image: Image) -> Kin:
    """Gold images because of which ``image`` is not trained on."""
    subject = [other for other in uow.images.of_subject(image.subject) if other.gold]
    return _kin(image, uow.images.near(image.phash or "", DEFAULT_DISTANCE, gold=True), subject)


def refuse_known(
    uow: UnitOfWork, images: Sequence[Image], *, allow_trained: bool = False
) -> list[Kin]:
    """Check that no model can know ``images``, which are to become gold together.

    Returns, for each of them, the images that are not trained on any more because of it. Raises
    `Conflict`, unless ``allow_trained``, for one that is frozen into a snapshot outside the gold
    set, of whose subject an image is, or of which a near-duplicate was annotated for training.
    """
    frozen_at = max((record.created_at for record in uow.snapshots.list()), default="")
    together = {image.id for image in images}
    found = []
    for image in images:
        kin = _training_kin(uow, image, together)
        found.append(kin)
        if not allow_trained:
            _refuse(uow, image, kin, frozen_at)
    return found


def _refuse(uow: UnitOfWork, image: Image, kin: Kin, frozen_at: str) -> None:
    answered = uow.images.answered_at([image.id, *(other.id for other in kin.all)])
    frozen = {image_id for image_id, at in answered.items() if at <= frozen_at}
    name = f"Image {image.id[:12]}"
    if image.id in frozen:
        raise _known(f"{name} is in a snapshot outside the gold set: a model may know it.")
    near = _first(kin.near_duplicates, answered)
    if near is not None:
        raise _known(f"{name} shows the same as image {near.id[:12]}, annotated for training.")
    same = _first(kin.same_subject, frozen)
    if same is not None:
        raise _known(
            f"{name} is of the same subject as image {same.id[:12]}, which is in a snapshot: a "
            "model may know the subject."
        )


def _training_kin(uow: UnitOfWork, image: Image, together: Collection[str]) -> Kin:
    near = uow.images.near(image.phash or "", DEFAULT_DISTANCE, gold=False)
    subject = [other for other in uow.images.of_subject(image.subject) if not other.gold]
    return _kin(
        image,
        (other for other in near if other.id not in together),
        (other for other in subject if other.id not in together),
    )


def _kin(image: Image, near: Iterable[Image], subject: Iterable[Image]) -> Kin:
    return Kin(
        tuple(other for other in near if other.id != image.id),
        tuple(other for other in subject if other.id != image.id),
    )


def _first(images: Iterable[Image], chosen: Collection[str]) -> Image | None:
    return next((image for image in images if image.id in chosen), None)


def _known(message: str) -> Conflict:
    return Conflict(
        message,
        hint="Measured on it, that model would look better than it is. Take other images, or give "
        "--allow-trained if no model that matters has seen it; the record says so.",
        code="known_to_models",
    )
