"""What a trial's counts say: the two models beside one another."""

from __future__ import annotations

import math
from typing import Any

from loop.trial_counts import ModelCounts, PairCounts, Rate, TrialCounts

# Of a standard normal variable: an interval that holds in 95 of 100 trials.
_Z = 1.96


def compare(counts: TrialCounts) -> dict[str, Any]:
    """JSON values; None for what is not known yet. Latencies are in milliseconds.

    ``pairs`` is about images that both saw. ``rates`` compares detections an image as those of two
    samples, which is all that there is where each model saw images of its own (a canary): the
    candidate's less the champion's, with Welch's 95 % interval. Where both saw the same images,
    that interval is wider than it need be.
    """
    champion, candidate = counts.champion, counts.candidate
    names = sorted({*champion.classes, *candidate.classes})
    return {
        "images": candidate.images,
        "skipped": counts.skipped,
        "champion": _model(champion),
        "candidate": _model(candidate),
        "rates": {
            "all": _rates(champion, champion.total, candidate, candidate.total),
            "classes": {
                name: _rates(
                    champion,
                    champion.classes.get(name, Rate()),
                    candidate,
                    candidate.classes.get(name, Rate()),
                )
                for name in names
            },
        },
        "pairs": _pairs(counts) if counts.paired else None,
    }


def metrics(comparison: dict[str, Any]) -> dict[str, float]:
    """The numbers of a comparison by name, for a tracking server; what is not known is left out."""
    found: dict[str, float] = {}
    _flatten(comparison, "", found)
    return found


def _model(counts: ModelCounts) -> dict[str, Any]:
    tried = counts.images + counts.errors
    return {
        "images": counts.images,
        "errors": counts.errors,
        "error_rate": counts.errors / tried if tried else None,
        "error_rate_interval": wilson(counts.errors, tried),
        "latency_ms": {
            "mean": 1000 * counts.seconds / counts.images if counts.images else None,
            "p50": _ms(counts.quantile(0.5)),
            "p95": _ms(counts.quantile(0.95)),
        },
        "scores": {
            "all": counts.total.scores,
            **{name: counts.classes[name].scores for name in sorted(counts.classes)},
        },
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _rates(
    champion: ModelCounts, left: Rate, candidate: ModelCounts, right: Rate
) -> dict[str, Any]:
    one, one_variance = _mean(left, champion.images)
    other, other_variance = _mean(right, candidate.images)
    known = one is not None and other is not None
    difference = other - one if one is not None and other is not None else None
    interval = None
    if difference is not None and one_variance is not None and other_variance is not None:
        margin = _Z * math.sqrt(one_variance + other_variance)
        interval = [difference - margin, difference + margin]
    return {
        "champion": one,
        "candidate": other,
        "difference": difference if known else None,
        "interval": interval,
    }


def _mean(rate: Rate, images: int) -> tuple[float | None, float | None]:
    """Detections an image, and the variance of that mean."""
    if images == 0:
        return None, None
    mean = rate.detections / images
    if images == 1:
        return mean, None
    variance = max(rate.squares - images * mean**2, 0.0) / (images - 1)
    return mean, variance / images


def wilson(hits: int, of: int) -> list[float] | None:
    """The 95 % interval of a share (Wilson, JASA 22, 1927); None of nothing."""
    if of == 0:
        return None
    share, scale = hits / of, 1 + _Z**2 / of
    middle = (share + _Z**2 / (2 * of)) / scale
    margin = _Z * math.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2)) / scale
    return [max(middle - margin, 0.0), min(middle + margin, 1.0)]


def _pairs(counts: TrialCounts) -> dict[str, Any]:
    every = PairCounts()
    for pair in counts.pairs.values():
        every.matched += pair.matched
        every.only_champion += pair.only_champion
        every.only_candidate += pair.only_candidate
        every.relabelled += pair.relabelled
        every.iou += pair.iou
        every.confidence += pair.confidence
    return {
        "images": counts.paired,
        "all": _pair(every),
        "classes": {name: _pair(counts.pairs[name]) for name in sorted(counts.pairs)},
    }


def _pair(pair: PairCounts) -> dict[str, Any]:
    boxes = pair.matched + pair.only_champion + pair.only_candidate + pair.relabelled
    return {
        "matched": pair.matched,
        "only_champion": pair.only_champion,
        "only_candidate": pair.only_candidate,
        "relabelled": pair.relabelled,
        "agreement": pair.matched / boxes if boxes else None,
        "mean_iou": pair.iou / pair.matched if pair.matched else None,
        "mean_confidence_difference": pair.confidence / pair.matched if pair.matched else None,
    }


def _flatten(value: Any, name: str, found: dict[str, float]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "scores":  # a histogram is no line over time: the artifact has it
                _flatten(inner, f"{name}/{key}" if name else key, found)
    elif isinstance(value, list):
        for key, inner in zip(("low", "high"), value, strict=True):
            found[f"{name}/{key}"] = float(inner)
    elif value is not None:
        found[name] = float(value)
