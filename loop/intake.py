"""Images come in: with a prediction to be corrected, or with boxes that are taken as true."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loop.access import Permission, require
from loop.boxes import Box
from loop.cases import Annotation, Case, CaseState, Source
from loop.corrections import FinalBox, Origin, check_boxes, digest_of_boxes
from loop.errors import Conflict, InvalidBox
from loop.events import Actor, Event, new_id, now
from loop.images import Image
from loop.leakage import Kin, gold_kin, refuse_known
from loop.ports import ImageStore, UnitOfWork, UnitsOfWork
from loop.predictions import Detection, ModelRef, Prediction

# From [0, 1): nobody shall guess, nor a seed repeat, which cases are drawn for a look at random.
_draw = random.SystemRandom().random


@dataclass(frozen=True, slots=True)
class NewImage:
    """A sanitised image on its way in. ``subject`` may be empty: the image is then a subject of
    its own, so that it can never leak into another's fold. ``phash`` is its
    `loop.perceptual_hash`; None leaves it to whoever makes the next snapshot."""

    data: bytes
    media_type: str
    width: int
    height: int
    subject: str = ""
    source: str = "upload"
    phash: str | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    image_id: str
    prediction_id: str
    review_id: str
    detections: tuple[Detection, ...]


def queue_image(
    units: UnitsOfWork,
    images: ImageStore,
    new: NewImage,
    *,
    model: ModelRef,
    detections: Sequence[Detection],
    actor: Actor,
    request_id: str = "",
) -> Queued:
    """Keep the image and its prediction, and put it into the first reviewers' queue.

    The same image and model again, while the first is still waiting for its first review, gives
    the case that is there. An image that shows what a gold one does is noted as such, and never
    trained on. Raises `NotAllowed`; `Conflict` for a gold image: its truth is not up for review;
    `InvalidBox` for a detection that reaches out of the image, which no one could accept.
    """
    require(actor, Permission.SUBMIT_IMAGES)
    for detection in detections:
        if not detection.box.inside(new.width, new.height):
            raise InvalidBox(
                f"Detection {detection.id} {detection.box.xyxy} reaches out of the "
                f"{new.width}x{new.height} image.",
                hint="Clip detections to the image.",
            )
    image_id = images.put(new.data)  # before the row: a row never points to missing bytes
    with units() as uow:
        image = _known_or_new(uow, image_id, new)
        if image.gold:
            raise Conflict(
                "This image belongs to the frozen gold set.",
                hint="POST /v1/detect shows its detections without storing anything.",
            )
        waiting = _waiting_case(uow, image_id, model)
        if waiting is not None:
            prediction = uow.predictions.get(waiting.prediction_id)
            return Queued(image_id, prediction.id, waiting.id, prediction.detections)
        at = now()
        prediction = Prediction(new_id(), image_id, model, tuple(detections), at, request_id)
        case = Case(
            id=new_id(),
            image_id=image_id,
            prediction_id=prediction.id,
            state=CaseState.FIRST,
            reasons=("new_prediction",),
            priority=prediction.uncertainty,
            created_at=at,
            model=f"{model.name}:{model.version}",
            classes=tuple(sorted({detection.class_id for detection in detections})),
            shuffle=_draw(),
        )
        uow.predictions.add(prediction)
        uow.cases.add(case)
        kin = gold_kin(uow, image)
        uow.record(
            Event(
                type="image.queued",
                actor=actor,
                subject={
                    "image_id": image_id,
                    "prediction_id": prediction.id,
                    "review_id": case.id,
                    "model": model.as_dict(),
                },
                details={"detections": len(detections), "source_name": image.source} | _noted(kin),
                request_id=request_id,
                at=at,
            )
        )
        uow.commit()
    return Queued(image_id, prediction.id, case.id, prediction.detections)


@dataclass(frozen=True, slots=True)
class TrueBox:
    """A box of known truth, in pixels, by class id."""

    box: Box
    class_id: int


def add_truth(
    units: UnitsOfWork,
    images: ImageStore,
    new: NewImage,
    boxes: Sequence[TrueBox],
    *,
    actor: Actor,
    gold: bool = False,
    allow_trained: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Annotation | None:
    """Keep an image with boxes that need no review. None if it has the same annotation already.

    An image that was imported with other boxes gets a new version. ``gold`` freezes it into the
    gold set. ``warn`` is told why an image that was kept, or others, will not be trained on.
    Raises `NotAllowed`; `Conflict` when a gold image or people's answer would change, a training
    image become gold, or a gold image be one that models may know (`loop.leakage.refuse_known`).
    """
    require(actor, Permission.IMPORT)
    image_id = images.put(new.data)
    final = tuple(
        FinalBox(_box_id(image_id, index, true), true.box, true.class_id, Origin.IMPORTED)
        for index, true in enumerate(boxes)
    )
    check_boxes(final, new.width, new.height)
    with units() as uow:
        before = uow.annotations.latest_of(image_id)
        known = uow.images.find(image_id)
        if before is not None and before.boxes == final and known and known.gold == gold:
            return None
        _refuse_change(uow, image_id, known, before, gold=gold)
        image = _known_or_new(uow, image_id, new)
        if gold:
            (kin,) = refuse_known(uow, [image], allow_trained=allow_trained)
            uow.images.mark_gold([image_id])
        else:
            kin = gold_kin(uow, image)
        annotation = Annotation(
            id=new_id(),
            image_id=image_id,
            version=before.version + 1 if before else 1,
            case_id=None,
            source=Source.IMPORTED,
            boxes=final,
            reviewers=(actor.pseudonym,),
            created_at=now(),
        )
        uow.annotations.add(annotation)
        uow.record(
            Event(
                type="annotation.imported",
                actor=actor,
                subject={
                    "image_id": image_id,
                    "annotation_id": annotation.id,
                    "boxes_sha256": digest_of_boxes(final),
                },
                details={"boxes": len(final), "gold": gold, "version": annotation.version}
                | _noted(kin, gold=gold),
            )
        )
        uow.commit()
    if kin:
        warn(_warning(kin, gold=gold))
    return annotation


def _refuse_change(
    uow: UnitOfWork, image_id: str, known: Image | None, before: Annotation | None, *, gold: bool
) -> None:
    name = f"Image {image_id[:12]}"
    if before is None:
        if gold and uow.predictions.of_image(image_id):
            raise Conflict(
                f"{name} waits for review, which would change its boxes.",
                hint="Take the gold set from images that were never sent to POST /v1/images.",
            )
        return
    if known is not None and known.gold != gold:
        raise Conflict(
            f"{name} is already {'in' if known.gold else 'outside'} the gold set, and that cannot "
            "change once it is annotated.",
            hint="Import gold images and training images from separate folders; an annotated "
            "image becomes gold by its id: secondlook gold add IMAGE_ID",
        )
    if gold:
        raise Conflict(f"Gold image {image_id[:12]} is frozen; its boxes cannot change.")
    if before.source is not Source.IMPORTED:
        raise Conflict(
            f"{name} has been reviewed by people since; an import does not override them.",
            hint="Review it again in the app if the imported boxes are better.",
        )


def _known_or_new(uow: UnitOfWork, image_id: str, new: NewImage) -> Image:
    image = Image(
        id=image_id,
        width=new.width,
        height=new.height,
        media_type=new.media_type,
        subject=new.subject or f"image-{image_id[:16]}",
        source=new.source,
        created_at=now(),
        phash=new.phash,
    )
    uow.images.add(image)
    kept = uow.images.get(image_id)
    if kept.phash is None and new.phash is not None:  # from before there were hashes
        uow.images.set_phash({image_id: new.phash})
        kept = replace(kept, phash=new.phash)
    return kept


def _noted(kin: Kin, *, gold: bool = False) -> dict[str, Any]:
    """What the event about an image says of its kin on the other side."""
    return {("training_kin" if gold else "gold_kin"): kin.as_dict()} if kin else {}


def _warning(kin: Kin, *, gold: bool) -> str:
    near, same = len(kin.near_duplicates), len(kin.same_subject)
    if gold:
        return f"not trained on any more: {near} near-duplicates, {same} images of its subject"
    reason = "shows the same as a gold image" if near else "is of a subject in the gold set"
    return f"kept, but not trained on: it {reason}"


def _waiting_case(uow: UnitOfWork, image_id: str, model: ModelRef) -> Case | None:
    for prediction in uow.predictions.of_image(image_id):
        if prediction.model == model:
            case = uow.cases.of_prediction(prediction.id)
            if case is not None and case.state is CaseState.FIRST:
                return case
    return None


def _box_id(image_id: str, index: int, true: TrueBox) -> str:
    # From the content, so that importing the same data twice is seen to be the same.
    text = f"{image_id}/{index}/{true.class_id}/{true.box.xyxy}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
