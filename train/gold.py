"""Measures models on the frozen gold set, which no training sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loop.errors import Conflict, NotEnoughData
from loop.events import Actor, Event, Role, new_id, now
from loop.gate import (
    Evidence,
    decide,
    gather,
    seed_for,
    settings_for,
    use_of,
    without_comparison,
)
from loop.gate_settings import GateSettings
from loop.gold import GoldDetections, GoldSet, read_gold
from loop.latency import Latency, compare_latency
from loop.metrics import average_precision
from loop.ports import UnitOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from loop.promotions import Decision, GoldScore, Promotion, PromotionState
from loop.quantised import Quantised
from store.model_registry import ModelRegistry, open_model_registry
from store.settings import Settings
from store.tracking import Tracking, open_tracking
from store.unit_of_work import open_units_of_work
from train.gate_report import keep_report
from train.gold_detecting import Progress, Seen, Times, detect_gold, keep
from train.gold_models import open_to_measure, source_of


@dataclass(frozen=True, slots=True)
class Measurement:
    """``detections_sha256`` is the digest of what was kept in MLflow."""

    seen: Seen
    score: GoldScore
    detections_sha256: str


def propose_promotion(
    settings: Settings, candidate: ModelRef, progress: Progress | None = None
) -> Promotion | None:
    """Measure ``candidate`` and the champion on the gold set and record the gate's verdict.

    None, with nothing recorded, while there is no gold set. People decide what follows.
    ``progress`` is called with (images done, images in all). Raises `Conflict` when another model
    became champion in the meantime.
    """
    units = open_units_of_work(settings)
    registry, tracking = open_model_registry(settings), open_tracking(settings)
    with units() as uow:
        gold = read_gold(uow)
    if not gold.image_ids:
        return None
    champion = registry.find_alias(CHAMPION)
    before = champion if champion != candidate else None
    models = [candidate] if before is None else [candidate, before]
    compared = len(models)
    source = source_of(registry, candidate)
    if source is not None and source not in models:
        models.append(source)
    measured = _measure_all(
        settings, registry, tracking, gold, models, progress, versus_champion=before is not None
    )[:compared]
    evidence = _evidence(settings, measured)
    if registry.find_alias(CHAMPION) != champion:
        raise Conflict(
            "Another model became the champion while this one was measured.",
            hint=f"Compare it with that one: secondlook models compare {candidate.version}.",
        )
    with units() as uow:
        uow.lock()  # no two decisions are the same use of the gold set
        promotion = Promotion(
            id=new_id(),
            candidate=candidate,
            champion=before,
            candidate_score=measured[0].score,
            champion_score=measured[1].score if before else None,
            decision=_decision(uow, settings, measured, evidence),
            state=PromotionState.PROPOSED,
            created_at=now(),
            approvers=settings.approvers,
        )
        uow.promotions.add(promotion)
        uow.record(_gate_event(promotion, gold, measured))
        uow.commit()
    if evidence is not None:
        times = [each.seen.milliseconds for each in measured]
        keep_report(tracking, registry.run_of(candidate), promotion, evidence, times)
    return promotion


def measure_again(
    settings: Settings, models: Sequence[ModelRef], progress: Progress | None = None
) -> list[GoldScore]:
    """Measure ``models`` on the gold set as it is now, and keep what they saw, without proposing
    any of them: no verdict, and none of the gold set is used up. Raises `NotEnoughData` while there
    is no gold set."""
    units = open_units_of_work(settings)
    with units() as uow:
        gold = read_gold(uow)
    if not gold.image_ids:
        raise NotEnoughData(
            "There is no gold set to measure on.",
            hint="Bring one in: secondlook import PATH --format … --gold",
        )
    registry, tracking = open_model_registry(settings), open_tracking(settings)
    measured = _measure_all(settings, registry, tracking, gold, models, progress)
    with units() as uow:
        for each in measured:
            uow.record(_measured_event(Actor(settings.actor, Role.ENGINEER), each))
        uow.commit()
    return [each.score for each in measured]


def score_of(seen: GoldDetections) -> GoldScore:
    score = average_precision(seen.truth, seen.detected, seen.classes)
    return GoldScore(
        model=seen.model,
        map50=score.map50,
        map50_95=score.map50_95,
        per_class=score.per_class,
        images=len(seen.image_ids),
        gold_sha256=seen.gold_sha256,
    )


def _measure_all(
    settings: Settings,
    registry: ModelRegistry,
    tracking: Tracking,
    gold: GoldSet,
    models: Sequence[ModelRef],
    progress: Progress | None,
    *,
    versus_champion: bool = False,
) -> list[Measurement]:
    opened = open_to_measure(settings, registry, models)
    detectors = [(each.model, each.detector) for each in opened]

    def is_clear(times: Times) -> bool:
        return _latency(models, gold.sha256, times).decides(settings.max_latency_factor)

    clear = is_clear if versus_champion else None
    found = detect_gold(settings, gold, detectors, progress, is_clear=clear)
    scores = {each.detections.model: score_of(each.detections) for each in found}
    for each in opened:
        if each.quantised is not None:
            source = source_of(registry, each.model)
            note = _beside(each.quantised, scores.get(source) if source else None)
            scores[each.model] = replace(scores[each.model], quantised=note)
    return [
        Measurement(seen, scores[seen.detections.model], keep(tracking, registry, seen.detections))
        for seen in found
    ]


def _beside(quantised: Quantised, source: GoldScore | None) -> Quantised:
    if source is None:
        return quantised
    return replace(
        quantised,
        source_version=source.model.version,
        source_map50=source.map50,
        source_map50_95=source.map50_95,
    )


def _latency(models: Sequence[ModelRef], gold_sha256: str, times: Times) -> Latency:
    """Of the candidate and the champion, the first two."""
    candidate, champion = models[:2]
    seed = seed_for(champion, candidate, gold_sha256)
    return compare_latency(times[0], times[1], seed)


def _evidence(settings: Settings, measured: Sequence[Measurement]) -> Evidence | None:
    """What a decision can rest on, if there is a champion and the gold set is large enough."""
    candidate, *others = measured
    champion = others[0] if others else None
    score = champion.score if champion else None
    if champion is None or without_comparison(score, candidate.score, settings.gate):
        return None
    times = [list(each.seen.milliseconds) for each in measured]
    models = [each.score.model for each in measured]
    latency = _latency(models, candidate.score.gold_sha256, times)
    seen = champion.seen.detections, candidate.seen.detections
    return gather(*seen, _gate(settings, measured), latency=latency)


def _gate(settings: Settings, measured: Sequence[Measurement]) -> GateSettings:
    candidate, *others = (each.score for each in measured)
    champion = others[0] if others else None
    return settings_for(candidate, champion, settings.gate, settings.int8_margin)


def _decision(
    uow: UnitOfWork,
    settings: Settings,
    measured: Sequence[Measurement],
    evidence: Evidence | None,
) -> Decision:
    candidate, *others = (each.score for each in measured)
    champion = others[0] if others else None
    gate = _gate(settings, measured)
    decision = without_comparison(champion, candidate, gate)
    if decision is None:
        if champion is None or evidence is None:
            raise ValueError("there is nothing to decide on")
        use = use_of(candidate, champion, uow.promotions.list(), gate)
        decision = decide(evidence, use, gate)
    if candidate.quantised is None:
        return decision
    said = candidate.quantised.sentence(candidate.map50, candidate.map50_95)
    return replace(decision, reasons=(said, *decision.reasons))


def _measured_event(actor: Actor, measured: Measurement) -> Event:
    score = measured.score
    return Event(
        type="model.measured",
        actor=actor,
        subject={"model": score.model.as_dict(), "gold_sha256": score.gold_sha256},
        details={"score": score.as_dict(), "detections_sha256": measured.detections_sha256},
    )


def _gate_event(promotion: Promotion, gold: GoldSet, measured: Sequence[Measurement]) -> Event:
    champion, gate = promotion.champion, promotion.decision.gate
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
            "gate": gate.as_dict() if gate else None,
        },
        reason=" ".join(promotion.decision.reasons),
    )
