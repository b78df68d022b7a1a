"""What a person is shown of a case. Blindness is decided here, and nowhere further out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from loop.agreement import Agreement, AgreementSettings
from loop.cases import Annotation, Case, CaseState, SecondReview
from loop.corrections import Correction, FinalBox
from loop.drafts import Draft
from loop.events import Actor, Event
from loop.grouping import Group, groups_of
from loop.images import Image
from loop.leases import Lease
from loop.ports import UnitOfWork
from loop.predictions import Prediction
from loop.settling import Layers


class Phase(StrEnum):
    FIRST = "first"  # the model's detections, to be corrected
    BLIND = "blind"  # the image alone
    SETTLE = "settle"  # model, first answer and one's own blind boxes
    DONE = "done"  # everything, to read


class Picked(StrEnum):
    """How a case came to somebody."""

    ORDER = "order"
    RANDOM = "random"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """Why a case cannot be worked on: ``code`` is that of an error, ``text`` is for people."""

    code: str
    text: str
    can_take_over: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A case as this person may see it now; ``lease`` is None where it is read-only.

    ``annotation`` is the truth that came out (DONE), or the one that a reopened case starts from
    (FIRST). ``blind`` are this person's own sealed boxes, or in DONE those of whoever settled it.
    """

    case: Case
    image: Image
    phase: Phase
    picked: Picked
    lease: Lease | None = None
    refusal: ReadOnly | None = None
    prediction: Prediction | None = None
    correction: Correction | None = None
    agreement: Agreement | None = None
    blind: tuple[FinalBox, ...] | None = None
    groups: tuple[Group, ...] = ()
    second_review: SecondReview | None = None
    annotation: Annotation | None = None
    draft: Draft | None = None
    recovered: tuple[Draft, ...] = ()


def phase_of(uow: UnitOfWork, case: Case, person: str) -> Phase:
    """What ``person`` gets to see of the case by now."""
    if case.state in (CaseState.FIRST, CaseState.REOPENED):
        return Phase.FIRST
    if case.state is CaseState.SETTLED or case.first_reviewer == person:
        return Phase.DONE
    sealed = uow.blind_reviews.find(case.id, person)
    return Phase.BLIND if sealed is None else Phase.SETTLE


def refusal_to_work(uow: UnitOfWork, case: Case, person: str) -> ReadOnly:
    """Why nobody may work on a case that is `Phase.DONE` for ``person``."""
    if case.state is CaseState.SECOND:
        return ReadOnly("own_case", "You gave the first answer. Another person settles this case.")
    if _would_unblind(uow, case, person):
        return ReadOnly(
            "blind", "This image waits for a blind second look. Until then its answers stay closed."
        )
    return ReadOnly("case_done", "This case is settled.")


def view(
    uow: UnitOfWork,
    case: Case,
    person: str,
    *,
    picked: Picked,
    lease: Lease | None,
    refusal: ReadOnly | None,
    settings: AgreementSettings,
) -> Opened:
    """The case as ``person`` may see it; ``refusal`` says why not to work on it."""
    phase = phase_of(uow, case, person)
    opened = Opened(
        case=case,
        image=uow.images.get(case.image_id),
        phase=phase,
        picked=picked,
        lease=lease,
        refusal=refusal,
    )
    if phase is Phase.BLIND:
        # The classes and the number say what others saw.
        opened = replace(opened, case=replace(case, classes=(), disagreement=0.0))
    elif phase is Phase.FIRST:
        current = uow.annotations.latest_of(case.image_id) if case.reopens else None
        prediction = uow.predictions.get(case.prediction_id)
        opened = replace(opened, prediction=prediction, annotation=current)
    elif phase is Phase.SETTLE:
        opened = _with_layers(uow, opened, person, settings)
    elif refusal is None or refusal.code != "blind":
        opened = _with_all(uow, opened)
    return _with_drafts(uow, opened, person)


def opened_event(opened: Opened, actor: Actor) -> Event:
    """The record of what was shown, and to whom."""
    subject = {"image_id": opened.image.id, "review_id": opened.case.id}
    shown = {
        "prediction_id": opened.prediction,
        "correction_id": opened.correction,
        "second_review_id": opened.second_review,
        "annotation_id": opened.annotation,
    }
    subject |= {name: each.id for name, each in shown.items() if each is not None}
    details = {
        "phase": opened.phase.value,
        "work": opened.case.state.value,
        "picked": opened.picked.value,
        "read_only": opened.refusal.code if opened.refusal else None,
    }
    return Event("case.opened", actor, subject, details)


def _would_unblind(uow: UnitOfWork, case: Case, person: str) -> bool:
    """Whether the image waits, in another case, for a second look that ``person`` may be asked
    for, and has not yet taken blind."""
    return any(
        other.state is CaseState.SECOND
        and other.first_reviewer != person
        and uow.blind_reviews.find(other.id, person) is None
        for other in uow.cases.open_of_image(case.image_id)
    )


def _with_layers(
    uow: UnitOfWork, opened: Opened, person: str, settings: AgreementSettings
) -> Opened:
    opened = _with_answers(uow, opened)
    sealed = uow.blind_reviews.find(opened.case.id, person)
    if sealed is None or opened.prediction is None or opened.correction is None:
        return opened
    layers = Layers(opened.prediction.detections, opened.correction.boxes, sealed.boxes)
    groups = groups_of(layers, settings, uow.classes.get())
    return replace(opened, blind=sealed.boxes, groups=groups)


def _with_all(uow: UnitOfWork, opened: Opened) -> Opened:
    """Everything, once it is settled. Before that, the first reviewer's own answer."""
    opened = _with_answers(uow, opened)
    if opened.case.is_open:
        return opened
    review = uow.second_reviews.of_case(opened.case.id)
    return replace(
        opened,
        second_review=review,
        blind=review.blind if review else None,
        annotation=uow.annotations.of_case(opened.case.id),
    )


def _with_answers(uow: UnitOfWork, opened: Opened) -> Opened:
    case = opened.case
    return replace(
        opened,
        prediction=uow.predictions.get(case.prediction_id),
        correction=uow.corrections.of_case(case.id),
        agreement=uow.corrections.agreement_of(case.id),
    )


def _with_drafts(uow: UnitOfWork, opened: Opened, person: str) -> Opened:
    """This person's own, of this phase: a draft of a first answer would end the blindness."""
    phase = opened.phase
    live = uow.drafts.live(opened.case.id, person)
    recovered = uow.drafts.recovered(opened.case.id, person)
    if phase is Phase.DONE:
        withheld = opened.refusal is not None and opened.refusal.code == "blind"
        lost = [replace(live, recovered=True)] if live else []
        return opened if withheld else replace(opened, recovered=(*lost, *recovered))
    return replace(
        opened,
        draft=live if live and live.phase == phase else None,
        recovered=tuple(each for each in recovered if each.phase == phase),
    )
