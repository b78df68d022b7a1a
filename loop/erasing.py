"""Erasing an image (GDPR Art. 17), and what still holds it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from loop.access import Permission, require
from loop.erased import Erased
from loop.errors import InvalidInput, NotFound
from loop.events import Actor, Event, Outcome
from loop.ports import ImageStore, UnitOfWork, UnitsOfWork

# What holds the image or something of it, and is out of reach here.
ELSEWHERE = (
    "weights that were trained on it, and their exports",
    "pictures of errors and detections on gold images, in the MLflow runs of trainings",
    "exports of the data set that were made before",
    "backups of the home, of the database and of DVC's storage",
)


class Basis(StrEnum):
    """Why an image is erased."""

    REQUEST = "request"  # of the person it shows, or of whoever is responsible
    RETENTION = "retention"  # its time is over


@dataclass(frozen=True, slots=True)
class Erasure:
    """``snapshots`` are the digests of those that were made after the image was answered, and may
    hold it; ``was_gold`` says that the frozen gold set is another one now."""

    image_id: str
    gone: Erased
    snapshots: tuple[str, ...]
    was_gold: bool

    def as_dict(self) -> dict[str, Any]:
        return {
            "image_id": self.image_id,
            "gone": self.gone.as_dict(),
            "snapshots": list(self.snapshots),
            "was_gold": self.was_gold,
        }


def erase_image(
    units: UnitsOfWork,
    images: ImageStore,
    image_id: str,
    *,
    actor: Actor,
    reason: str,
    basis: Basis = Basis.REQUEST,
) -> Erasure:
    """Delete the bytes of an image and every row about it, and the salt with which the log could
    be asked about it. One that was interrupted is repeated.

    Raises `NotAllowed`, `InvalidInput` without a reason, `NotFound`.
    """
    require(actor, Permission.ERASE)
    if not reason.strip():
        raise InvalidInput("An erasure needs a reason.", hint='Add --reason "…".')
    with units() as uow:
        image = uow.images.get(image_id)
        snapshots = _may_hold(uow, image_id)
        uow.record(_event(image_id, Erased(), snapshots, actor, reason, basis, Outcome.INTENDED))
        uow.commit()
    images.delete(image_id)  # before the row: who repeats this must find the image
    with units() as uow:
        uow.lock()
        gone = uow.images.erase(image_id)
        uow.record(_event(image_id, gone, snapshots, actor, reason, basis, Outcome.DONE))
        uow.image_salts.erase(image_id)  # last: the event above is sealed with it
        uow.sealed_texts.erase(image_id)
        uow.commit()
    return Erasure(image_id, gone, snapshots, image.gold)


def images_of(units: UnitsOfWork, subject: str) -> list[str]:
    """The ids of a subject's images. Raises `NotFound` if there are none."""
    with units() as uow:
        found = [image.id for image in uow.images.of_subject(subject)]
    if not found:
        raise NotFound(
            f"There is no image of the subject {subject}.",
            hint="Give the pseudonym, or --name with what the subject is called elsewhere.",
        )
    return found


def _may_hold(uow: UnitOfWork, image_id: str) -> tuple[str, ...]:
    answered = uow.images.answered_at([image_id])
    since = answered.get(image_id)
    if since is None:
        return ()
    return tuple(each.sha256 for each in uow.snapshots.list() if each.created_at >= since)


def _event(
    image_id: str,
    gone: Erased,
    snapshots: tuple[str, ...],
    actor: Actor,
    reason: str,
    basis: Basis,
    outcome: Outcome,
) -> Event:
    details: Mapping[str, Any] = {
        **gone.as_dict(),
        "snapshots": len(snapshots),
        "basis": basis.value,
    }
    return Event(
        type="image.erased",
        actor=actor,
        subject={"image_id": image_id},
        details=details,
        reason=reason,
        outcome=outcome,
    )
