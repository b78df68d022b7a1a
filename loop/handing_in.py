"""What becomes of an answer that is handed in at the desk, in the unit of work of whoever calls."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from loop.agreement import AgreementSettings
from loop.annotating import check_blind
from loop.cases import Annotation, BlindReview, Case, Skip, Source
from loop.corrections import FinalBox, digest_of_boxes
from loop.drafts import Submission
from loop.errors import BrokenRecord, Conflict, InvalidInput
from loop.events import Actor, Event, now
from loop.ports import UnitOfWork
from loop.review import (
    FirstAnswer,
    FirstOutcome,
    SecondAnswer,
    answer_first,
    answer_second,
)
from loop.settling import Layers, SettledAnswer, check_settled

SKIP_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "unclear_image": "The image is unclear",
        "not_my_field": "Not my field",
        "needs_information": "More information is needed",
        "technical": "Something does not work",
        "other": "Another reason",
    }
)

_LONGEST_KEY = 64  # characters: what the column holds


def is_known(uow: UnitOfWork, key: str, kind: str, case_id: str, actor: Actor) -> bool:
    """Whether this very answer was handed in already. Raises `Conflict` if the key was for
    another one."""
    if not 0 < len(key) <= _LONGEST_KEY:
        raise InvalidInput("A submission needs a key of at most 64 characters.")
    found = uow.submissions.find(key)
    if found is None:
        return False
    if (found.kind, found.case_id, found.reviewer) != (kind, case_id, actor.pseudonym):
        raise Conflict(
            "This key belongs to another submission.", hint="Hand in again, with a new key."
        )
    return True


def first_outcome(uow: UnitOfWork, case_id: str) -> FirstOutcome:
    """What the first answer to the case came to when it was handed in."""
    correction, agreement = uow.corrections.of_case(case_id), uow.corrections.agreement_of(case_id)
    if correction is None or agreement is None:
        raise BrokenRecord(f"The first answer to case {case_id} is gone.")
    annotation = uow.annotations.of_case(case_id)
    settled_it = annotation is not None and annotation.source is Source.FIRST
    return FirstOutcome(correction, agreement, annotation if settled_it else None)


def annotation_of(uow: UnitOfWork, case_id: str) -> Annotation:
    annotation = uow.annotations.of_case(case_id)
    if annotation is None:
        raise BrokenRecord(f"The annotation of case {case_id} is gone.")
    return annotation


def first(
    uow: UnitOfWork,
    case: Case,
    answer: FirstAnswer,
    *,
    key: str,
    actor: Actor,
    settings: AgreementSettings,
) -> FirstOutcome:
    outcome = answer_first(uow, case, answer, actor=actor, settings=settings)
    _handed_in(uow, key, "first", case, actor)
    return outcome


def seal(
    uow: UnitOfWork,
    case: Case,
    boxes: tuple[FinalBox, ...],
    active_seconds: float,
    *,
    actor: Actor,
) -> BlindReview:
    """Seal the blind boxes; the same ones again are no change. Raises `Conflict` for others,
    `InvalidAnswer` for what cannot have been drawn on the image alone."""
    sealed = uow.blind_reviews.find(case.id, actor.pseudonym)
    if sealed is not None:
        if sealed.boxes != boxes:
            raise Conflict(
                "Your blind boxes are sealed and cannot change any more.",
                hint="Load the case again to see them beside the others.",
            )
        return sealed
    check_blind(uow, boxes, uow.images.get(case.image_id))
    sealed = BlindReview(case.id, actor.pseudonym, boxes, active_seconds, now())
    uow.blind_reviews.add(sealed)
    uow.record(
        Event(
            type="second_review.revealed",
            actor=actor,
            subject={
                "image_id": case.image_id,
                "review_id": case.id,
                "boxes_sha256": digest_of_boxes(boxes),
            },
            details={"blind_boxes": len(boxes), "active_seconds": active_seconds},
        )
    )
    _forget_draft(uow, case, actor)
    return sealed


def second(
    uow: UnitOfWork, case: Case, answer: SettledAnswer, *, key: str, actor: Actor
) -> Annotation:
    """Settle the case with the sealed blind boxes and ``answer``."""
    sealed = uow.blind_reviews.find(case.id, actor.pseudonym)
    correction = uow.corrections.of_case(case.id)
    if sealed is None or correction is None:
        raise Conflict(
            "Your blind boxes come first.", hint="Reveal the others' boxes, then settle the case."
        )
    prediction = uow.predictions.get(case.prediction_id)
    check_settled(answer, Layers(prediction.detections, correction.boxes, sealed.boxes))
    full = SecondAnswer(
        blind=sealed.boxes,
        final=answer.boxes,
        reason=answer.reason,
        comment=answer.comment,
        active_seconds=sealed.active_seconds + answer.active_seconds,
        dropped=answer.dropped,
        opened_at=sealed.created_at,
    )
    annotation = answer_second(uow, case, full, actor=actor)
    _handed_in(uow, key, "second", case, actor)
    return annotation


def skip(uow: UnitOfWork, case: Case, reason: str, *, actor: Actor) -> None:
    """Raises `InvalidInput` for a reason that is no code of `SKIP_REASONS`."""
    if reason not in SKIP_REASONS:
        raise InvalidInput(
            f"{reason!r} is no reason to skip.", hint=f"One of: {', '.join(SKIP_REASONS)}."
        )
    uow.skips.put(Skip(case.id, actor.pseudonym, reason, now()))
    uow.record(
        Event(
            type="case.skipped",
            actor=actor,
            subject={"image_id": case.image_id, "review_id": case.id},
            details={"work": case.state.value},
            reason=reason,
        )
    )


def _handed_in(uow: UnitOfWork, key: str, kind: str, case: Case, actor: Actor) -> None:
    uow.submissions.add(Submission(key, actor.pseudonym, case.id, kind, now()))
    _forget_draft(uow, case, actor)


def _forget_draft(uow: UnitOfWork, case: Case, actor: Actor) -> None:
    live = uow.drafts.live(case.id, actor.pseudonym)
    if live is not None:
        uow.drafts.delete(live.id)
