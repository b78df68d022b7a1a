"""Opens registered models to measure them, as what they are served as."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.base import Detector
from detector.engine import fastest_first
from detector.export_cache import cached_exports, worth_making
from detector.formats import INT8
from detector.loading import FILES, WEIGHTS, choose, open_model, served_backend
from loop.predictions import ModelRef
from loop.quantised import Quantised
from store.model_folder import folder_digest
from store.model_registry import ModelRegistry
from store.settings import Settings
from train.gold_detecting import MIN_CONFIDENCE, open_weights

SOURCE_TAG = "loop.quantised.source_version"


@dataclass(frozen=True, slots=True)
class Opened:
    """``quantised`` is said of a model in INT8."""

    model: ModelRef
    detector: Detector
    quantised: Quantised | None = None


def open_to_measure(
    settings: Settings, registry: ModelRegistry, models: Sequence[ModelRef]
) -> list[Opened]:
    """Whether a version is one in INT8 is read off its signed files, as the service does it.

    Beside such a version the others run on what they are served on as well, or it would be faster
    for that alone; else all of them run on PyTorch, as they always did: exports see the same boxes.
    Raises what `ModelRegistry.fetch_verified` and `open_model` raise.
    """
    with tempfile.TemporaryDirectory(prefix="second-look-model-") as own:
        files = [
            registry.fetch_verified(model, FILES, Path(own) / model.version) for model in models
        ]
        as_served = any(INT8 in each for each in files)
        opened = []
        for model, each in zip(models, files, strict=True):
            if not as_served:
                opened.append(Opened(model, open_weights(settings, each[WEIGHTS])))
                continue
            each |= _made(settings, each)
            detector = open_model(
                each,
                min_confidence=MIN_CONFIDENCE,
                nms_iou=settings.nms_iou,
                backend=choose(each, served_backend(each), fastest_first()),
            )
            digest = folder_digest(each[INT8]) if INT8 in each else ""
            opened.append(Opened(model, detector, Quantised(digest) if digest else None))
        return opened


def source_of(registry: ModelRegistry, model: ModelRef) -> ModelRef | None:
    """The version that one in INT8 says it was made of, if that has its weights; else None."""
    found = {version.ref.version: version for version in registry.versions()}
    said = found[model.version].tags.get(SOURCE_TAG, "") if model.version in found else ""
    source = found[said].ref if said in found else None
    return source if source is not None and source.digest == model.digest else None


def _made(settings: Settings, files: dict[str, Path]) -> dict[str, Path]:
    wanted = worth_making(files)
    if not wanted:
        return {}
    made = cached_exports(
        files[WEIGHTS], wanted, settings.export_cache, config_dir=settings.home / "ultralytics"
    )
    return dict(made.folders)
