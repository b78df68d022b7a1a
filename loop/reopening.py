"""A settled case is looked at again, as a new case: what was settled stays as it is."""

from __future__ import annotations

import random
from dataclasses import replace

from loop.access import Permission, require
from loop.cases import Case, CaseState
from loop.errors import Conflict, InvalidInput
from loop.events import Actor, Event, new_id, now
from loop.ports import UnitsOfWork

_draw = random.SystemRandom().random


def reopen(units: UnitsOfWork, case_id: str, reason: str, *, actor: Actor) -> Case:
    """The new case: about the same image and prediction, from the current annotation on.

    Raises `NotAllowed`; `Conflict` if the case is not settled, its image has an open case, or it
    is frozen into the gold set.
    """
    require(actor, Permission.REVIEW)
    if not reason.strip():
        raise InvalidInput("Reopening a case needs a reason.", hint="Say what is wrong with it.")
    with units() as uow:
        uow.lock()
        settled = uow.cases.get(case_id)
        if settled.is_open:
            raise Conflict("This case is not settled yet.", hint="Open it as it is.")
        if uow.images.get(settled.image_id).gold:
            raise Conflict("This image belongs to the frozen gold set.")
        if uow.cases.open_of_image(settled.image_id):
            raise Conflict(
                "This image waits for review already.", hint="Its next annotation is on its way."
            )
        case = replace(
            settled,
            id=new_id(),
            state=CaseState.REOPENED,
            reasons=("reopened",),
            created_at=now(),
            shuffle=_draw(),
            first_reviewer=None,
            reopens=settled.id,
        )
        uow.cases.add(case)
        current = uow.annotations.latest_of(case.image_id)
        uow.record(
            Event(
                type="case.reopened",
                actor=actor,
                subject={
                    "image_id": case.image_id,
                    "review_id": case.id,
                    "reopens": settled.id,
                    "annotation_id": current.id if current else None,
                },
                details={"version": current.version if current else 0},
                reason=reason,
            )
        )
        uow.commit()
    return case
