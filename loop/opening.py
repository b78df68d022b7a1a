"""Opens the commitments of the log (`loop.sealing`), for auditors, with what is kept beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from loop.errors import NotFound
from loop.events import Event
from loop.ports import UnitOfWork
from loop.sealing import commitment, opens
from loop.tracing import Reference

_SEALED = re.compile(r"hmac-sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class OpenedReason:
    """The words of a sealed reason. ``opens`` says whether the commitment in the log is to them:
    if not, they were changed beside it."""

    text: str
    opens: bool


def opened_reason(uow: UnitOfWork, event: Event) -> OpenedReason | None:
    """None for a reason that is not sealed, and for one that was erased."""
    if not is_sealed(event.reason):
        return None
    kept = uow.sealed_texts.find(event.id)
    salt = uow.image_salts.find(kept.image_id) if kept else None
    if kept is None or salt is None:
        return None
    return OpenedReason(kept.text, opens(event.reason, salt, "reason", kept.text))


def is_sealed(text: str) -> bool:
    """Whether it stands in the log as a commitment."""
    return _SEALED.fullmatch(text) is not None


def image_references(uow: UnitOfWork, image_id: str) -> list[Reference]:
    """By what events about an image are found: the commitment to its id, and the id itself, which
    events of version 1 have. Raises `NotFound` where nothing connects the image with the log."""
    if is_sealed(image_id):
        return [("image", image_id)]
    salt = uow.image_salts.find(image_id)
    if salt is not None:
        return [("image", commitment(salt, "image", image_id)), ("image", image_id)]
    if uow.images.find(image_id) is not None:
        return [("image", image_id)]
    raise NotFound(
        f"Nothing connects image {image_id[:12]} with the log.",
        hint="It was never here, or it was erased, and its salt with it: what the log says of it "
        "stays, and nobody can tell any more which entries those are.",
    )
