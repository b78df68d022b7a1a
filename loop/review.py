"""Two people look: the first corrects the model, the second settles what they disagree on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from loop.access import Permission, require
from loop.agreement import Agreement, AgreementSettings, Reason, compare_with_model
from loop.annotating import check_blind, check_classes, classes_of, settle
from loop.cases import Annotation, Case, CaseState, SecondReview, Source
from loop.corrections import (
    Correction,
    Dropped,
    FinalBox,
    check_boxes,
    check_origins,
    digest_of_boxes,
)
from loop.errors import CaseDone, Conflict, InvalidAnswer, OwnCase
from loop.events import Actor, Event, new_id, now
from loop.holding import refuse_if_held
from loop.ports import UnitOfWork, UnitsOfWork


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first reviewer hands in: every final box, and every detection that was rejected.

    ``bulk_accepted`` is how many detections were accepted in one go, and not one by one.
    """

    boxes: tuple[FinalBox, ...]
    rejected: tuple[str, ...] = ()
    no_finding: bool = False
    comment: str = ""
    active_seconds: float = 0.0
    escalate: bool = False
    bulk_accepted: int = 0


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

    For whoever answers without opening the case at the desk. Raises `NotAllowed`, `CaseDone` if
    it is answered already, `HeldByOther` while somebody else works on it, `InvalidAnswer` if a
    detection is unaccounted for or a class or box does not exist.
    """
    require(actor, Permission.REVIEW)
    with units() as uow:
        case = uow.cases.get(case_id)
        check_waits_for_first(case)
        refuse_if_held(uow, case_id, person=actor.pseudonym, at=now())
        outcome = answer_first(uow, case, answer, actor=actor, settings=settings)
        uow.commit()
    return outcome


def check_waits_for_first(case: Case) -> None:
    if case.state not in (CaseState.FIRST, CaseState.REOPENED):
        raise CaseDone("This case has its first answer already.", hint="Take the next case.")


def answer_first(
    uow: UnitOfWork, case: Case, answer: FirstAnswer, *, actor: Actor, settings: AgreementSettings
) -> FirstOutcome:
    """What `submit_first` does, in the unit of work of whoever calls."""
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
    check_classes(uow, answer.boxes)
    agreement = compare_with_model(prediction, correction, settings)
    asked = {
        Reason.ESCALATED: answer.escalate,
        Reason.REOPENED: case.state is CaseState.REOPENED,  # one person does not overrule two
    }
    reasons = (*agreement.reasons, *(reason for reason, given in asked.items() if given))
    agreement = replace(agreement, reasons=reasons)
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
            "bulk_accepted": answer.bulk_accepted,
            "second_review": [reason.value for reason in agreement.reasons],
        },
        decision="second_review" if agreement.needs_second_review else "settled",
        reason=answer.comment,
    )
    uow.record(submitted)
    answered = replace(
        case,
        first_reviewer=actor.pseudonym,
        disagreement=agreement.disagreement,
        classes=classes_of(case, answer.boxes),
    )
    annotation = None
    if agreement.needs_second_review:
        codes = tuple(reason.value for reason in agreement.reasons)
        moved = replace(answered, state=CaseState.SECOND, reasons=codes)
        uow.cases.move(moved, expected=case.state)
    else:
        annotation = settle(uow, answered, answer.boxes, Source.FIRST, (), submitted)
    return FirstOutcome(correction, agreement, annotation)


@dataclass(frozen=True, slots=True)
class SecondAnswer:
    """What the second reviewer hands in: boxes drawn blind, and the final ones after seeing all.

    ``reason`` is a code for why the final boxes are what they are; ``opened_at`` is when the
    others' boxes were shown, empty where that is not known.
    """

    blind: tuple[FinalBox, ...]
    final: tuple[FinalBox, ...]
    reason: str
    comment: str = ""
    active_seconds: float = 0.0
    dropped: tuple[Dropped, ...] = ()
    opened_at: str = ""


def submit_second(
    units: UnitsOfWork, case_id: str, answer: SecondAnswer, *, actor: Actor
) -> Annotation:
    """Store the second answer and settle the case with it. The first answer stays as it is.

    For whoever answers without opening the case at the desk. Raises `NotAllowed`, `OwnCase` to
    the person who gave the first answer, `CaseDone` if the case is not waiting for a second
    review, `HeldByOther`, `InvalidAnswer` for a box, class or origin that is not true.
    """
    require(actor, Permission.ADJUDICATE)
    with units() as uow:
        case = uow.cases.get(case_id)
        check_waits_for_second(case, actor)
        refuse_if_held(uow, case_id, person=actor.pseudonym, at=now())
        annotation = answer_second(uow, case, answer, actor=actor)
        uow.commit()
    return annotation


def check_waits_for_second(case: Case, actor: Actor) -> None:
    if case.state is not CaseState.SECOND:
        raise CaseDone("This case does not wait for a second review.", hint="Take the next case.")
    if case.first_reviewer == actor.pseudonym:
        raise OwnCase(
            "You gave the first answer to this case.", hint="Another person must settle it."
        )


def answer_second(uow: UnitOfWork, case: Case, answer: SecondAnswer, *, actor: Actor) -> Annotation:
    """What `submit_second` does, in the unit of work of whoever calls."""
    if not answer.reason:
        raise InvalidAnswer("A second review needs a reason code.")
    first = uow.corrections.of_case(case.id)
    if first is None:
        raise Conflict("This case has no first answer yet.")
    image = uow.images.get(case.image_id)
    check_blind(uow, answer.blind, image)
    check_boxes(answer.final, image.width, image.height)
    check_classes(uow, answer.final)
    check_origins(answer.final, uow.predictions.get(case.prediction_id))
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
        dropped=answer.dropped,
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
        decision=answer.reason,
        reason=answer.comment,
        started=answer.opened_at,
    )
    uow.record(submitted)
    settled = replace(case, classes=classes_of(case, answer.final))
    return settle(uow, settled, answer.final, Source.SECOND, (first.reviewer,), submitted)
