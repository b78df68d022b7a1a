"""What the command line says of drift, and of what a version is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loop.drift import (
    LARGE_DISTANCE,
    LARGE_PSI,
    MIN_IMAGES,
    MODERATE_DISTANCE,
    MODERATE_PSI,
)
from loop.errors import LoopError
from loop.predictions import ModelRef
from store.drift_references import read_reference
from store.model_registry import ModelRegistry
from store.own_key import api_headers
from store.settings import Settings
from store.tracking import open_tracking

_ANSWER_SECONDS = 5.0
# What is said of each measure, with its marks of a moderate and of a large drift.
_PSI = (MODERATE_PSI, LARGE_PSI)
_MEASURES: Mapping[str, tuple[str, tuple[float, float]]] = {
    "secondlook_drift_psi": ("scores, PSI", _PSI),
    "secondlook_drift_class_psi": ("scores of {class_name}, PSI", _PSI),
    "secondlook_drift_class_distance": (
        "shares of the classes, distance",
        (MODERATE_DISTANCE, LARGE_DISTANCE),
    ),
    "secondlook_drift_number_psi": ("detections an image, PSI", _PSI),
}


def drift_reference(settings: Settings, registry: ModelRegistry, model: ModelRef) -> dict[str, Any]:
    """For ``models show``: what ``model`` is compared with, or why with nothing."""
    try:
        reference = read_reference(
            open_tracking(settings), registry, model, settings.min_confidence
        )
    except LoopError as error:
        return {"state": "no reference", "reason": error.message, "hint": error.hint}
    profile = reference.profile
    return {
        "state": "gold set",
        "gold_sha256": reference.gold_sha256,
        "images": profile.images,
        "detections": dict(zip(profile.classes, profile.class_counts, strict=True)),
    }


def told_drift(settings: Settings, api_url: str) -> str:
    """One line for ``status``, of the replica in which a measure is furthest from its reference."""
    try:
        answer = httpx.get(
            f"{api_url}/metrics",
            headers=api_headers(settings),
            timeout=_ANSWER_SECONDS,
            trust_env=False,
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        return f"not known: {error}"
    return in_words(answer.text)


def in_words(exposition: str) -> str:
    """What an answer of ``/metrics`` says of drift."""
    families = text_string_to_metric_families(exposition)
    samples = [sample for family in families for sample in family.samples]
    filled = [sample.value for sample in samples if sample.name == "secondlook_drift_images"]
    if not filled:
        return "no reference"
    if max(filled) < MIN_IMAGES:
        return f"too few images yet: {max(filled):.0f} of {MIN_IMAGES}"
    measured = [_read(sample) for sample in samples if sample.name in _MEASURES]
    if not measured:
        return "too few detections yet"
    exceeded: dict[str, tuple[bool, float]] = {}
    for what, is_large, value, moderate in measured:
        if value >= moderate:
            exceeded[what] = max(exceeded.get(what, (False, 0.0)), (is_large, value))
    if not exceeded:
        return "none"
    return "; ".join(
        f"{'LARGE' if is_large else 'moderate'} ({what} {value:.2f})"
        for what, (is_large, value) in sorted(
            exceeded.items(), key=lambda item: item[1], reverse=True
        )
    )


def _read(sample: Sample) -> tuple[str, bool, float, float]:
    text, (moderate, large) = _MEASURES[sample.name]
    return text.format_map(sample.labels), sample.value >= large, sample.value, moderate
