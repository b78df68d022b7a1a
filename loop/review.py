"""Two people look: the first corrects the model, the second settles what they disagree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loop.agreement import Agreement, AgreementSettings, Reason, compare_with_model
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.corrections import (
    Correction,
    FinalBox,
    Origin,
    check_boxes,
    check_origins,
    digest_of_boxes,
)
from loop.errors import Conflict, InvalidAnswer, OwnCase
from loop.events import Actor, Event, new_id, now
from loop.ports import UnitOfWork, UnitsOfWork


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first reviewer hands in: every final box, and every detection that was rejected."""

    boxes: tuple[FinalBox, ...]
    rejected: tuple[str, ...] = ()
    no_finding: bool = False
    comment: str = ""
    active_seconds: float = 0.0
    escalate: bool = False


@dataclass(frozen=True, slots=True)
class FirstOutcome:
    correction: Correction
    agreement: Agreement
    annotation: Annotation | None  # None: a second reviewer is asked


def submit_first(
    units: UnitsOfWork,
    case_id: str,
    answer: FirstAnswer,
    *,
    actor: Actor,
    settings: AgreementSettings,
) -> FirstOutcome:
    """Store the first answer; settle the case, or send it to a second reviewer and say why.

    Raises `Conflict` if the case is answered already, `InvalidAnswer` if a detection is
    unaccounted for or a class or box does not exist.
    """
    with units() as uow:
        case = uow.cases.get(case_id)
        if case.state is not CaseState.FIRST:
            raise Conflict("This case has its first answer already.", hint="Take the next case.")
        image = uow.images.get(case.image_id)
        prediction = uow.predictions.get(case.prediction_id)
        correction = Correction(
            id=new_id(),
            case_id=case.id,
            prediction_id=prediction.id,
            reviewer=actor.pseudonym,
            boxes=answer.boxes,
            rejected=answer.rejected,
            no_finding=answer.no_finding,
            comment=answer.comment,
            active_seconds=answer.active_seconds,
            created_at=now(),
        )
        correction.check_against(prediction, image.width, image.height)
        _check_classes(uow, answer.boxes)
        agreement = compare_with_model(prediction, correction, settings)
        if answer.escalate:
            agreement = replace(agreement, reasons=(*agreement.reasons, Reason.ESCALATED))
        uow.corrections.add(correction, agreement)
        submitted = Event(
            type="correction.submitted",
            actor=actor,
            subject={
                "image_id": image.id,
                "review_id": case.id,
                "prediction_id": prediction.id,
                "correction_id": correction.id,
                "boxes_sha256": digest_of_boxes(answer.boxes),
            },
            details={
                "boxes": len(answer.boxes),
                "rejected": len(answer.rejected),
                "no_finding": answer.no_finding,
                "active_seconds": answer.active_seconds,
                "second_review": [reason.value for reason in agreement.reasons],
            },
        )
        uow.record(submitted)
        annotation = None
        if agreement.needs_second_review:
            reasons = tuple(reason.value for reason in agreement.reasons)
            moved = replace(case, state=CaseState.SECOND, reasons=reasons)
            uow.cases.move(moved, expected=CaseState.FIRST)
        else:
            annotation = _settle(uow, case, answer.boxes, Source.FIRST, (), submitted)
        uow.commit()
    return FirstOutcome(correction, agreement, annotation)


@dataclass(frozen=True, slots=True)
class SecondAnswer:
    """What the second reviewer hands in: boxes drawn blind, and the final ones after seeing all.

    ``reason`` is a code for why the final boxes are what they are.
    """

    blind: tuple[FinalBox, ...]
    final: tuple[FinalBox, ...]
    reason: str
    comment: str = ""
    active_seconds: float = 0.0


def submit_second(
    units: UnitsOfWork, case_id: str, answer: SecondAnswer, *, actor: Actor
) -> Annotation:
    """Store the second answer and settle the case with it. The first answer stays as it is.

    Raises `OwnCase` to the person who gave the first answer, `Conflict` if the case is not
    waiting for a second review, `InvalidAnswer` for a box, class or origin that is not true.
    """
    if not answer.reason:
        raise InvalidAnswer("A second review needs a reason code.")
    with units() as uow:
        case = uow.cases.get(case_id)
        if case.state is not CaseState.SECOND:
            raise Conflict(
                "This case does not wait for a second review.", hint="Take the next case."
            )
        first = uow.corrections.of_case(case.id)
        if first is None:
            raise Conflict("This case has no first answer yet.")
        if first.reviewer == actor.pseudonym:
            raise OwnCase(
                "You gave the first answer to this case.", hint="Another person must settle it."
            )
        image = uow.images.get(case.image_id)
        for boxes in (answer.blind, answer.final):
            check_boxes(boxes, image.width, image.height)
            _check_classes(uow, boxes)
        check_origins(answer.final, uow.predictions.get(case.prediction_id))
        if any(box.origin is not Origin.ADDED for box in answer.blind):
            raise InvalidAnswer("A blind box cannot come from a detection, which was not shown.")
        review = SecondReview(
            id=new_id(),
            case_id=case.id,
            reviewer=actor.pseudonym,
            blind=answer.blind,
            final=answer.final,
            reason=answer.reason,
            comment=answer.comment,
            active_seconds=answer.active_seconds,
            created_at=now(),
        )
        uow.second_reviews.add(review)
        submitted = Event(
            type="second_review.submitted",
            actor=actor,
            subject={
                "image_id": image.id,
                "review_id": case.id,
                "correction_id": first.id,
                "second_review_id": review.id,
                "boxes_sha256": digest_of_boxes(answer.final),
            },
            details={
                "boxes": len(answer.final),
                "blind_boxes": len(answer.blind),
                "active_seconds": answer.active_seconds,
            },
            reason=answer.reason,
        )
        uow.record(submitted)
        annotation = _settle(uow, case, answer.final, Source.SECOND, (first.reviewer,), submitted)
        uow.commit()
    return annotation


def _settle(
    uow: UnitOfWork,
    case: Case,
    boxes: Sequence[FinalBox],
    source: Source,
    earlier_reviewers: Sequence[str],
    cause: Event,
) -> Annotation:
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


def _check_classes(uow: UnitOfWork, boxes: Sequence[FinalBox]) -> None:
    classes = uow.classes.get()
    for box in boxes:
        if box.class_id >= len(classes):
            raise InvalidAnswer(
                f"Box {box.id} has class {box.class_id}, which does not exist.",
                hint=f"Classes are 0 to {len(classes) - 1}: {', '.join(classes)}.",
            )
