"""The frozen gold set: no training sees it, and every candidate is measured on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from detector.yolo import load_detector
from loop.agreement import LabelledBox
from loop.errors import NotEnoughData
from loop.events import Actor, Event, Role, canonical_json, new_id, now
from loop.metrics import average_precision
from loop.ports import ImageStore, UnitOfWork
from loop.predictions import ModelRef
from loop.promotions import GoldScore, Promotion, PromotionState, decide
from store.image_codec import Limits, decode
from store.image_files import open_image_store
from store.model_registry import ModelRegistry, open_model_registry
from store.settings import Settings
from store.unit_of_work import open_units_of_work

# COCO's curve runs down to no confidence at all; what lies below this changes no digit of it.
_MIN_CONFIDENCE = 0.001
_BATCH = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class GoldSet:
    """Gold images and their true boxes, by image id; ``sha256`` names images and boxes."""

    image_ids: tuple[str, ...]
    truth: tuple[tuple[LabelledBox, ...], ...]
    sha256: str


def read_gold(uow: UnitOfWork) -> GoldSet:
    """The gold set as it is annotated now; empty if no image was marked as gold."""
    image_ids: list[str] = []
    truth: list[tuple[LabelledBox, ...]] = []
    names: list[list[str]] = []
    for image in uow.images.gold():
        annotation = uow.annotations.latest_of(image.id)
        if annotation is None:
            raise NotEnoughData(f"Gold image {image.id[:12]} has no annotation.")
        image_ids.append(image.id)
        truth.append(tuple(LabelledBox(b.id, b.box, b.class_id) for b in annotation.boxes))
        names.append([image.id, *(box.id for box in annotation.boxes)])
    digest = hashlib.sha256(canonical_json(names)).hexdigest()
    return GoldSet(tuple(image_ids), tuple(truth), digest)


def propose_promotion(
    settings: Settings, candidate: ModelRef, progress: Progress | None = None
) -> Promotion | None:
    """Measure ``candidate`` and the champion on the gold set and record the rule's verdict.

    None, with nothing recorded, while there is no gold set. A person decides what follows.
    ``progress`` is called with (images done, images in all).
    """
    units = open_units_of_work(settings)
    registry = open_model_registry(settings)
    images = open_image_store(settings)
    with units() as uow:
        gold = read_gold(uow)
    if not gold.image_ids:
        return None
    champion = registry.find_alias("champion")
    if champion == candidate:
        champion = None
    models = [candidate] if champion is None else [candidate, champion]
    total = len(models) * len(gold.image_ids)
    scores: list[GoldScore] = []
    for index, model in enumerate(models):
        done_before = index * len(gold.image_ids)

        def step(done: int, before: int = done_before) -> None:
            if progress:
                progress(before + done, total)

        scores.append(_measure(settings, registry, images, gold, model, step))
    champion_score = scores[1] if champion else None
    promotion = Promotion(
        id=new_id(),
        candidate=candidate,
        champion=champion,
        candidate_score=scores[0],
        champion_score=champion_score,
        decision=decide(champion_score, scores[0], settings.gate),
        state=PromotionState.PROPOSED,
        created_at=now(),
    )
    with units() as uow:
        uow.promotions.add(promotion)
        uow.record(_gate_event(promotion, gold))
        uow.commit()
    return promotion


def _measure(
    settings: Settings,
    registry: ModelRegistry,
    images: ImageStore,
    gold: GoldSet,
    model: ModelRef,
    step: Callable[[int], None],
) -> GoldScore:
    detector = load_detector(
        registry.fetch(model),
        config_dir=settings.home / "ultralytics",
        min_confidence=_MIN_CONFIDENCE,
        nms_iou=settings.nms_iou,
    )
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    detected: list[list[LabelledBox]] = []
    for start in range(0, len(gold.image_ids), _BATCH):
        batch = gold.image_ids[start : start + _BATCH]
        pixels = [decode(images.get(image_id), limits).pixels for image_id in batch]
        detected.extend(
            [LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in detections]
            for detections in detector.detect(pixels)
        )
        step(len(detected))
    score = average_precision(gold.truth, detected, detector.classes)
    return GoldScore(
        model=model,
        map50=score.map50,
        map50_95=score.map50_95,
        per_class=score.per_class,
        images=len(gold.image_ids),
        gold_sha256=gold.sha256,
    )


def _gate_event(promotion: Promotion, gold: GoldSet) -> Event:
    champion = promotion.champion
    return Event(
        type="gate.decided",
        actor=Actor("promotion-gate", Role.SYSTEM),
        subject={
            "promotion_id": promotion.id,
            "candidate": promotion.candidate.as_dict(),
            "champion": champion.as_dict() if champion else None,
            "gold_sha256": gold.sha256,
        },
        details={
            "verdict": promotion.decision.verdict.value,
            "candidate": promotion.candidate_score.as_dict(),
            "champion": (promotion.champion_score.as_dict() if promotion.champion_score else None),
        },
        reason=" ".join(promotion.decision.reasons),
    )
