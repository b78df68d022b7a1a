"""Measures models on the frozen gold set, which no training sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loop.errors import Conflict, NotEnoughData
from loop.events import Actor, Authentication, Event, Role, new_id, now
from loop.gate import (
    Evidence,
    decide,
    gather,
    settings_for,
    use_of,
    without_comparison,
)
from loop.gate_settings import GateSettings
from loop.gold import GoldSet, read_gold
from loop.ports import UnitOfWork
from loop.predictions import ModelRef
from loop.promoting import CHAMPION
from loop.promotions import Decision, GoldScore, Promotion, PromotionState
from store.model_registry import open_model_registry
from store.settings import Settings
from store.tracking import open_tracking
from store.unit_of_work import open_units_of_work
from train.gate_report import keep_report
from train.gold_detecting import Progress
from train.gold_models import source_of
from train.gold_scores import Measurement, latency_of, measure_all


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
    began = now()
    champion = registry.find_alias(CHAMPION)
    before = champion if champion != candidate else None
    models = [candidate] if before is None else [candidate, before]
    compared = len(models)
    source = source_of(registry, candidate)
    if source is not None and source not in models:
        models.append(source)
    measured = measure_all(
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
        uow.record(_gate_event(promotion, gold, measured, began))
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
    measured = measure_all(settings, registry, tracking, gold, models, progress)
    with units() as uow:
        for each in measured:
            uow.record(_measured_event(settings.acting(Role.ENGINEER), each))
        uow.commit()
    return [each.score for each in measured]


def _evidence(settings: Settings, measured: Sequence[Measurement]) -> Evidence | None:
    """What a decision can rest on, if there is a champion and the gold set is large enough."""
    candidate, *others = measured
    champion = others[0] if others else None
    score = champion.score if champion else None
    if champion is None or without_comparison(score, candidate.score, settings.gate):
        return None
    times = [list(each.seen.milliseconds) for each in measured]
    models = [each.score.model for each in measured]
    latency = latency_of(models, candidate.score.gold_sha256, times)
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
        inputs={"gold": score.gold_sha256},
        outputs={"detections": measured.detections_sha256},
    )


def _gate_event(
    promotion: Promotion, gold: GoldSet, measured: Sequence[Measurement], began: str
) -> Event:
    champion, gate = promotion.champion, promotion.decision.gate
    names = ("candidate_detections", "champion_detections")
    seen = {name: each.detections_sha256 for name, each in zip(names, measured, strict=False)}
    return Event(
        type="gate.decided",
        actor=Actor("promotion-gate", Role.SYSTEM, Authentication.PROCESS),
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
        decision=promotion.decision.verdict.value,
        reason=" ".join(promotion.decision.reasons),
        inputs={"gold": gold.sha256} | seen,
        started=began,
    )
