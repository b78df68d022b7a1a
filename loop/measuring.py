"""Looks again, with a promoted model, at cases that people settled before it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from loop.access import Permission, require
from loop.agreement import AgreementSettings, LabelledBox, compare
from loop.corrections import FinalBox
from loop.errors import Conflict, LoopError, NotFound
from loop.events import Actor, Event, now
from loop.impact import Change, ChangedCase, Impact, Settled, promoted_at
from loop.ports import ImageStore, UnitsOfWork
from loop.predictions import Detection, ModelRef
from loop.promotions import Promotion, PromotionState

# Enough to see what changed, and few enough for a service to look at in a minute or two.
MOST_CASES = 200

# What the model in service sees on an image, and which model that is.
Detect = Callable[[bytes], tuple[ModelRef, Sequence[Detection]]]


def measure(
    units: UnitsOfWork,
    images: ImageStore,
    detect: Detect,
    promotion_id: str,
    *,
    actor: Actor,
    settings: AgreementSettings,
    most: int = MOST_CASES,
) -> Generator[tuple[int, int], None, Impact]:
    """Measure the impact of a promotion, store it and return it; yields (cases done, cases).

    A case counts as right where the model agrees with the annotation, as `compare` sees it.
    Raises `NotAllowed`, `NotFound` for no such promotion, and `Conflict` if it did not go through
    or another model is in service: nothing is stored then.
    """
    require(actor, Permission.SEE_PROGRESS)
    with units() as uow:
        promotion = _went_through(uow.promotions.list(), promotion_id)
        model = promotion.candidate
        settled = uow.impacts.settled_before(promoted_at(promotion), not_by=model, limit=most)
    cases: list[ChangedCase] = []
    for each in settled:
        yield len(cases), len(settled)
        served, detections = detect(images.get(each.prediction.image_id))
        _check(served, model)
        cases.append(_changed(each, tuple(detections), settings))
    yield len(cases), len(settled)
    impact = Impact(promotion.id, model, now(), tuple(cases))
    with units() as uow:
        uow.impacts.save(impact)
        uow.record(
            Event(
                type="impact.measured",
                actor=actor,
                subject={"promotion_id": promotion.id, "model": model.as_dict()},
                details={change.value: count for change, count in impact.counts.items()},
            )
        )
        uow.commit()
    return impact


def agrees(
    detections: Sequence[Detection], boxes: Sequence[FinalBox], settings: AgreementSettings
) -> bool:
    """Whether ``detections`` would not have sent a first answer of ``boxes`` to a second person."""
    left = [LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in detections]
    right = [LabelledBox(b.id, b.box, b.class_id) for b in boxes]
    try:
        return not compare(left, right, settings).reasons
    except (LoopError, ArithmeticError, ValueError):
        return False  # as in review: what cannot be compared is not taken to agree


def _went_through(promotions: Sequence[Promotion], promotion_id: str) -> Promotion:
    found = next((each for each in promotions if each.id == promotion_id), None)
    if found is None:
        raise NotFound(f"There is no promotion {promotion_id}.")
    if found.state is not PromotionState.PROMOTED:
        raise Conflict(
            f"Version {found.candidate.version} is {found.state}, not promoted.",
            hint="Only what is in service can be measured.",
        )
    return found


def _check(served: ModelRef, wanted: ModelRef) -> None:
    if served != wanted:
        raise Conflict(
            f"Version {served.version} of {served.name} is in service, and not {wanted.version}.",
            hint="Past cases can be looked at again only while the model itself is in service.",
        )


def _changed(
    settled: Settled, detections: tuple[Detection, ...], settings: AgreementSettings
) -> ChangedCase:
    prediction, annotation = settled.prediction, settled.annotation
    return ChangedCase(
        case_id=annotation.case_id or "",
        image_id=annotation.image_id,
        prediction_id=prediction.id,
        annotation_id=annotation.id,
        settled_at=annotation.created_at,
        reviewers=annotation.reviewers,
        change=Change.of(
            right_before=agrees(prediction.detections, annotation.boxes, settings),
            right_now=agrees(detections, annotation.boxes, settings),
        ),
        detections=detections,
    )
