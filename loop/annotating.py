"""From an answer to an annotation: what first and second review have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loop.cases import Annotation, Case, CaseState, Source
from loop.corrections import FinalBox, Origin, check_boxes, digest_of_boxes
from loop.errors import InvalidAnswer
from loop.events import Event, new_id, now
from loop.images import Image
from loop.ports import UnitOfWork


def settle(
    uow: UnitOfWork,
    case: Case,
    boxes: Sequence[FinalBox],
    source: Source,
    earlier_reviewers: Sequence[str],
    cause: Event,
) -> Annotation:
    """Make ``boxes`` the image's next annotation; ``cause`` is the event of the answer."""
    before = uow.annotations.latest_of(case.image_id)
    annotation = Annotation(
        id=new_id(),
        image_id=case.image_id,
        version=before.version + 1 if before else 1,
        case_id=case.id,
        source=source,
        boxes=tuple(boxes),
        reviewers=(*earlier_reviewers, cause.actor.pseudonym),
        created_at=now(),
    )
    uow.annotations.add(annotation)
    uow.cases.move(replace(case, state=CaseState.SETTLED), expected=case.state)
    uow.leases.forget(case.id)
    uow.record(
        Event(
            type="annotation.settled",
            actor=cause.actor,
            subject={
                "image_id": case.image_id,
                "review_id": case.id,
                "annotation_id": annotation.id,
                "boxes_sha256": digest_of_boxes(boxes),
            },
            details={
                "boxes": len(boxes),
                "source": source.value,
                "version": annotation.version,
            },
            cause=cause.id,
        )
    )
    return annotation


def classes_of(case: Case, boxes: Sequence[FinalBox]) -> tuple[int, ...]:
    """The case's classes, and those of ``boxes``."""
    return tuple(sorted({*case.classes, *(box.class_id for box in boxes)}))


def check_classes(uow: UnitOfWork, boxes: Sequence[FinalBox]) -> None:
    """Raise `InvalidAnswer` for a class that does not exist."""
    classes = uow.classes.get()
    for box in boxes:
        if box.class_id >= len(classes):
            raise InvalidAnswer(
                f"Box {box.id} has class {box.class_id}, which does not exist.",
                hint=f"Classes are 0 to {len(classes) - 1}: {', '.join(classes)}.",
            )


def check_blind(uow: UnitOfWork, boxes: Sequence[FinalBox], image: Image) -> None:
    """Raise `InvalidAnswer` unless these may have been drawn on the image alone."""
    check_boxes(boxes, image.width, image.height)
    check_classes(uow, boxes)
    if any(box.origin is not Origin.ADDED or box.lineage for box in boxes):
        raise InvalidAnswer("A blind box cannot come from a detection, which was not shown.")
