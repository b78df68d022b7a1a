"""Computes a verdict of the gate again, from what is kept of it: anybody can."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loop.errors import BrokenRecord, NotEnoughData, NotFound
from loop.gate import decide, gather
from loop.gold import GoldDetections, detections_path, superseded_path
from loop.predictions import ModelRef
from loop.promotions import Decision, Promotion
from store.model_registry import ModelRegistry, open_model_registry
from store.settings import Settings
from store.tracking import Tracking, open_tracking

# Another order of adding up, in another build of NumPy, changes the last digits.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Check:
    """``differences`` name what came out otherwise: empty if the record is what its detections
    give."""

    decision: Decision
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return not self.differences


def recompute(settings: Settings, promotion: Promotion) -> Check:
    """The verdict from the kept detections, by the settings, risk and times that were recorded.

    Raises `NotEnoughData` for a decision that rests on no comparison, `NotFound` for detections
    that are not kept, `BrokenRecord` for such as are not those of the record.
    """
    record, champion = promotion.decision.gate, promotion.champion_score
    if record is None or champion is None:
        raise NotEnoughData(
            f"The verdict on version {promotion.candidate.version} rests on no comparison that "
            "could be computed again.",
            hint="Compare it: secondlook models compare.",
        )
    registry, tracking = open_model_registry(settings), open_tracking(settings)
    gold, digests = champion.gold_sha256, record.detections_sha256
    before = _detections(registry, tracking, champion.model, gold, digests["champion"])
    after = _detections(registry, tracking, promotion.candidate, gold, digests["candidate"])
    evidence = gather(before, after, record.settings, latency=record.latency)
    again = decide(evidence, record.use, record.settings)
    differences = []
    if again.verdict is not promotion.decision.verdict:
        differences.append(f"verdict: {promotion.decision.verdict}, now {again.verdict}")
    if again.gate is not None:
        # Which NumPy drew the sets is said, and is no part of what came out.
        recorded = {**record.as_dict(), "numpy": again.gate.numpy}
        differences += _differences("", recorded, again.gate.as_dict())
    return Check(again, tuple(differences))


def _detections(
    registry: ModelRegistry, tracking: Tracking, model: ModelRef, gold_sha256: str, digest: str
) -> GoldDetections:
    run_id = registry.run_of(model)
    paths = (
        detections_path(gold_sha256, model.version),
        superseded_path(gold_sha256, model.version, digest),
    )
    found = False
    for path in paths:
        try:
            text = tracking.read_text(run_id, path)
        except NotFound:
            continue
        found = True
        if hashlib.sha256(text.encode()).hexdigest() == digest:
            return GoldDetections.from_json(text)
    if not found:
        raise NotFound(
            f"What version {model.version} saw on the gold set is not kept.",
            hint="Restore MLflow's artifacts from a backup.",
        )
    raise BrokenRecord(
        f"What is kept of version {model.version} on the gold set is not what the verdict rests "
        f"on: its digest is not {digest[:12]}.",
        hint="Restore MLflow's artifacts from a backup; until then the verdict cannot be checked.",
    )


def _differences(name: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = dict.fromkeys([*before, *now])
        inner = f"{name}." if name else ""
        return [
            text
            for key in keys
            for text in _differences(f"{inner}{key}", before.get(key), now.get(key))
        ]
    if _same(before, now):
        return []
    return [f"{name}: {before}, now {now}"]


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, float) and isinstance(now, int | float):
        return math.isclose(before, now, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(before == now)
