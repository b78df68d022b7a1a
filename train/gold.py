"""Measures models on the frozen gold set, which no training sees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detector.yolo import load_detector
from loop.agreement import LabelledBox
from loop.errors import NotEnoughData
from loop.events import Actor, Event, Role, new_id, now
from loop.gold import GoldDetections, GoldSet, detections_path, read_gold
from loop.metrics import average_precision
from loop.ports import ImageStore
from loop.predictions import ModelRef
from loop.promotions import GoldScore, Promotion, PromotionState, decide
from store.image_codec import Limits, decode
from store.image_files import open_image_store
from store.model_registry import ModelRegistry, open_model_registry
from store.settings import Settings
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work

# COCO's curve runs down to no confidence at all; what lies below this changes no digit of it.
_MIN_CONFIDENCE = 0.001
_BATCH = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Measurement:
    """``detections_sha256`` is the digest of what was kept in MLflow."""

    score: GoldScore
    detections_sha256: str


def propose_promotion(
    settings: Settings, candidate: ModelRef, progress: Progress | None = None
) -> Promotion | None:
    """Measure ``candidate`` and the champion on the gold set and record the rule's verdict.

    None, with nothing recorded, while there is no gold set. A person decides what follows.
    ``progress`` is called with (images done, images in all).
    """
    units = open_units_of_work(settings)
    with units() as uow:
        gold = read_gold(uow)
    if not gold.image_ids:
        return None
    champion = open_model_registry(settings).find_alias("champion")
    if champion == candidate:
        champion = None
    models = [candidate] if champion is None else [candidate, champion]
    measured = _measure_all(settings, gold, models, progress)
    champion_score = measured[1].score if champion else None
    promotion = Promotion(
        id=new_id(),
        candidate=candidate,
        champion=champion,
        candidate_score=measured[0].score,
        champion_score=champion_score,
        decision=decide(champion_score, measured[0].score, settings.gate),
        state=PromotionState.PROPOSED,
        created_at=now(),
    )
    with units() as uow:
        uow.promotions.add(promotion)
        uow.record(_gate_event(promotion, gold, measured))
        uow.commit()
    return promotion


def measure_again(
    settings: Settings, models: Sequence[ModelRef], progress: Progress | None = None
) -> list[GoldScore]:
    """Measure ``models`` on the gold set as it is now, and keep what they saw, without proposing
    any of them. Raises `NotEnoughData` while there is no gold set."""
    units = open_units_of_work(settings)
    with units() as uow:
        gold = read_gold(uow)
    if not gold.image_ids:
        raise NotEnoughData(
            "There is no gold set to measure on.",
            hint="Bring one in: secondlook import PATH --format … --gold",
        )
    measured = _measure_all(settings, gold, models, progress)
    with units() as uow:
        for each in measured:
            uow.record(_measured_event(Actor(settings.actor, Role.ENGINEER), each))
        uow.commit()
    return [each.score for each in measured]


def _measure_all(
    settings: Settings, gold: GoldSet, models: Sequence[ModelRef], progress: Progress | None
) -> list[Measurement]:
    registry, tracking = open_model_registry(settings), open_tracking(settings)
    images = open_image_store(settings)
    total = len(models) * len(gold.image_ids)
    measured: list[Measurement] = []
    for index, model in enumerate(models):
        done_before = index * len(gold.image_ids)

        def step(done: int, before: int = done_before) -> None:
            if progress:
                progress(before + done, total)

        seen = _detect(settings, registry, images, gold, model, step)
        score = _score(seen)
        measured.append(Measurement(score, keep(tracking, registry, seen)))
    return measured


def _detect(
    settings: Settings,
    registry: ModelRegistry,
    images: ImageStore,
    gold: GoldSet,
    model: ModelRef,
    step: Callable[[int], None],
) -> GoldDetections:
    detector = load_detector(
        registry.fetch(model),
        config_dir=settings.home / "ultralytics",
        min_confidence=_MIN_CONFIDENCE,
        nms_iou=settings.nms_iou,
    )
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
    detected: list[tuple[LabelledBox, ...]] = []
    for start in range(0, len(gold.image_ids), _BATCH):
        batch = gold.image_ids[start : start + _BATCH]
        pixels = [decode(images.get(image_id), limits).pixels for image_id in batch]
        detected.extend(
            tuple(LabelledBox(d.id, d.box, d.class_id, d.confidence) for d in detections)
            for detections in detector.detect(pixels)
        )
        step(len(detected))
    return GoldDetections(
        model, gold.sha256, detector.classes, gold.image_ids, gold.truth, tuple(detected)
    )


def _score(seen: GoldDetections) -> GoldScore:
    score = average_precision(seen.truth, seen.detected, seen.classes)
    return GoldScore(
        model=seen.model,
        map50=score.map50,
        map50_95=score.map50_95,
        per_class=score.per_class,
        images=len(seen.image_ids),
        gold_sha256=seen.gold_sha256,
    )


def keep(tracking: Tracking, registry: ModelRegistry, seen: GoldDetections) -> str:
    """Put what a model saw beside it, into the run that made it; returns the digest of that."""
    data = seen.to_json()
    path = detections_path(seen.gold_sha256, seen.model.version)
    tracking.log_text(registry.run_of(seen.model), data.decode(), path)
    return hashlib.sha256(data).hexdigest()


def _measured_event(actor: Actor, measured: Measurement) -> Event:
    score = measured.score
    return Event(
        type="model.measured",
        actor=actor,
        subject={"model": score.model.as_dict(), "gold_sha256": score.gold_sha256},
        details={"score": score.as_dict(), "detections_sha256": measured.detections_sha256},
    )


def _gate_event(promotion: Promotion, gold: GoldSet, measured: Sequence[Measurement]) -> Event:
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
            "detections_sha256": [each.detections_sha256 for each in measured],
        },
        reason=" ".join(promotion.decision.reasons),
    )
