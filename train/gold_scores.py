"""Runs models on the gold set and scores what they see there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loop.gate import seed_for
from loop.gold import GoldDetections, GoldSet
from loop.latency import Latency, compare_latency
from loop.metrics import average_precision
from loop.predictions import ModelRef
from loop.promotions import GoldScore
from loop.quantised import Quantised
from store.model_registry import ModelRegistry
from store.settings import Settings
from store.tracking import Tracking
from train.gold_detecting import Progress, Seen, Times, detect_gold, keep
from train.gold_models import open_to_measure, source_of


@dataclass(frozen=True, slots=True)
class Measurement:
    """``detections_sha256`` is the digest of what was kept in MLflow."""

    seen: Seen
    score: GoldScore
    detections_sha256: str


def measure_all(
    settings: Settings,
    registry: ModelRegistry,
    tracking: Tracking,
    gold: GoldSet,
    models: Sequence[ModelRef],
    progress: Progress | None,
    *,
    versus_champion: bool = False,
) -> list[Measurement]:
    """What each of ``models`` sees on the gold set; it is kept in MLflow.

    Where the first two are a candidate and the champion (``versus_champion``), they are timed until
    it is clear which is faster. A model in INT8 is told apart from its source if that is among
    ``models``. Raises what `open_to_measure` raises.
    """
    opened = open_to_measure(settings, registry, models)
    detectors = [(each.model, each.detector) for each in opened]

    def is_clear(times: Times) -> bool:
        return latency_of(models, gold.sha256, times).decides(settings.max_latency_factor)

    clear = is_clear if versus_champion else None
    found = detect_gold(settings, gold, detectors, progress, is_clear=clear)
    scores = {each.detections.model: score_of(each.detections) for each in found}
    for each in opened:
        if each.quantised is not None:
            source = source_of(registry, each.model)
            note = _beside(each.quantised, scores.get(source) if source else None)
            scores[each.model] = replace(scores[each.model], quantised=note)
    at_least = settings.min_confidence
    return [
        Measurement(
            seen,
            scores[seen.detections.model],
            keep(tracking, registry, seen.detections, at_least),
        )
        for seen in found
    ]


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


def latency_of(models: Sequence[ModelRef], gold_sha256: str, times: Times) -> Latency:
    """Of the candidate and the champion, the first two."""
    candidate, champion = models[:2]
    seed = seed_for(champion, candidate, gold_sha256)
    return compare_latency(times[0], times[1], seed)


def _beside(quantised: Quantised, source: GoldScore | None) -> Quantised:
    if source is None:
        return quantised
    return replace(
        quantised,
        source_version=source.model.version,
        source_map50=source.map50,
        source_map50_95=source.map50_95,
    )
